"""scripts/make_demo_corpus.py: both grammars against pairs written by hand, and the files it writes or refuses to."""

import random
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from waiting import HANG

SCRIPTS = Path(__file__).parents[1] / "scripts"
FILES = [f"{split}.{language}" for split in ("train", "valid", "test") for language in ("de", "en")]


def load() -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return import_module("make_demo_corpus")
    finally:
        sys.path.remove(str(SCRIPTS))


demo = load()
NOM, ACC, DAT, GEN = range(4)


def run(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "make_demo_corpus.py"), str(out), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG)


def corpus(out: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}


def verb(entry: str):
    return demo.read_verbs(entry)[0]


def phrase(german: str, english: str, gender: str, key: str = "") -> object:
    """A phrase from its four cases, separated by slashes."""
    return demo.Phrase(tuple(german.split("/")), english, english, gender, key)


TEACHER = phrase("die Lehrerin/die Lehrerin/der Lehrerin/der Lehrerin", "the teacher", "f", "3f")
CHILDREN = phrase("die Kinder/die Kinder/den Kindern/der Kinder", "the children", "p", "3p")
WINDOW = phrase("das Fenster/das Fenster/dem Fenster/des Fensters", "the window", "n")
CHAIR = phrase("der Stuhl/den Stuhl/dem Stuhl/des Stuhls", "the chair", "m")
OPEN = verb("auf|machen = open")
SEE = verb("sehen sieh sah gesehen = see/saw/seen")
HELP = verb("helfen hilf half geholfen = help")
ARRIVE = verb("*an|kommen - kam gekommen = arrive")


# Words


@pytest.mark.parametrize(
    ("entry", "singular", "plural", "english"),
    [
        ("m Koch Köche cook", "Koch Koch Koch Kochs", "Köche Köche Köchen Köche", "cook cooks"),
        ("f Frau Frauen woman/women", "Frau Frau Frau Frau", "Frauen Frauen Frauen Frauen", "woman women"),
        ("n Auto Autos car", "Auto Auto Auto Autos", "Autos Autos Autos Autos", "car cars"),
        ("n Kind Kinder child/children", "Kind Kind Kind Kindes", "Kinder Kinder Kindern Kinder", "child children"),
        (
            "w Student Studenten student",
            "Student Studenten Studenten Studenten",
            "Studenten Studenten Studenten Studenten",
            "student students",
        ),
    ],
)
def test_nouns_are_declined(entry: str, singular: str, plural: str, english: str) -> None:
    [noun] = demo.read_nouns(entry)
    assert [noun.german(case, False) for case in range(4)] == singular.split()
    assert [noun.german(case, True) for case in range(4)] == plural.split()
    assert f"{noun.english} {noun.english_plural}" == english


def test_a_compound_is_declined_like_its_head() -> None:
    [noun] = demo.read_nouns("w Fotograf Fotografen photographer")
    compound = noun.compound(("Schul", "school"))
    assert [compound.german(NOM, False), compound.german(DAT, False)] == ["Schulfotograf", "Schulfotografen"]
    assert (compound.gender, compound.english, compound.english_plural) == (
        "m", "school photographer", "school photographers",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stem", "gender", "expected"),
    [
        ("der", "m", "der alte, den alten, dem alten, des alten"),
        ("dies", "f", "diese alte, diese alte, dieser alten, dieser alten"),
        ("ein", "m", "ein alter, einen alten, einem alten, eines alten"),
        ("ein", "n", "ein altes, ein altes, einem alten, eines alten"),
        ("euer", "f", "eure alte, eure alte, eurer alten, eurer alten"),
        ("euer", "n", "euer altes, euer altes, eurem alten, eures alten"),
        ("kein", "p", "keine alten, keine alten, keinen alten, keiner alten"),
        ("viel", "p", "viele alte, viele alte, vielen alten, vieler alter"),
        ("all", "p", "alle alten, alle alten, allen alten, aller alten"),
    ],
)
def test_determiners_and_adjectives_agree(stem: str, gender: str, expected: str) -> None:
    determiners = [demo.determiner(stem, gender, case) for case in range(4)]
    endings = [demo.adjective_ending(stem, gender, case) for case in range(4)]
    assert ", ".join(f"{word} alt{ending}" for word, ending in zip(determiners, endings, strict=True)) == expected


