"""Sentence prediction by fairseq-train: classes and numbers, from text to scores, and labels that are refused."""

import random
import shutil

import pytest
from support.command_line import FROZEN, ONE_CPU, PREPROCESS, USER_DIR, run, train, train_argv, two_processes

USER = ("--task", "rdrop_sentence_prediction", "--criterion", "rdrop_sentence_prediction", "--rdrop-alpha", "2")
ROBERTA = ("--arch", "roberta_base", "--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "16")
ROBERTA += ("--encoder-layers", "1", "--encoder-attention-heads", "2", "--max-positions", "32", "--dropout", "0.2")
LEARNS = (*USER, *ROBERTA, "--lr", "0.02", "--max-update", "80", "--log-interval", "20", "--init-token", "0")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts whose label is whether the word "good" is in them, and how many of their words are "good"."""
    folder, rng = tmp_path_factory.mktemp("sentences"), random.Random(1)
    for split, size in (("train", 64), ("valid", 32)):
        rows = [[rng.choice(("good", "a", "b", "c", "d")) for _ in range(rng.randint(2, 6))] for _ in range(size)]
        (folder / f"{split}.text").write_text("".join(f"{' '.join(row)}\n" for row in rows))
        (folder / f"{split}.label").write_text("".join(f"{int('good' in row)}\n" for row in rows))
        (folder / f"{split}.number").write_text("".join(f"{row.count('good') / 2}\n" for row in rows))
    for part, end in (("input0", "text"), ("label", "label")):
        prefixes = [f"--{split}pref={folder / split}.{end}" for split in ("train", "valid")]
        run(PREPROCESS, "--only-source", *prefixes, "--destdir", folder / "bin" / part)
    for split in ("train", "valid"):
        (folder / f"{split}.number").rename(folder / "bin" / "label" / f"{split}.label")
    return folder / "bin"


def test_classes_are_learned_and_scored(data):
    result = train(data, *LEARNS, "--num-classes", "2", "--report-mcc", "--report-acc-and-f1")
    assert result.valid["valid_accuracy"] > 90 and result.valid["valid_mcc"] > 80 and result.valid["valid_f1"] > 90
    assert result.updates[-1]["kl_loss"] > 0 and result.updates[-1]["rdrop_alpha"] == 2


def test_numbers_are_learned_and_scored(data):
    """Official GLUE code: its task calls ``forward_reg``, which no criterion has, so that STS-B cannot be trained."""
    flags = ("--num-classes", "1", "--regression-target", "--report-pearson-and-spearman")
    result = train(data, *LEARNS, *flags, "--best-checkpoint-metric", "pearson", "--maximize-best-checkpoint-metric")
    assert result.valid["valid_pearson"] > 60 and result.valid["valid_spearman"] > 60
    assert result.updates[-1]["kl_loss"] > 0


def test_two_processes_train(data):
    flags = (*USER, *ROBERTA, "--num-classes", "2", *FROZEN)
    two = two_processes("tcp", train_argv(data, *flags, "--batch-size", "4"))
    one = train(data, *flags)
    assert two.updates[-1]["kl_loss"] > 0
    for key in ("valid_loss", "valid_accuracy"):
        assert two.valid[key] == one.valid[key]


def test_the_baseline_and_alpha_0_are_one_training(data):
    flags = (*ROBERTA, "--num-classes", "2")
    ours = train(data, *USER, *flags, "--rdrop-alpha", "0")
    parents = train(data, "--task", "sentence_prediction", "--criterion", "sentence_prediction", *flags)
    assert ours.column("loss") == parents.column("loss") and ours.valid["valid_loss"] == parents.valid["valid_loss"]


def test_its_model_is_validated_by_fairseqs_own_task(data, tmp_path):
    flags = (*ROBERTA, "--num-classes", "2")
    ours = train(data, *USER, *flags, save_dir=tmp_path)
    result = run(
        "fairseq_cli.validate", data, *ONE_CPU[:1], "--task", "sentence_prediction", "--criterion",
        "sentence_prediction", "--num-classes", "2", "--path", tmp_path / "checkpoint_last.pt", "--batch-size", "8",
        "--user-dir", USER_DIR, "--log-format", "simple", "--max-positions", "32",
    )  # fmt: skip
    assert f"loss {ours.valid['valid_loss']:g}" in result.stdout


def copied(data, folder):
    """Copy the data to a folder of the test."""
    for path in data.rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(data)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return folder


WRONG = {
    "label/valid.label": (b"0.5\nh\xe4lf\n", "line 2: must be 1 finite number (--num-classes), not 'h\ufffdlf'"),
    "label/train.label": (b"0.5 1\n", "line 1: must be 1 finite number (--num-classes), not '0.5 1'"),
}


def refused(*argv):
    result = train(*argv, succeeds=False)
    assert result.status == 1
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    return line


@pytest.mark.parametrize("name", WRONG)
def test_a_number_that_is_none_is_refused(data, tmp_path, name):
    text, told = WRONG[name]
    (copied(data, tmp_path) / name).write_bytes(text)
    flags = (*USER, *ROBERTA, "--num-classes", "1", "--regression-target")
    assert refused(tmp_path, *flags) == f"error: {tmp_path / name}, {told}"


def test_a_label_beyond_the_classes_is_refused(data):
    line = refused(data, *USER, *ROBERTA, "--num-classes", "1")
    assert (
        f"{data}/label/valid, row " in line and "must be one of the first 1 (--num-classes) of the dictionary" in line
    )


def test_an_unknown_label_is_refused(data, tmp_path):
    """fairseq-preprocess makes it <unk>, and the loss would fail with a page of traceback, or count from the end."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for split, labels in (("train", "01" * 32), ("valid", "01" * 15 + "02")):
        (texts / split).write_text("".join(f"{label}\n" for label in labels))
    prefixes = [f"--{split}pref={texts / split}" for split in ("train", "valid")]
    run(PREPROCESS, "--only-source", *prefixes, "--destdir", tmp_path / "bin" / "label")
    (tmp_path / "bin" / "input0").symlink_to(data / "input0")
    line = refused(tmp_path / "bin", *USER, *ROBERTA, "--num-classes", "2")
    assert "label/valid, row 32: the label must be one of the first 2 (--num-classes)" in line and "<unk>" in line


@pytest.mark.parametrize(
    "flags, told",
    [
        ((), "--num-classes -1: must be the number of classes, or of numbers to predict"),
        (("--num-classes", "2"), "/dict.txt, which fairseq-preprocess --destdir input0 would have made"),
    ],
)
def test_missing_things_are_refused(tmp_path, flags, told):
    assert told in refused(tmp_path, *USER, *ROBERTA, *flags)


@pytest.mark.parametrize(
    "name, flags, told",
    [
        ("label/valid.label", ("--num-classes", "1", "--regression-target"), "there are no labels {}, a number a line"),
        ("label/train.bin", ("--num-classes", "2"), "there are no labels {}"),
    ],
)
def test_labels_that_are_missing_are_refused(data, tmp_path, name, flags, told):
    (copied(data, tmp_path) / name).unlink()
    assert refused(tmp_path, *USER, *ROBERTA, *flags) == f"error: {told.format(tmp_path / name)}"


def test_another_number_of_labels_is_refused(data, tmp_path):
    (copied(data, tmp_path) / "label/valid.label").write_text("1\n2\n")
    line = refused(tmp_path, *USER, *ROBERTA, "--num-classes", "1", "--regression-target")
    assert line == f"error: {tmp_path}, valid: dataset lengths must match"


def test_a_second_sentence_with_another_dictionary_is_refused(data, tmp_path):
    """fairseq reads the first one's alone, and would take the numbers of one for words of the other."""
    second = copied(data, tmp_path) / "input1"
    shutil.copytree(data / "label", second)
    assert f"error: {second}/dict.txt is not " in refused(tmp_path, *USER, *ROBERTA, "--num-classes", "2")


def test_labels_of_another_format_are_read(data, tmp_path):
    texts = data.parent
    prefixes = [f"--{split}pref={texts / split}.label" for split in ("train", "valid")]
    shutil.rmtree(copied(data, tmp_path) / "label")
    run(PREPROCESS, "--only-source", *prefixes, "--destdir", tmp_path / "label", "--dataset-impl", "lazy")
    assert train(tmp_path, *USER, *ROBERTA, "--num-classes", "2").updates
