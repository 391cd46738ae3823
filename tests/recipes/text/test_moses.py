"""recipes/text/moses.py and benchmarks/moses_lines.py: tokens and text as Moses' Perl scripts make them."""

import shutil
import sys
from pathlib import Path

import moses_lines
import pytest
from recipes.text import moses


@pytest.mark.parametrize(
    ("lang", "raw", "tokens"),
    [
        ("en", "A man's dog isn't wet.", "A man 's dog isn 't wet ."),
        ("en", 'He said "no" (twice), for $5.50!', 'He said " no " ( twice ) , for $ 5.50 !'),
        ("en", "A well-known | [x] & more.", "A well-known | [ x ] & more ."),
        ("en", "He lives in the U.S.A.", "He lives in the U.S.A ."),
        ("en", "The U.S. team waits...", "The U.S. team waits ..."),
        ("de", "Am 3. Mai, z.B. um 12.30 Uhr.", "Am 3. Mai , z.B. um 12.30 Uhr ."),
        ("de", "Das „Haus“ ist groß.", "Das „ Haus “ ist groß ."),
        ("fr", "L'homme qu'elle voit.", "L' homme qu' elle voit ."),
    ],
)
def test_tokens_and_back(lang: str, raw: str, tokens: str) -> None:
    assert moses.tokenizer(lang)([raw]) == [tokens]
    assert moses.detokenizer(lang)([tokens]) == [raw]


@pytest.mark.parametrize(
    ("lang", "raw", "tokens"),
    [
        ("en", 'It\'s "A & B" | [x] <b>', "It &apos;s &quot; A &amp; B &quot; &#124; &#91; x &#93; &lt; b &gt;"),
        ("de", "Es gilt 5,", "Es gilt 5 ,"),
        ("en", "the 'quoted.'", "the &apos; quoted . &apos; "),
        ("en", "Wait.. and 攻殻機動隊 a.中 b", "Wait .. and 攻殻機動隊 a.中 b"),
        ("en", "a\x1cb\x1f \x07c", "ab c"),
    ],
)
def test_tokens_with_entities_as_perl_writes_them(lang: str, raw: str, tokens: str) -> None:
    """What tokenizer.perl of Moses printed for these lines."""
    assert moses.tokenizer(lang, moses.Rules(escape=True))([raw]) == [tokens]


@pytest.mark.parametrize(
    ("lang", "raw", "tokens"),
    [
        ("fi", "EU:n tavoite: USA:ssa klo 12:30, ks. s. 5.", "EU:n tavoite : USA:ssa klo 12 : 30 , ks. s . 5 ."),
        ("fi", "Hinta:20 e, nimi:Oy", "Hinta : 20 e , nimi : Oy"),
        ("sv", "Den 8:e maj sade S:t Eriks chef: nej!", "Den 8:e maj sade S:t Eriks chef : nej !"),
        ("sv", "Ö. Ek", "Ö . Ek"),
        ("ca", "L'Anna canta l'òpera 'col·lecció'.", "L' Anna canta l' òpera ' col·lecció ' ."),
        ("ca", "Paral·lel·L' i A·B Â·L Â·l", "Paral·lel·L ' i A·B Â· L Â·l"),
        ("ga", "D'fhear a' chailín 'b'fhéidir'.", "D' fhear a ' chailín ' b' fhéidir ' ."),
        ("it", "L'acqua, ad es. Dario, all. Poi Arch. Rossi", "L' acqua , ad es . Dario , all . Poi Arch . Rossi"),
        ("so", "Lo'da iyo ba'an, 'haa' 5' jir.", "Lo'da iyo ba'an , ' haa ' 5 ' jir ."),
        ("tdt", "Na'in Ita-nia'an la'O 'hau' Art. 5.", "Na'in Ita-nia'an la ' O ' hau ' Art. 5 ."),
        ("ja", "これは本です。「はい」、と言った。", "これは本です 。 「 はい 」 、 と言った 。"),
        ("ko", "안녕하세요。이것은 책입니다.", "안녕하세요 。 이것은 책입니다 ."),
        ("is", "sjá no. 5 og no. Einar", "sjá no. 5 og no. Einar"),
        ("nl", "Nrs. Drie en Nr. 3, Nr. Drie.", "Nrs . Drie en Nr. 3 , Nr . Drie ."),
        ("de", "\u00a0\u2003", "\u00a0\u2003"),
        ("de", "\x1c\u00a0", ""),
    ],
)
def test_tokens_of_more_languages_as_perl_writes_them(lang: str, raw: str, tokens: str) -> None:
    """What tokenizer.perl -no-escape of Moses printed for these lines. It does not segment Japanese."""
    assert moses.moses_tokens(lang, moses.Rules())([raw]) == [tokens]