@pytest.mark.parametrize(
    ("entry", "stem", "comparative", "english"),
    [
        ("teuer expensive", "teur", "teurer", "more expensive"),
        ("dunkel dark", "dunkl", "dunkler", "darker"),
        ("müde tired", "müd", "müder", "more tired"),
        ("hoch/höher tall", "hoh", "höher", "taller"),
        ("groß/größer big", "groß", "größer", "bigger"),
        ("lustig funny", "lustig", "lustiger", "funnier"),
        ("schön nice", "schön", "schöner", "nicer"),
        ("rot! red", "rot", "", "redder"),
    ],
)
def test_adjectives_are_compared(entry: str, stem: str, comparative: str, english: str) -> None:
    [adjective] = demo.read_adjectives(entry)
    assert (adjective.stem, adjective.comparative, adjective.english_comparative) == (stem, comparative, english)


@pytest.mark.parametrize(
    ("entry", "present", "preterite", "participle"),
    [
        ("arbeiten = work", "arbeite arbeitest arbeitet arbeiten arbeitet", "arbeitete", "gearbeitet"),
        ("auf|öffnen = open", "öffne öffnest öffnet öffnen öffnet", "öffnete", "aufgeöffnet"),
        ("bügeln = iron", "bügle bügelst bügelt bügeln bügelt", "bügelte", "gebügelt"),
        ("*reisen = travel", "reise reist reist reisen reist", "reiste", "gereist"),
        ("kopieren = copy", "kopiere kopierst kopiert kopieren kopiert", "kopierte", "kopiert"),
        ("besuchen = visit", "besuche besuchst besucht besuchen besucht", "besuchte", "besucht"),
        ("lesen lies las gelesen = read/read", "lese liest liest lesen lest", "las", "gelesen"),
        ("ein|laden läd lud geladen = invite", "lade lädst lädt laden ladet", "lud", "eingeladen"),
        (
            "betreten betritt betrat betreten = enter",
            "betrete betrittst betritt betreten betretet",
            "betrat",
            "betreten",
        ),
        ("finden - fand gefunden = find/found", "finde findest findet finden findet", "fand", "gefunden"),
    ],
)
def test_german_verbs_are_conjugated(entry: str, present: str, preterite: str, participle: str) -> None:
    found = verb(entry)
    ich, du, er, wir, ihr = present.split()
    forms = [found.german(person, plural) for plural in (False, True) for person in (1, 2, 3)]
    assert forms == [ich, du, er, wir, ihr, wir]
    assert (found.preterite, found.participle) == (preterite, participle)


def test_preterites_take_endings() -> None:
    think, see = verb("denken - dachte gedacht = think/thought"), SEE
    assert [think.german_preterite(1, True), think.german_preterite(3, False)] == ["dachten", "dachte"]
    assert [see.german_preterite(person, True) for person in (1, 2, 3)] == ["sahen", "saht", "sahen"]


@pytest.mark.parametrize(
    ("entry", "third", "gerund", "past", "participle"),
    [
        ("suchen = look for", "looks for", "looking for", "looked for", "looked for"),
        ("planen = plan", "plans", "planning", "planned", "planned"),
        ("kopieren = copy", "copies", "copying", "copied", "copied"),
        ("lügen = lie to", "lies to", "lying to", "lied to", "lied to"),
        ("sehen = see/saw/seen", "sees", "seeing", "saw", "seen"),
        ("kaufen = go/went/gone shopping", "goes shopping", "going shopping", "went shopping", "gone shopping"),
        ("essen = have/had breakfast", "has breakfast", "having breakfast", "had breakfast", "had breakfast"),
        ("öffnen = open", "opens", "opening", "opened", "opened"),
    ],
)
def test_english_verbs_are_conjugated(entry: str, third: str, gerund: str, past: str, participle: str) -> None:
    found = verb(entry)
    assert demo.third_person(found.english) == third
    assert demo.gerund(found.english) == gerund
    assert (found.english_past, found.english_participle) == (past, participle)


