"""The reason of a failure is found in what a program printed."""

import pytest
from recipes.training.reason import Reason

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\n    x = f(\n'
HYDRA = (
    "    full_key: a.b\n    reference_type=C\n    object_type=C\n\nSet the environment variable HYDRA_FULL_ERROR=1 for"
)


@pytest.mark.parametrize(
    "printed, reason",
    [
        ("", ""),
        ("[2026-01-01 00:00:00,1][fairseq][INFO] - error: not this\nall is well\n", ""),
        ("error: --rdrop-alpha -1: must be >= 0\n", "error: --rdrop-alpha -1: must be >= 0"),
        ("usage: a [-h]\ntrain.py: error: unrecognized arguments: x\n", "train.py: error: unrecognized arguments: x"),
        (TRACEBACK + "ValueError: too long\n", "ValueError: too long"),
        (TRACEBACK + "AssertionError\n", "AssertionError"),
        (TRACEBACK + "ImportError: \n\nPlease install x\n", "ImportError: Please install x"),
        (TRACEBACK + "KeyboardInterrupt\n", "KeyboardInterrupt"),
        (TRACEBACK + "a.Failed: first\nsecond\n\nthird\n", "a.Failed: first second"),
        (TRACEBACK + "ValueError: first\n\nDuring this:\n\n" + TRACEBACK + "KeyError: 'x'\n", "KeyError: 'x'"),
        ("[rank1]: Traceback (most recent call last):\n[rank1]:   File\n[rank1]: RuntimeError: x\n", "RuntimeError: x"),
        (
            TRACEBACK + "omegaconf.errors.ConfigKeyError: Key 'x'\n" + HYDRA,
            "omegaconf.errors.ConfigKeyError: Key 'x' full_key: a.b",
        ),
        (
            "DEBUG:hydra:x\na\nwarning\nof\nmany\nlines\nError merging 'train' with schema\nValue 'x' is no list\n"
            + HYDRA,
            "Value 'x' is no list full_key: a.b",
        ),
        ("In 'train': no such file\n\nSet the environment variable HYDRA_FULL_ERROR=1 for", "In 'train': no such file"),
    ],
)
def test_the_reason_of_a_failure_is_found_in_what_was_printed(printed, reason):
    found = Reason()
    for line in printed.splitlines(keepends=True):
        found.read(line)
    assert str(found) == reason
