"""Runs of a study that come from a study.json: which of them are not trained here, and what is refused."""

import json

import pytest
from recipes.studies.recorded import read_recorded, still_to_train
from support.made_up_study import made_up

ENTRIES = """
entries:
  baseline: {config: baseline}
  rdrop: {set: {criterion.rdrop_alpha: 2.0}}
  tuned: {from: baseline}
"""
LIMIT = "optimization.max_update=10"
CONDITIONS = {"device": "a CPU", "threads": "1", "seconds": 9.0, "runs": 2.0, "runs_on_device": 2.0}


@pytest.fixture
def study(tmp_path):
    return made_up(tmp_path, ENTRIES)


@pytest.fixture
def config(tmp_path):
    """Return the config with R-Drop; the baseline is beside it."""
    for name in ("baseline", "rdrop"):
        criterion = "rdrop_cross_entropy" if name == "rdrop" else "cross_entropy"
        (tmp_path / f"{name}.yaml").write_text(f"criterion: {{_name: {criterion}}}\n")
    return tmp_path / "rdrop.yaml"


def run(entry, seed, bleu, *overrides):
    """Return a run as study.json has it."""
    point = {"update": 10, "seconds": 9.0, "bleu": bleu}
    known = {"overrides": [LIMIT, *overrides], "scores": {"best validation BLEU": bleu}, "best": point}
    return {"entry": entry, "seed": seed, "tests": {}, "versions": [], "curve": [point], "conditions": [None]} | known


def write(file, *runs):
    file.write_text(json.dumps({"runs": runs}))
    return file


def test_runs_of_several_files_are_put_together_and_the_first_file_counts(study, config, tmp_path):
    first = write(tmp_path / "a.json", run("baseline", 1, 20.0) | {"conditions": [CONDITIONS]})
    second = write(tmp_path / "b.json", run("baseline", 1, 9.0), run("rdrop", 3, 22.0, "criterion.rdrop_alpha=2.0"))
    found = read_recorded([first, second], study, config, [LIMIT])
    assert {key: of.scores["best validation BLEU"] for key, of in found.items()} == {
        ("baseline", 1): 20.0,
        ("rdrop", 3): 22.0,
    }
    one = found["baseline", 1]
    assert (one.log, one.best_within(9), one.best_within(8)) == (None, 20.0, None)
    assert str(one.conditions[0]) == "2 runs at once, with 1 thread each, on a CPU"
    assert found["rdrop", 3].conditions == [None]


def test_recorded_runs_are_not_trained_except_those_from_which_others_start(study):
    recorded = {("baseline", 1), ("baseline", 2), ("rdrop", 2), ("tuned", 1)}
    seeds = {"baseline": [1, 2, 3], "rdrop": [1, 2], "tuned": [1, 2]}
    assert still_to_train(study, seeds, recorded) == {"baseline": [2, 3], "rdrop": [1], "tuned": [2]}
    assert still_to_train(study, seeds, set()) == seeds


NO_STUDY = "is no study.json that study.sh wrote"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", NO_STUDY),
        ("[]", NO_STUDY),
        ('{"runs": [{"entry": "rdrop"}]}', NO_STUDY),
        ([run("other", 1, 1.0)], "has a run of other, and the study has no such entry"),
        (
            [run("rdrop", 1, 1.0, "criterion.rdrop_alpha=3.0")],
            f"rdrop seed 1 was trained with {LIMIT} criterion.rdrop_alpha=3.0 and not with {LIMIT} "
            "criterion.rdrop_alpha=2.0",
        ),
        (
            [run("baseline", 4, 1.0) | {"overrides": []}],
            f"baseline seed 4 was trained with the config alone and not with {LIMIT}",
        ),
        (None, "there is no "),
    ],
)
def test_a_file_of_something_else_is_refused(text, words, study, config, tmp_path):
    file = tmp_path / "other.json"
    if isinstance(text, list):
        write(file, *text)
    elif text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit, match=r".") as caught:
        read_recorded([file], study, config, [LIMIT])
    assert words in caught.value.code and str(file) in caught.value.code and "\n" not in caught.value.code