@pytest.mark.parametrize(
    ("n", "german", "english"),
    [
        (2, "zwei", "two"),
        (16, "sechzehn", "sixteen"),
        (21, "einundzwanzig", "twenty-one"),
        (37, "siebenunddreißig", "thirty-seven"),
        (70, "siebzig", "seventy"),
        (112, "einhundertzwölf", "one hundred and twelve"),
        (600, "sechshundert", "six hundred"),
        (985, "neunhundertfünfundachtzig", "nine hundred and eighty-five"),
    ],
)
def test_numbers_are_written_out(n: int, german: str, english: str) -> None:
    assert demo.number(n) == (german, english)


@pytest.mark.parametrize(
    ("n", "german", "english"),
    [
        (1, "ersten", "first"),
        (3, "dritten", "third"),
        (7, "siebten", "seventh"),
        (12, "zwölften", "twelfth"),
        (20, "zwanzigsten", "twentieth"),
        (28, "achtundzwanzigsten", "twenty-eighth"),
        (31, "einunddreißigsten", "thirty-first"),
    ],
)
def test_ordinals_are_written_out(n: int, german: str, english: str) -> None:
    assert demo.ordinal(n) == (german, english)


def test_small_words() -> None:
    assert demo.contract("zu", "der neuen Schule") == "zur neuen Schule"
    assert demo.contract("in", "einem Park") == "in einem Park"
    assert [demo.with_article(word) for word in ("old table", "university", "hedgehog")] == [
        "an old table", "a university", "a hedgehog",
    ]  # fmt: skip
    assert demo.finish(("er, der lacht,", "he laughs"), "?") == ("Er, der lacht?", "He laughs?")


# Clauses


def clause(subject=TEACHER, verb=OPEN, objects=((ACC, WINDOW),), **fields):
    return demo.Clause(subject, verb, objects=objects, **fields)


@pytest.mark.parametrize(
    ("fields", "german", "english"),
    [
        ({}, "die Lehrerin macht das Fenster auf", "the teacher opens the window"),
        ({"subject": CHILDREN}, "die Kinder machen das Fenster auf", "the children open the window"),
        ({"subject": demo.pronoun("2s")}, "du machst das Fenster auf", "you open the window"),
        (
            {"aspect": "progressive", "time": ("jetzt", "now")},
            "die Lehrerin macht jetzt das Fenster auf",
            "the teacher is opening the window now",
        ),
        (
            {"tense": "perfect", "nicht": True},
            "die Lehrerin hat das Fenster nicht aufgemacht",
            "the teacher did not open the window",
        ),
        ({"tense": "preterite"}, "die Lehrerin machte das Fenster auf", "the teacher opened the window"),
        ({"tense": "werden"}, "die Lehrerin wird das Fenster aufmachen", "the teacher will open the window"),
        (
            {"modal": "can", "nicht": True},
            "die Lehrerin kann das Fenster nicht aufmachen",
            "the teacher cannot open the window",
        ),
        (
            {"modal": "have to", "tense": "preterite", "subject": CHILDREN},
            "die Kinder mussten das Fenster aufmachen",
            "the children had to open the window",
        ),
        (
            {"modal": "have to", "nicht": True},
            "die Lehrerin muss das Fenster nicht aufmachen",
            "the teacher does not have to open the window",
        ),
        (
            {"often": ("oft", "often"), "manner": ("leise", "quietly")},
            "die Lehrerin macht oft das Fenster leise auf",
            "the teacher often opens the window quietly",
        ),
        (
            {"verb": ARRIVE, "objects": (), "tense": "perfect", "time": ("gestern", "yesterday")},
            "die Lehrerin ist gestern angekommen",
            "the teacher arrived yesterday",
        ),
        (
            {"verb": SEE, "objects": ((ACC, demo.pronoun("1s")),), "time": ("morgen", "tomorrow"), "aspect": "will"},
            "die Lehrerin sieht mich morgen",
            "the teacher will see me tomorrow",
        ),
        (
            {"subject": CHAIR, "verb": SEE, "objects": (), "passive": True, "tense": "preterite",
             "complement": ("von der Lehrerin", "by the teacher")},
            "der Stuhl wurde von der Lehrerin gesehen",
            "the chair was seen by the teacher",
        ),
    ],
)  # fmt: skip
def test_main_clauses(fields: dict, german: str, english: str) -> None:
    sentence = clause(**fields)
    assert (sentence.main(), sentence.english()) == (german, english)


