"""IWSLT17: talks in French or Chinese, and English."""

from collections.abc import Sequence

from recipes.data.talks import Release, Talks

SITE = "https://wit3.fbk.eu/archive/2017-01-trnted/texts"
TESTSETS: dict[str, Sequence[str]] = {
    "test": ("TED.dev2010", "TED.tst2010", "TED.tst2011", "TED.tst2012"),
    "tst2013": ("TED.tst2013",),
    "tst2014": ("TED.tst2014",),
    "tst2015": ("TED.tst2015",),
}
IWSLT17 = Release(
    "IWSLT17",
    archive="2017-01-trnted.tgz",
    page="https://wit3.fbk.eu/2017-01-b",
    addresses={"fr": f"{SITE}/fr/en/fr-en.tgz", "zh": f"{SITE}/zh/en/zh-en.tgz"},
    notes=("<url>", "<talkid>", "<keywords>", "<speaker>", "<reviewer", "<translator", "<doc", "</doc>"),
    testsets={"fr": TESTSETS, "zh": TESTSETS},
)


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_iwslt17.sh."""
    Talks(IWSLT17, arguments).prepare()
