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


def write(file, *runs, config="rdrop.yaml"):
    file.write_text(json.dumps({"config": config, "runs": runs}))
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
    assert (one.best_within(9), one.best_within(8)) == (20.0, None)
    assert str(one.conditions[0]) == "2 runs at once, with 1 thread each, on a CPU"
    assert found["rdrop", 3].conditions == [None]


def test_entries_that_the_study_does_not_have_are_left_out(study, config, tmp_path):
    file = write(tmp_path / "a.json", run("other", 1, 1.0), run("baseline", 2, 20.0), run("third", 2, 1.0))
    assert read_recorded([file], study, config, [LIMIT]).keys() == {("baseline", 2)}


def test_a_file_without_runs_is_refused(study, config, tmp_path):
    with pytest.raises(SystemExit, match=r"has no run .*; it has no runs$"):
        read_recorded([write(tmp_path / "a.json")], study, config, [LIMIT])


def test_recorded_runs_are_not_trained_except_those_from_which_others_start(study):
    recorded = {("baseline", 1), ("baseline", 2), ("rdrop", 2), ("tuned", 1)}
    seeds = {"baseline": [1, 2, 3], "rdrop": [1, 2], "tuned": [1, 2]}
    assert still_to_train(study, seeds, recorded) == {"baseline": [2, 3], "rdrop": [1], "tuned": [2]}
    assert still_to_train(study, seeds, set()) == seeds


def test_a_file_of_an_earlier_version_knows_no_conditions_and_the_order_of_settings_does_not_count(
    study, config, tmp_path
):
    earlier = run("rdrop", 1, 22.0) | {"overrides": ["criterion.rdrop_alpha=2.0", LIMIT]}
    del earlier["conditions"]
    found = read_recorded([write(tmp_path / "a.json", earlier)], study, config, [LIMIT])
    assert found["rdrop", 1].conditions == [None]


NO_STUDY = "is no study.json that study.sh wrote"


@pytest.mark.parametrize("text", ["", "[]", '{"runs": []}', '{"config": "rdrop.yaml", "runs": [{"entry": "rdrop"}]}'])
def test_a_file_of_something_else_is_refused(text, study, config, tmp_path):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(SystemExit, match=NO_STUDY):
        read_recorded([tmp_path / "other.json"], study, config, [LIMIT])


@pytest.mark.parametrize(
    "changed",
    [
        *({"entry": ["baseline"]}, {"seed": "1"}, {"curve": []}, {"curve": [{"update": 1}]}, {"best": {}}),
        *({"scores": {"best validation BLEU": "high"}}, {"conditions": [{"device": "a CPU", "cores": 2}]}),
    ],
)
def test_a_run_that_no_study_wrote_is_refused(changed, study, config, tmp_path):
    file = write(tmp_path / "other.json", run("baseline", 1, 20.0) | changed)
    with pytest.raises(SystemExit, match=NO_STUDY):
        read_recorded([file], study, config, [LIMIT])


@pytest.mark.parametrize(
    "recorded, words",
    [
        (run("other", 1, 1.0), "has no run of an entry of the study toy; its entries are other"),
        (
            run("rdrop", 1, 1.0, "criterion.rdrop_alpha=3.0"),
            "rdrop seed 1 does not have the settings of this study: criterion.rdrop_alpha=2.0 "
            "criterion.rdrop_alpha=3.0",
        ),
        (
            run("baseline", 4, 1.0) | {"overrides": []},
            f"baseline seed 4 does not have the settings of this study: {LIMIT}",
        ),
    ],
)
def test_runs_of_another_study_are_refused(recorded, words, study, config, tmp_path):
    file = write(tmp_path / "other.json", recorded)
    with pytest.raises(SystemExit) as caught:
        read_recorded([file], study, config, [LIMIT])
    assert words in caught.value.code and str(file) in caught.value.code and "\n" not in caught.value.code


def test_a_file_about_another_config_and_a_missing_one_are_refused(study, config, tmp_path):
    file = write(tmp_path / "other.json", run("baseline", 1, 1.0), config="configs/glue_small/cola.yaml")
    with pytest.raises(SystemExit, match=r"is about configs/glue_small/cola\.yaml, and not about .*/rdrop\.yaml$"):
        read_recorded([file], study, config, [LIMIT])
    with pytest.raises(SystemExit, match=r"^there is no .*/missing\.json$"):
        read_recorded([tmp_path / "missing.json"], study, config, [LIMIT])
