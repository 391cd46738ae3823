"""Stand-ins for the sources of the prepare scripts: small archives and texts in the form of the published ones."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

Files = dict[str, str]


def pack(archive: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write an archive, .tgz or .tar, that holds the files."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tar:
        for name, text in files.items():
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive


# IWSLT

PARTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
# What stands in train.tags.de-en of a language, and what fairseq's prepare-iwslt14.sh makes of it: None where it leaves
# the line or the pair out. The tokens are those of Moses' tokenizer.perl, lower-cased.
TRAIN: list[tuple[str, str | None, str, str | None]] = [
    ("<url>http://www.ted.com/talks/lang/de/a.html</url>", None, "<url>http://www.ted.com/talks/a.html</url>", None),
    ("<keywords>Klima, Größe</keywords>", None, "<keywords>climate, size</keywords>", None),
    ("<talkid>1</talkid>", None, "<talkid>1</talkid>", None),
    ("<title>Al Gore: Übers Klima</title>", "al gore : übers klima",
     "<title>Al Gore: On the climate</title>", "al gore : on the climate"),
    ('<description>Er sagt "so" & [kurz].</description>', "er sagt &quot; so &quot; &amp; &#91; kurz &#93; .",
     "<description>He says 'so' & <b>.</description>", "he says &apos; so &apos; &amp; &lt; b &gt; ."),
    ("  Am 3. Mai, z.B. in den U.S.A.  ", "am 3. mai , z.b. in den u.s.a .",
     " On May 3, he's in the U.S.A. ", "on may 3 , he &apos;s in the u.s.a ."),
    ("", None, "An empty line on the other side.", None),
    ("Zwei Wörter", None, "This is four words", None),
    ("Drei und zwei.", "drei und zwei .", "This now has six tokens.", "this now has six tokens ."),
    ("zu " * 176, None, "too " * 175, None),
    ("lang " * 175, " ".join(["lang"] * 175), "long " * 175, " ".join(["long"] * 175)),
    ("x" * 1001, None, "A long word.", None),
    *((f" Das ist Satz {i}. ", f"das ist satz {i} .", f" This is sentence {i}. ", f"this is sentence {i} .")
      for i in range(45)),
]  # fmt: skip


def segments(*texts: str) -> str:
    """Return a test set with the mark-up that IWSLT gives it."""
    segs = "".join(f'<seg id="{number}"> {text} </seg>\n' for number, text in enumerate(texts, start=1))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<doc docid="9">\n<title>T</title>\n{segs}</doc>\n'


def german() -> Files:
    """Return the files of de-en.tgz."""
    files = {f"de-en/train.tags.de-en.{lang}": "".join(f"{line[side]}\n" for line in TRAIN)
             for lang, side in (("de", 0), ("en", 2))}  # fmt: skip
    for part in reversed(PARTS):
        files[f"de-en/IWSLT14.{part}.de-en.de.xml"] = segments(f"Aus {part}.", "Das &amp; das’s.")
        files[f"de-en/IWSLT14.{part}.de-en.en.xml"] = segments(f"From {part}.", "That &amp; that’s.")
    return {"de-en/README": "What is in here.\n", **files, "de-en/IWSLT14.TED.tst2013.de-en.en.xml": segments("Later.")}


def other(pair: str, release: str, parts: list[str], sentence: str, odd: str = "") -> Files:
    """Return the files of another pair: 50 training pairs, and two in each test set."""
    lang = pair[:2]
    files = {}
    for side, text in ((lang, sentence), ("en", "This is sentence {}.")):
        body = "".join(f"{text.format(number)}\n" for number in range(50))
        files[f"{pair}/train.tags.{pair}.{side}"] = f"<talkid>1</talkid>\n{odd}{body}"
        for part in parts:
            two = (text.format(f"{part} {number}") for number in (1, 2))
            files[f"{pair}/{release}.{part}.{pair}.{side}.xml"] = segments(*two)
    return files


def spanish() -> Files:
    return other("es-en", "IWSLT14", ["TED.dev2010", "TED.tst2010", "TED.tst2011", "TED.tst2012"], "¿Es la frase {}?")


def modern(pair: str, sentence: str) -> Files:
    """Return the files of a pair of IWSLT17, with the mark-up of that year."""
    parts = ["TED.dev2010", *(f"TED.tst201{year}" for year in range(6))]
    notes = ("<speaker>A. B.</speaker>", '<reviewer href="x">C</reviewer>', '<translator href="y">D</translator>')
    odd = "\n".join(['<doc docid="1">', *notes, "</doc>", ""])
    return other(pair, "IWSLT17", parts, sentence, odd)


# Multi30k

CAPTIONS = ("train", "valid", "test_2016_flickr", "test_2017_flickr")
# A tab, a no-break space and characters at which str.splitlines would break a line, inside one line each.
ODD_LINES = ("ein\tHund", "ein\u00a0Hund", "ein\u2028Hund", "ein\u0085Hund", "ein\x1cHund", "ein\x0bHund")


def captions(lang: str, name: str, count: int) -> list[str]:
    """Return made-up captions; line i of one language belongs to line i of the other."""
    nouns = {"de": ["Hund", "Mann", "Ball", "Fluss"], "en": ["dog", "man", "ball", "river"]}[lang]
    words = {"de": "Der {} (Nr. {}) sieht den {} & lacht.", "en": "The {} (no. {}) sees the {} & laughs."}[lang]
    lines = [words.format(nouns[i % 4], i, nouns[i // 4 % 4]) for i in range(count)]
    return [*ODD_LINES, *lines[len(ODD_LINES) :]] if (lang, name) == ("de", "train") else lines


def write_multi30k(folder: Path) -> Path:
    """Write an uncompressed source folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CAPTIONS:
        for lang in ("de", "en"):
            lines = captions(lang, name, 60 if name == "train" else 12)
            (folder / f"{name}.{lang}").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return folder