def test_the_verb_stays_second_behind_another_word_and_its_prefix_last() -> None:
    assert clause().main("morgen") == "morgen macht die Lehrerin das Fenster auf"


@pytest.mark.parametrize(
    ("fields", "german"),
    [
        ({}, "weil die Lehrerin das Fenster aufmacht"),
        ({"tense": "perfect"}, "weil die Lehrerin das Fenster aufgemacht hat"),
        ({"tense": "preterite"}, "weil die Lehrerin das Fenster aufmachte"),
        ({"modal": "want to", "subject": CHILDREN}, "weil die Kinder das Fenster aufmachen wollen"),
        ({"verb": SEE, "nicht": True}, "weil die Lehrerin das Fenster nicht sieht"),
    ],
)
def test_the_verb_is_final_in_subordinate_clauses(fields: dict, german: str) -> None:
    assert clause(**fields).final("weil") == german


def test_questions_and_infinitives() -> None:
    asked = clause(tense="perfect")
    assert asked.question() == "hat die Lehrerin das Fenster aufgemacht"
    assert asked.english(question=True) == "did the teacher open the window"
    assert clause().infinitive("um") == "um das Fenster aufzumachen"
    assert clause(verb=SEE).infinitive("ohne") == "ohne das Fenster zu sehen"
    assert clause().english_infinitive(demo.gerund) == "opening the window"


def test_relative_pronouns_take_gender_from_the_noun_and_case_from_the_clause() -> None:
    relative = demo.relative_pronoun(CHILDREN, human=True)
    assert clause(relative).final() == "die das Fenster aufmachen"
    assert clause(relative).english() == "who open the window"
    helped = clause(verb=HELP, objects=(), tense="perfect")
    assert helped.final(relative.german[DAT]) == "denen die Lehrerin geholfen hat"
    assert demo.relative_pronoun(CHAIR, human=False).german[ACC] == "den"


# What the grammar draws


def drawn(kind: str, count: int = 150) -> list[tuple[str, str]]:
    grammar = demo.Grammar(1)
    return [getattr(grammar, kind)() for _ in range(count)]


def test_possessives_agree_with_their_owner() -> None:
    grammar = demo.Grammar(1)
    phrases = [grammar.noun_phrase("items", owner=TEACHER) for _ in range(400)]
    owned = [found for found in phrases if re.search(r"\bher\b", found.english)]
    assert len(owned) > 20
    assert all(found.german[NOM].startswith("ihr") for found in owned)
    assert not [found for found in phrases if re.search(r"\b(his|their)\b", found.english)]


def test_a_fronted_object_shows_the_accusative() -> None:
    for german, _ in drawn("fronted_object"):
        assert german.split()[0].endswith("en"), german  # den, einen, diesen, jeden, meinen


def test_subordinate_clauses_end_in_a_finite_verb() -> None:
    """Of "dass" and "ob": the last word is a finite verb, never a separated prefix."""
    prefixes = {"auf", "an", "ab", "aus", "ein", "mit", "nach", "teil", "um", "vor", "weg", "weiter", "zu", "zurück"}
    for german, _ in drawn("reported"):
        assert re.search(r", (dass|ob) ", german), german
        assert german.rstrip(".").split()[-1] not in prefixes, german


def test_numbers_agree_on_both_sides() -> None:
    words = {demo.number(n)[0]: demo.number(n)[1] for n in range(2, 1000)}
    for german, english in drawn("price"):
        amount = re.search(r"(\S+) Euro", german)
        assert amount and f"{words[amount[1]]} euros." in english, german


