"""Where prepared data keeps what: the names in its folder, and a copy of the part that translating needs."""

import shutil
from pathlib import Path

SETTINGS = "settings.json"
# Before there was settings.json, the same stood in two files: lines "NAME: VALUE", and a name on each line.
FORMER_SETTINGS, FORMER_TESTSETS = "settings", "testsets"
SENTENCEPIECE_FILE = "bpe/sentencepiece.model"
GPT2_FILES = ("bpe/encoder.json", "bpe/vocab.bpe", "bpe/dict.txt")
ABOUT = (SETTINGS, FORMER_SETTINGS, FORMER_TESTSETS, "bpe/codes*", SENTENCEPIECE_FILE, *GPT2_FILES)
DICTIONARIES = "dict.*.txt"  # in bin


def copy_of_preparation(data: Path, folder: Path) -> None:
    """Copy what translating needs of prepared data to a folder: the settings, the subwords, the dictionaries.

    The copy has the layout of the data. What the data lacks is left out, as in data that no script here prepared.

    Args:
        data: the folder of the binarized data, which is called "bin" in the copy.
        folder: an existing folder.
    """
    found = {path: path.relative_to(data.parent) for pattern in ABOUT for path in data.parent.glob(pattern)}
    found |= {path: Path("bin", path.name) for path in data.glob(DICTIONARIES)}
    for path, place in found.items():
        if path.is_file():
            (folder / place.parent).mkdir(exist_ok=True)
            shutil.copyfile(path, folder / place)
