"""Each study of configs/studies with tiny models: from the command to the table and the figure."""

import json
from pathlib import Path

import pytest
from recipes.evaluation.measures import TRAINING_LOSS
from recipes.studies import study as studies
from support import command_line, toy_run
from support.chinese import write_sentiment
from support.places import ROOT
from support.prepare import prepared

STUDIES = {path.stem: studies.read_study(path) for path in sorted(studies.FOLDER.glob("*.yaml"))}
FEW_LABELS = "semi_supervised"  # it is for data without labels, and all others are for translation
QUICK = [
    *("common.cpu=true", "optimization.max_update=4", "lr_scheduler.warmup_updates=2", "dataset.num_workers=0"),
    *("dataset.validate_interval_updates=2", "checkpoint.save_interval_updates=2", "common.log_interval=1"),
]
DECODER = [f"model.decoder_{size}_dim=16" for size in ("embed", "input", "output", "ffn_embed")]
ENCODER = ["model.encoder_layers=1", "model.encoder_embed_dim=16", "model.encoder_ffn_embed_dim=16"]


def study_in(folder: Path, name: str, config: str, *settings: object) -> dict:
    """Run a study to its end, check that all went well, and return study.json. Entries that were trained stay."""
    where = ("--seeds", "1", "--runs", folder / "runs", "--out", folder / name)
    given = ROOT / f"configs/{config}/rdrop.yaml"
    result = command_line.start("support.forked_study", name, given, *settings, *QUICK, *where).result()
    assert (result.status, result.stderr) == (0, ""), result.stdout + result.stderr
    assert (folder / name / "table.md").read_text() in result.stdout
    assert (folder / name / "figure.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / name / "study.json").read_text())


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the data of a translation. The studies share the runs in it, as those of a user do."""
    return toy_run.make_configs(tmp_path_factory.mktemp("toy"))


@pytest.mark.parametrize("name", [name for name in STUDIES if name != FEW_LABELS])
def test_each_study_goes_from_its_command_to_its_figure(name: str, toy: Path) -> None:
    data = (f"task.data={toy}/bin", "dataset.max_tokens=64")
    found = study_in(toy, name, "multi30k_deen", *data, *toy_run.SMALL)
    assert [run["entry"] for run in found["runs"]] == [*STUDIES[name].entries] and not found["failed"]
    for run in found["runs"]:
        assert run["scores"].keys() == {"best validation BLEU", "made_up sacreBLEU"}
        assert run["curve"][-1]["update"] >= 4 and 1 < run["curve"][-1][TRAINING_LOSS] < 10


def test_a_study_of_few_labels(tmp_path: Path) -> None:
    source = write_sentiment(tmp_path / "source")
    options = ("--labeled", 3, "--from", source, "--out", tmp_path / "data", "--workers", 1)
    prepared("prepare_sentiment_zh.sh", *options, plain=True, fairseq=True)
    settings = (f"task.data={tmp_path}/data/bin", "task.rdrop_upsample_labeled=1", "model.encoder_attention_heads=2")
    found = study_in(tmp_path, FEW_LABELS, "sentiment_zh", *settings, *ENCODER)
    assert [run["entry"] for run in found["runs"]] == [*STUDIES[FEW_LABELS].entries] and not found["failed"]
    assert not any(TRAINING_LOSS in point for run in found["runs"] for point in run["curve"])


def test_a_study_of_language_models(tmp_path: Path) -> None:
    settings = (f"task.data={command_line.make_text(tmp_path)}", "task.tokens_per_sample=8", "dataset.max_tokens=64")
    settings += ("model.decoder_attention_heads=2", "model.decoder_layers=1", *DECODER)
    found = study_in(tmp_path, "half_time", "wikitext2_gpt", *settings)
    assert [run["entry"] for run in found["runs"]] == [*STUDIES["half_time"].entries] and not found["failed"]
    scores = {"best validation perplexity", "valid perplexity", "test perplexity"}
    assert all(run["scores"].keys() == scores for run in found["runs"])
    assert all(1 < run["curve"][-1][TRAINING_LOSS] < 10 for run in found["runs"])


@pytest.mark.parametrize("name", STUDIES)
def test_each_study_is_in_the_documentation(name: str) -> None:
    rows = (ROOT / "docs/studies.md").read_text(encoding="utf-8").splitlines()
    assert [row.startswith(f"| `{name}` |") for row in rows].count(True) == 1
