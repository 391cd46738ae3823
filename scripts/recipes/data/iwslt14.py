"""IWSLT14: talks in German or Spanish, and English."""

from collections.abc import Sequence

from recipes.data.talks import Release, Talks

COMMON = ("TED.tst2010", "TED.tst2011", "TED.tst2012")
IWSLT14 = Release(
    "IWSLT14",
    archive="2014-01.tgz",
    page="https://wit3.fbk.eu/2014-01",
    addresses={
        "de": "http://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz",
        "es": "https://wit3.fbk.eu/archive/2014-01/texts/es/en/es-en.tgz",
    },
    notes=("<url>", "<talkid>", "<keywords>"),
    testsets={
        "de": {"test": ("TED.dev2010", "TEDX.dev2012", *COMMON)},
        "es": {"test": ("TED.dev2010", *COMMON)},
    },
)


def main(arguments: Sequence[str]) -> None:
    """Run the command prepare_iwslt14.sh."""
    Talks(IWSLT14, arguments).prepare()