@pytest.mark.parametrize(
    ("lang", "tokens", "text"),
    [
        ("cs", "v roce 1989 .", "v roce 1989."),
        ("cs", "asi 3 , 5 nebo 2 . 5 metru", "asi 3,5 nebo 2.5 metru"),
        ("cs", "Je - li to tak , pošli e - mail hned .", "Je-li to tak, pošli e-mail hned."),
        ("cs", "je - li", "je - li"),
        ("cs", "„ Ano , “ řekl . “ A „ ne “ .", "„Ano,“ řekl.“ A „ne“."),
        ("fi", "EU: n ja USA: Ssa", "EU:n ja USA:ssa"),
        ("fi", "EU : n", "EU:n"),
        ("en", "The Jones ' house , 'Tis ' n ' 's", "The Jones' house, 'Tis' n ''s"),
        ("en", "a  . ' ", "a . '"),
        ("fr", "L' homme : « oui » ( ? ) 5 % !", "L'homme : « oui » ( ?) 5 % !"),
        ("it", "L' acqua d' Arno", "L'acqua d'Arno"),
        ("es", "¿ Qué ? ¡ No !", "¿Qué? ¡No!"),
        ("de", "( € 5 ) , ' a ' „ b “ \" c \"", "(€5), 'a' „b“ \"c\""),
        ("de", "well @-@ known A @-@ B @-@ C", "well-known A-B-C"),
        ("ja", "これ は 本 です 。 OK です", "これは本です。 OK です"),
        ("ko", "안녕 하세요 한국 ( 네 ) .", "안녕 하세요 한국 (네)."),
        ("de", "a\u00a0b \u2028 , c", "a\u00a0b \u2028, c"),
        ("de", "\u00a0", "\u00a0"),
        ("de", "< b > x , y >", "< b > x , y >"),
        ("de", "&lt; b &gt; x , y &gt;", "< b > x, y >"),
    ],
)
def test_plain_text_as_perl_writes_it(lang: str, tokens: str, text: str) -> None:
    """What detokenizer.perl of Moses printed for these lines."""
    assert moses.detokenizer(lang, escaped=True)([tokens]) == [text]


@pytest.mark.parametrize(("lang", "text"), [("ca", "l'home d'en Pau"), ("ga", "d'fhear")])
def test_contractions_that_perl_only_splits_are_joined_again(lang: str, text: str) -> None:
    assert moses.detokenizer(lang)(moses.tokenizer(lang)([text])) == [text]


def test_entities_and_back() -> None:
    raw = 'He said "yes" & left.'
    tokens = moses.tokenizer("en", moses.Rules(escape=True))([raw])
    assert moses.detokenizer("en", escaped=True)(tokens) == [raw]


@pytest.mark.parametrize(
    ("lang", "raw", "normal"),
    [
        ("en", "He said \u201cyes\u201d, then \u2018no\u2019.", 'He said "yes," then \'no."'),
        ("de", "Er sagte: \u201eJa.\u201c", 'Er sagte: "Ja".'),
        ("fr", "\u00ab\u00a0Oui\u00a0!\u00a0\u00bb (\u00a01\u00a0000\u00a0)", '"Oui!" (\u00a01,000\u00a0) '),
        ("en", "a\tb\u00adc  d ( e )", "a b c d (e) "),
        ("it", "“Sì,” disse. «No.» ‘x’", '"Sì", disse. "No". \'x"'),
        ("ro", "„Da,” (2\u00a0000)", '"Da", (2.000) '),
        ("cs", "„Ano,“ (2\u00a0000)", '"Ano," (2,000) '),
    ],
)
def test_normalized_as_perl_does(lang: str, raw: str, normal: str) -> None:
    """What normalize-punctuation.perl and remove-non-printing-char.perl of Moses printed for these lines."""
    assert moses.normalizer(lang)([raw]) == [normal]


def test_lower_case_equals_perl_on_every_character() -> None:
    """Perl's lc, of the same Unicode as Python, gave this: each character by itself, the sigma never final."""
    assert moses.lower(["ΑΣ ΑΣΑ Σ"]) == ["ασ ασα σ"]
    assert moses.lower(["İI"]) == ["i\u0307i"]


@pytest.mark.skipif(not shutil.which("perl"), reason="needs perl")
def test_lines_that_differ_from_perl_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stand-ins for Moses' scripts that give the tokens which all make of the first line, and the text of no line."""
    scripts = tmp_path / "scripts" / "tokenizer"
    scripts.mkdir(parents=True)
    for name in ("normalize-punctuation", "remove-non-printing-char"):
        (scripts / f"{name}.perl").write_text("print while (<STDIN>)")
    (scripts / "tokenizer.perl").write_text("while (<STDIN>) { s/\\.$/ ./; print }")
    (scripts / "detokenizer.perl").write_text("print while (<STDIN>)")
    lists = tmp_path / "scripts" / "share" / "nonbreaking_prefixes"
    lists.mkdir(parents=True)
    for lang in ("en", "fi"):
        (lists / f"nonbreaking_prefix.{lang}").touch()
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "x.en").write_text("A dog.\nIn the U.S.\nA well-known dog.\n")
    (texts / "x.ko").write_text("A dog.\n")
    monkeypatch.setattr(sys, "argv", ["moses_lines.py", "--moses", str(tmp_path), str(texts)])
    moses_lines.main()
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| x.en | 3 | 0 | 1 | 3 | 1 |",
        "| x.ko | 1 | 0 | 0 | 1 | 0 |",
        "no text: fi ja so",
    ]


def test_tokens_that_are_made_stay_as_they_are() -> None:
    rules = moses.Rules(made=True, lowercase=True)
    assert moses.tokenizer("en", rules)(["I &apos;m  in the U.S.\u00a0, ok?", "我爱"]) == [
        "i &apos;m in the u.s. , ok?",
        "我爱",
    ]


def test_white_space_becomes_one_space() -> None:
    assert moses.tokenizer("de")([" ein\tgroßer\u00a0\u2028Hund "]) == ["ein großer Hund"]


def test_the_language_is_the_ending(tmp_path: Path) -> None:
    for lang in ("de", "fr"):
        (tmp_path / f"x.{lang}").write_text("l'eau\n")
    (tmp_path / "out").mkdir()
    moses.tokenize([tmp_path / "x.fr", tmp_path / "x.de"], tmp_path / "out", 1, moses.Rules())
    assert (tmp_path / "out" / "x.fr").read_text() == "l' eau\n"
    assert (tmp_path / "out" / "x.de").read_text() == "l ' eau\n"
