"""The studies in configs/studies, and what is refused of a study's file."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from recipes.studies import study as studies
from recipes.studies.plan import overrides_of, plan
from recipes.training.settings import read
from support.made_up_study import write_study
from support.places import ROOT

STUDIES = sorted(studies.FOLDER.glob("*.yaml"))
IDS = [path.stem for path in STUDIES]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the dictionaries of a translation and of a language model."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("dict.de.txt", "dict.en.txt", "dict.txt"):
        (folder / name).write_text("a 5\nb 4\n")
    return folder


@pytest.mark.parametrize("config", ["iwslt14_deen", "wikitext2_gpt"])
def test_fairseq_takes_all_settings_of_each_entry(config, data, tmp_path):
    """An entry is the same in all studies, as the next test shows: so one study of all entries stands for them."""
    general = [path for path in STUDIES if path.stem != "semi_supervised"]  # that is for data without labels
    entries = {name: entry for path in general for name, entry in studies.read_study(path).entries.items()}
    study = studies.Study("all", "all", "baseline", entries)
    config = ROOT / f"configs/{config}/rdrop.yaml"
    trainings = plan(study, config, {name: [1] for name in entries}, [f"task.data={data}"], tmp_path)
    assert [training.entry.name for training in trainings] == list(entries)
    assert len({str(training.recipe) for training in trainings}) == len(trainings)


def test_fairseq_takes_the_settings_of_few_labels(tmp_path):
    for part, words in (("input0", "好 5\n"), ("label", "0 1\n1 1\n<unlabeled> 4\n")):
        (tmp_path / "bin" / part).mkdir(parents=True)
        (tmp_path / "bin" / part / "dict.txt").write_text(words, encoding="utf-8")
    study = studies.read_study(studies.FOLDER / "semi_supervised.yaml")
    config = ROOT / "configs/sentiment_zh/rdrop.yaml"
    seeds = {name: [1] for name in study.entries}
    trainings = plan(study, config, seeds, [f"task.data={tmp_path}/bin"], tmp_path / "runs")
    criterions = {training.entry.name: training.recipe.criterion for training in trainings}
    assert criterions == {path.stem: read(path).criterion for path in config.parent.glob("*.yaml")}


def test_an_entry_has_the_same_differences_in_all_studies():
    """Their runs are shared."""
    found: dict[str, tuple] = {}
    for path in STUDIES:
        for entry in studies.read_study(path).entries.values():
            differences = (entry.config, entry.set, entry.scale, entry.batch, entry.start)
            assert found.setdefault(entry.name, differences) == differences, entry.name


def test_the_studies_have_the_values_of_the_paper():
    of = {path.stem: studies.read_study(path).entries for path in STUDIES}
    alphas = [entry.set["criterion.rdrop_alpha"] for entry in of["alpha"].values() if entry.x]
    assert alphas == [1, 3, 5, 7, 10]  # table 7
    assert [entry.set.get("criterion.rdrop_every", 1) for entry in of["every"].values() if not entry.config] == [
        *(1, 2, 5, 10)  # figure 3
    ]
    pairs = [entry.set["criterion.rdrop_dropouts"] for entry in of["dropouts"].values() if entry.x]
    rates = (0.1, 0.2, 0.3, 0.4, 0.5)
    assert pairs == [f"{one},{other}" for one in rates for other in rates if one <= other]  # figure 4
    assert all(
        [f"{x:g}" for x in e.x] == e.set["criterion.rdrop_dropouts"].split(",") for e in of["dropouts"].values() if e.x
    )


@pytest.mark.parametrize("name", ["simcut", "cutoff", "rdrop_cutoff"])
def test_the_methods_have_the_losses_of_the_recipes(name):
    entry = studies.read_study(studies.FOLDER / "consistency_methods.yaml").entries[name]
    folder = ROOT / "configs/iwslt14_deen"
    cfg = read(folder / "rdrop.yaml", overrides_of(entry, folder / "rdrop.yaml", []))
    assert cfg.criterion == read(folder / f"{name}.yaml").criterion


def test_differences_are_to_the_config_with_the_overrides(tmp_path):
    config = tmp_path / "rdrop.yaml"
    config.write_text(
        "criterion: {_name: rdrop_x, rdrop_alpha: 3}\noptimization: {lr: [0.1, 0.2], max_update: 7}\n"
        "dataset: {max_tokens: 100}\n"
    )
    entry = studies.Entry(
        "e",
        set={"criterion.rdrop_dropouts": "0.1,0.3", "optimization.clip_norm": 1.5},
        scale={
            "optimization.lr": 2,
            "criterion.rdrop_start_update": [0.25, "optimization.max_update"],
            "criterion.rdrop_alpha": 2,
        },
        batch=0.5,
    )
    given = ["optimization.max_update=1000", "criterion.rdrop_alpha=5", "optimization.clip_norm=9"]
    assert overrides_of(entry, config, given) == [
        "optimization.max_update=1000",
        "optimization.lr=[0.2, 0.4]",
        "criterion.rdrop_start_update=250",
        "criterion.rdrop_alpha=10",
        "dataset.max_tokens=50",
        "optimization.update_freq=[1]",
        'criterion.rdrop_dropouts="0.1,0.3"',
        "optimization.clip_norm=1.5",
    ]
    cfg = read(config, overrides_of(entry, config, given))
    assert cfg.criterion.rdrop_dropouts == "0.1,0.3" and cfg.optimization.lr == [0.2, 0.4]


def test_flags_of_rdrop_are_not_given_to_a_baseline(tmp_path):
    config = tmp_path / "baseline.yaml"
    config.write_text("criterion: {_name: cross_entropy}\n")
    given = ["criterion.rdrop_alpha=2", "optimization.max_update=3"]
    assert overrides_of(studies.Entry("e"), config, given) == ["optimization.max_update=3"]


def test_a_batch_is_changed_with_the_update_freq_of_the_config(tmp_path):
    config = tmp_path / "baseline.yaml"
    config.write_text("dataset: {batch_size: 8}\noptimization: {update_freq: [4]}\n")
    found = overrides_of(studies.Entry("e", batch=2), config, [])
    assert found == ["dataset.batch_size=16", "optimization.update_freq=[4]"]
    # train.sh takes a size alone as that of a smaller GPU, and keeps the batch of the config
    assert overrides_of(studies.Entry("e", batch=2), config, ["dataset.batch_size=4"]) == found
    both = ["dataset.batch_size=4", "optimization.update_freq=[2]"]
    found = overrides_of(studies.Entry("e", batch=2), config, both)
    assert found == ["dataset.batch_size=8", "optimization.update_freq=[2]"]


REFUSED = {
    "entries: {}": "entries: must be entries by their names",
    "entries: 3": "entries: must be entries by their names",
    "entries: {x: {}}": "baseline: there is no entry 'baseline'",
    "entries: {baseline: 3}": "entries.baseline: must be a section",
    "entries: {baseline: {sets: {}}}": "entries.baseline.sets: is not known",
    "entries: {baseline: {config: 3}}": "entries.baseline.config: must be a text, not 3",
    "entries: {baseline: {set: {alpha: 3}}}": "entries.baseline.set: must be values by keys such as",
    "entries: {baseline: {set: 3}}": "entries.baseline.set: must be values by keys such as",
    "entries: {baseline: {scale: {a.b: x}}}": "entries.baseline.scale.a.b: must be a factor > 0, or [FACTOR, KEY]",
    "entries: {baseline: {scale: {a.b: -1}}}": "entries.baseline.scale.a.b: must be a factor > 0",
    "entries: {baseline: {batch: 0}}": "entries.baseline.batch: must be a factor > 0, not 0",
    "entries: {baseline: {batch: x}}": "entries.baseline.batch: must be a number, not 'x'",
    "entries: {baseline: {x: [a]}}": "entries.baseline.x: must be a number, or a list of them, not ['a']",
    "entries: {baseline: {x: 1}}": "entries.baseline.x: a figure of kind 'bars' does not take (1,)",
    "entries: {baseline: {from: other}}": "entries.baseline.from: must be an entry that does not start",
    "entries: {a/b: {}}": "entries.a/b: the name must consist of letters",
    "entries: {baseline: {}}\nfigure: {kind: pie}": "figure.kind: must be one of curves, bars, seeds, points, heat map",
    "entries: {baseline: {}}\nfigure: {log: 3}": "figure.log: must be true or false, not 3",
    "entries: {baseline: {}}\nfigure: 3": "figure: must be a section",
    "entries: {baseline: {}}\nscore: best": "score: must be one of validation, test, not 'best'",
    "entries: {baseline: {}}\nreach: rdrop": "reach: there is no entry 'rdrop'",
    "entries: {baseline: {}}\nseeds: 3": "seeds: is not known",
    "entries: {baseline: {}}\nname: x": "name: is not known",
    "figure: {}": "has no entries",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_file_that_is_no_study_is_refused_in_one_line(text, tmp_path):
    file = write_study(tmp_path / "mine.yaml", text + "\n")
    with pytest.raises(SystemExit) as caught:
        studies.find_study(str(file))
    assert caught.value.code.startswith(f"{file}: {REFUSED[text]}") and "\n" not in caught.value.code


@pytest.mark.parametrize("name", ["nope", "../alpha", "nowhere/alpha.yaml", ""])
def test_an_unknown_study_is_refused_with_the_names_of_all(name):
    with pytest.raises(SystemExit) as caught:
        studies.find_study(name)
    assert caught.value.code == f"there is no study {name}; there are: {' '.join(IDS)}"


@pytest.mark.parametrize("value", ["", "true", "text"])
def test_what_is_no_number_is_not_scaled(value):
    cfg = OmegaConf.create({"optimization": {"max_update": value}} if value else {})
    with pytest.raises(SystemExit, match=r"^e takes optimization\.max_update times 2, and c\.yaml sets it to"):
        studies.scaled(2, "optimization.max_update", cfg, "e", Path("c.yaml"))


def test_a_batch_whose_size_the_config_does_not_say_is_refused(tmp_path):
    config = tmp_path / "rdrop.yaml"
    config.write_text("criterion: {_name: rdrop_x}\n")
    with pytest.raises(SystemExit, match=r"^e takes another batch, and .* sets no dataset\.max_tokens or"):
        overrides_of(studies.Entry("e", batch=2), config, [])