def test_compounds_are_many_and_translated_by_part() -> None:
    grammar = demo.Grammar(1)
    nouns = {noun.german(NOM, False): noun for _ in range(3000) for _, noun in [grammar.noun("furniture")]}
    assert nouns["Küchentisch"].english == "kitchen table"
    assert nouns["Wohnzimmerregal"].english_plural == "living room shelves"
    assert len(nouns) > 100


def test_sentences_look_like_sentences() -> None:
    for german, english in drawn("sentence", 1000):
        for text in (german, english):
            assert re.fullmatch(r"[A-ZÄÖÜ][^.?!]*[^ ,.?!][.?!]", text), text
            assert "  " not in text and ",," not in text and " ," not in text, text
            assert not re.search("[_~/|*=]", text), text
        assert german[-1] == english[-1]
        assert len(german.split()) <= demo.MOST_WORDS


def test_every_entry_of_the_lexicon_parses() -> None:
    for table in demo.NOUNS.values():
        assert all(noun.gender in "mfn" and noun.plural[0].isupper() for noun in demo.read_nouns(table))
    tables = (demo.DATIVE, demo.DITRANSITIVE, demo.MOTION, demo.INTRANSITIVE, demo.TRYING, demo.SAYING)
    for table in (*demo.TRANSITIVE.values(), *tables):
        for found in demo.read_verbs(table):
            assert re.fullmatch("[a-zäöüß]+(en|ln|rn)", found.infinitive), found
            assert found.participle.endswith(("t", "n")), found


# The files


def test_the_corpus_depends_on_the_seed_alone(tmp_path: Path) -> None:
    sizes = ("--train", 60, "--valid", 20, "--test", 20)
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        assert run(tmp_path / name, "--seed", seed, *sizes).returncode == 0
    assert corpus(tmp_path / "one") == corpus(tmp_path / "again")
    assert corpus(tmp_path / "one")["train.de"] != corpus(tmp_path / "other")["train.de"]


def test_splits_have_their_sizes_and_share_no_sentence(tmp_path: Path) -> None:
    done = run(tmp_path / "out", "--train", 900, "--valid", 150, "--test", 250)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1 and "900" in done.stdout
    files = corpus(tmp_path / "out")
    assert sorted(files) == sorted(FILES)
    for name, text in files.items():
        assert text.count("\n") == {"train": 900, "valid": 150, "test": 250}[name.split(".")[0]]
    for language in ("de", "en"):
        lines = [line for name in FILES if name.endswith(language) for line in files[name].splitlines()]
        assert len(lines) == 1300 == len(set(lines))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--train", 0), "--train 0"),
        (("--test", -3), "--test -3"),
        (("--train", 10**9), "1000000800 sentences"),
    ],
)
def test_bad_sizes_are_refused_in_one_line(tmp_path: Path, arguments: tuple, complaint: str) -> None:
    done = run(tmp_path / "out", *arguments)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1 and complaint in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    done = run(out)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1 and "exists" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def full(path: Path, *arguments: object, **keywords: object) -> int:
        if path.name == "test.en":
            raise OSError("No space left on device")
        return write(path, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SystemExit, match="No space left"):
        demo.main([str(tmp_path / "out"), "--train", "5", "--valid", "2", "--test", "2"])
    assert list(tmp_path.iterdir()) == []


def test_a_pair_whose_german_or_english_was_seen_is_left_out() -> None:
    draws = iter([("A.", "X."), ("A.", "Y."), ("B.", "X."), ("B.", "Y.")])
    assert demo.distinct_pairs(lambda: next(draws), 2) == [("A.", "X."), ("B.", "Y.")]


def test_a_grammar_without_new_sentences_is_refused() -> None:
    draws = random.Random(1)
    few = [("Ja.", "Yes."), ("Nein.", "No."), ("Doch.", "Yes.")]
    assert sorted(demo.distinct_pairs(lambda: draws.choice(few[:2]), 2)) == few[:2]
    with pytest.raises(ValueError, match="3 sentences asked for; the grammar gave 2"):
        demo.distinct_pairs(lambda: draws.choice(few), 3)  # two of the three share their English
