"""IWSLT17: talks of TED in French or Chinese, and English."""

from collections.abc import Sequence

from recipes.data.iwslt import Release, Talks

ADDRESS = "https://wit3.fbk.eu/archive/2017-01-trnted/texts/{lang}/en/{lang}-en.tgz"
TESTSETS: dict[str, Sequence[str]] = {
    "test": ("TED.dev2010", "TED.tst2010", "TED.tst2011", "TED.tst2012"),
    "tst2013": ("TED.tst2013",),
    "tst2014": ("TED.tst2014",),
    "tst2015": ("TED.tst2015",),
}
RELEASE = Release(
    "IWSLT17",
    archive="2017-01-trnted.tgz",
    page="https://wit3.fbk.eu/2017-01-b",
    addresses={lang: ADDRESS.format(lang=lang) for lang in ("fr", "zh")},
    notes=("<url>", "<talkid>", "<keywords>", "<speaker>", "<reviewer", "<translator", "<doc", "</doc>"),
    testsets=dict.fromkeys(("fr", "zh"), TESTSETS),
)


def main(arguments: Sequence[str] | None = None) -> None:
    Talks(RELEASE, arguments).prepare()