# Text of a user

# Capitals with a lower case of two letters, and the capital sigma, for which Perl and Python differ at a word's end.
GREEK = "Der ΛΌΓΟΣ in İstanbul & der ẞ-Laut."


def write_text(folder: Path) -> Path:
    """Write train, valid and two test sets, some of the files as .gz, and files that are none of these."""
    folder.mkdir()
    for name, count in (("train", 30), ("valid", 4), ("test", 5), ("test_news", 3)):
        for lang, text in (("de", "Das ist Satz Nummer {}."), ("en", "This is number {}.")):
            rows = [text.format(number) for number in range(count)]
            data = "".join(f"{row}\n" for row in ([GREEK, *rows[1:]] if lang == "de" else rows)).encode()
            packed = (name, lang) in (("train", "de"), ("test_news", "en"))
            (folder / f"{name}.{lang}{'.gz' * packed}").write_bytes(gzip.compress(data) if packed else data)
    (folder / "test.fr").write_text("autre\n")
    (folder / "tests.md").write_text("notes\n")
    return folder


# WikiText

WIKITEXT = {
    "train": " \n = A title = \n \n the cat <unk> the dog \n the dog\u00a0barks , the cat sat \n",
    "valid": " \n the cat sat \n",
    "test": " the bird sat \n \n",
}


def write_wikitext(folder: Path, form: str = "{}.txt", **changed: str | bytes) -> Path:
    folder.mkdir(parents=True)
    for split, text in (WIKITEXT | changed).items():
        (folder / form.format(split)).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def pack_wikitext(archive: Path, member: str = "wikitext-2/wiki.{}.tokens") -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for split, text in WIKITEXT.items():
            packed.writestr(member.format(split), text)
    return archive


# WMT14

EUROPARL, CRAWL, NEWS = (f"training-parallel-{name}.tgz" for name in ("europarl-v7", "commoncrawl", "nc-v9"))
UN, GIGA, TEST = "training-parallel-un.tgz", "training-giga-fren.tar", "test-full.tgz"
ADDRESSES = {EUROPARL: "wmt13", CRAWL: "wmt13", NEWS: "wmt14", UN: "wmt13", GIGA: "wmt10", TEST: "wmt14"}

