"""fairseq-train where something has no label: marked sentences and a second set of pairs, and what is refused."""

import random
import shutil

import pytest
from support.command_line import PREPROCESS, RDROP, run, train, train_argv, two_processes

from rdrop_fairseq.compat.task_and_criterion import MARK
from rdrop_fairseq.tasks.rdrop_sentence_prediction import RDropSentencePredictionConfig, RDropSentencePredictionTask
from rdrop_fairseq.tasks.rdrop_translation import RDropTranslationConfig, RDropTranslationTask

USER = ("--task", "rdrop_sentence_prediction", "--criterion", "rdrop_sentence_prediction", "--num-classes", "2")
ROBERTA = ("--arch", "roberta_base", "--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "16", "--init-token", "0")
ROBERTA += ("--encoder-layers", "1", "--encoder-attention-heads", "2", "--max-positions", "32", "--dropout", "0.2")
WITH = ("--rdrop-unlabeled-alpha", "1")


def make(folder, labels):
    """Binarize texts; the label is whether the word "good" is in them, or what `labels` makes of it and its row."""
    rng = random.Random(1)
    for split, size in (("train", 64), ("valid", 32)):
        rows = [[rng.choice(("good", "a", "b", "c", "d")) for _ in range(rng.randint(2, 6))] for _ in range(size)]
        (folder / f"{split}.input0").write_text("".join(f"{' '.join(row)}\n" for row in rows))
        words = [labels(split, row, str(int("good" in text))) for row, text in enumerate(rows)]
        (folder / f"{split}.label").write_text("".join(f"{word}\n" for word in words))
    for part in ("input0", "label"):
        prefixes = [f"--{split}pref={folder / split}.{part}" for split in ("train", "valid")]
        run(PREPROCESS, "--only-source", *prefixes, "--destdir", folder / "bin" / part)
    return folder / "bin"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """Two of three rows have no label."""
    folder = tmp_path_factory.mktemp("sentences")
    return make(folder, lambda split, row, label: MARK if split == "train" and row % 3 else label)


def test_marked_sentences(sentences):
    """They take part, while the others are learned and the accuracy is theirs alone."""
    flags = (*USER, *ROBERTA, *WITH, "--rdrop-upsample-labeled", "2", "--lr", "0.02", "--max-update", "80")
    result = train(sentences, *flags, "--log-interval", "20")
    assert result.valid["valid_accuracy"] > 75 and result.updates[-1]["accuracy"] > 75
    assert result.updates[-1]["unlabeled_kl_loss"] > 0


def test_marked_sentences_left_out(sentences):
    result = train(sentences, *USER, *ROBERTA, "--rdrop-skip-unlabeled", "--max-update", "3")
    assert sorted(update["bsz"] for update in result.updates) == [6, 8, 8]  # an epoch of 22 rows


def test_two_processes(sentences):
    flags = (*USER, *ROBERTA, *WITH, "--batch-size", "4", "--dropout", "0", "--attention-dropout", "0")
    two = two_processes("tcp", train_argv(sentences, *flags))
    one = train(sentences, *flags, "--update-freq", "2")
    for key in ("loss", "accuracy", "gnorm"):
        assert two.column(key) == pytest.approx(one.column(key), abs=0.002)


def task_of(folder, takes_unlabeled):
    config = RDropSentencePredictionConfig(data=str(folder), num_classes=2)
    config.regression_target, config.train_subset, config.seed = False, "train", 1
    task = RDropSentencePredictionTask.setup_task(config)
    task.takes_unlabeled = takes_unlabeled
    return task


@pytest.mark.parametrize(
    "labels, takes, split, told",
    [
        (lambda *_: MARK, True, "train", "every row is <unlabeled>; some must have a label"),
        (lambda split, row, label: label, True, "train", "no row is <unlabeled>, and --rdrop-unlabeled-alpha is for"),
    ],
)
def test_rows_that_do_not_fit_the_weight_are_refused(tmp_path, labels, takes, split, told):
    data = make(tmp_path, labels)
    with pytest.raises(SystemExit, match=f"^error: {data}/label/{split}: {told}"):
        task_of(data, takes).load_dataset(split)


def test_a_mark_where_it_must_not_be_is_refused(sentences):
    with pytest.raises(SystemExit, match=r"label/train: row 2 is <unlabeled>, which needs --rdrop-unlabeled-alpha abo"):
        task_of(sentences, False).load_dataset("train")
    task = task_of(sentences, True)
    task.cfg.train_subset = "another"  # so that this one is for validation
    with pytest.raises(SystemExit, match=r"label/train, row 2: <unlabeled> is for another alone$"):
        task.load_dataset("train")


def test_refused_before_the_training_in_one_line(sentences):
    result = train(sentences, *USER, *ROBERTA, succeeds=False)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.status == 1 and len(lines) == 1 and not result.updates


# Pairs


@pytest.fixture(scope="module")
def pairs(data, tmp_path_factory):
    """Return the corpus, with its validation set as pairs without labels too."""
    folder = shutil.copytree(data, tmp_path_factory.mktemp("pairs") / "bin")
    for file in folder.glob("valid.*"):
        shutil.copyfile(file, folder / file.name.replace("valid", "mono"))
    return folder


def test_pairs_without_labels_on_two_processes(pairs):
    """One has a batch with labels alone while the other has not, and in the end one has none left."""
    flags = (*RDROP, "--dropout", "0.3", "--label-smoothing", "0", "--rdrop-alpha", "0", "--max-update", "7")
    flags += ("--rdrop-unlabeled-subset", "mono", "--rdrop-unlabeled-alpha", "2", "--batch-size", "4", "--seed", "3")
    result = two_processes("tcp", train_argv(pairs, *flags))
    assert [update["bsz"] for update in result.updates] == [8, 8, 8, 8, 8, 4, 8]  # an epoch of 36 and 8
    assert min(result.column("unlabeled_kl_loss")) == 0 < max(result.column("unlabeled_kl_loss"))
    assert min(result.column("nll_loss")) > 1


@pytest.mark.parametrize("upsample, times", [(-1, 1), (2, 2)])  # -1 is fairseq's default
def test_how_often_an_epoch_has_the_pairs_with_labels(pairs, upsample, times):
    config = RDropTranslationConfig(data=str(pairs), source_lang="de", target_lang="en", upsample_primary=upsample)
    config.rdrop_unlabeled_subset, config.train_subset, config.dataset_impl = "mono", "train", "mmap"
    task = RDropTranslationTask.setup_task(config)
    task.takes_unlabeled = True
    task.load_dataset("train")
    assert (task.dataset("train").first, len(task.dataset("train"))) == (36 * times, 36 * times + 8)


def test_pairs_that_are_missing_are_refused(pairs):
    flags = ("--rdrop-unlabeled-subset", "none", *WITH)
    result = train(pairs, *RDROP, *flags, succeeds=False)
    assert result.status == 1 and "error: --rdrop-unlabeled-subset none: Dataset not found: none" in result.stderr