# A pair each of Europarl that shows what is done to training text, and its tokens: punctuation is normalized, what does
# not print becomes a space, hyphens are split.
PUNCTUATED = {
    "en": ("The \u201cwell-known\u201d U.S. plan\u200bfails\u2026",
           "The &quot; well @-@ known &quot; U.S. plan fails ..."),
    "de": ("Der \u201ebekannte\u201c Plan \u2013 der US-Plan \u2013 scheitert.",
           "Der &quot; bekannte &quot; Plan - der US @-@ Plan - scheitert ."),
    "fr": ("Le plan \u00ab\u00a0connu\u00a0\u00bb a-t-il \u00e9chou\u00e9\u00a0?",
           "Le plan &quot; connu &quot; a @-@ t @-@ il échoué ?"),
}  # fmt: skip
WORDS = {"en": "Line {} of {} is here.", "de": "Zeile {} von {} ist hier.", "fr": "La ligne {} de {} est ici."}


def corpus(lang: str, name: str, count: int) -> str:
    return "".join(f"{WORDS[lang].format(number, name)}\n" for number in range(count))


def newstest(lang: str) -> str:
    """Return a set of newstest2014: test sets are not normalized."""
    return f'<srcset setid="newstest2014" srclang="any">\n<doc>\n<p>\n<seg id="1">{PUNCTUATED[lang][0]}</seg>\n' + (
        f'<seg id="2">It’s {lang} &amp; test-set.</seg>\n</p>\n</doc>\n</srcset>\n'
    )


def both(names: str, make: Callable[[str], str], others: tuple[str, ...] = ("de", "fr")) -> dict[str, str | bytes]:
    """Return files for {lang}-en: names holds {pair} and {lang}."""
    return {names.format(pair=f"{other}-en", lang=lang): make(lang) for other in others for lang in (other, "en")}


def write_wmt(folder: Path) -> Path:
    """Write the published archives: 130, 40 and 40 pairs, for French also 20 and 1,120."""
    folder.mkdir(parents=True, exist_ok=True)
    europarl = both(
        "training/europarl-v7.{pair}.{lang}", lambda lang: f"{PUNCTUATED[lang][0]}\n{corpus(lang, 'Europarl', 129)}"
    )
    pack(folder / EUROPARL, europarl)
    pack(folder / CRAWL, {**both("commoncrawl.{pair}.{lang}", lambda lang: corpus(lang, "Crawl", 40)), "README": "?\n"})
    # The second pair has a side that is too long, the third a line that is not UTF-8.
    news = both("training/news-commentary-v9.{pair}.{lang}", lambda lang: corpus(lang, "News", 40))
    for name in news:
        rows = news[name].encode().split(b"\n")  # type: ignore[union-attr]
        rows[1] = b"more " * (300 if name.endswith(".en") else 3)
        rows[2] = b"caf\xe9 is open" if name.endswith(".en") else rows[2]
        news[name] = b"\n".join(rows)
    pack(folder / NEWS, news)
    pack(folder / UN, both("un/undoc.2000.{pair}.{lang}", lambda lang: corpus(lang, "UN", 20), ("fr",)))
    pack(folder / GIGA, {f"giga-fren.release2.fixed.{lang}.gz": gzip.compress(corpus(lang, "Giga", 1120).encode())
                         for lang in ("en", "fr")})  # fmt: skip
    sides = (("src", "en"), ("ref", "de"), ("src", "de"), ("ref", "en"))
    tests = {f"newstest2014-deen-{kind}.{lang}.sgm": newstest(lang) for kind, lang in sides}
    tests |= {"newstest2014-fren-src.en.sgm": newstest("en"), "newstest2014-fren-ref.fr.sgm": newstest("fr")}
    pack(folder / TEST, {f"test-full/{name}": text for name, text in tests.items()})
    return folder
