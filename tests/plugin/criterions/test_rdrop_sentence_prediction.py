"""R-Drop over sentences: losses computed by hand, and what is refused. Its flow: test_rdrop_criterion.py."""

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.models import BaseFairseqModel
from fairseq.tasks.fairseq_task import FairseqTask
from support.helpers import build_criterion, build_task, dictionary, reduced, train
from torch import nn

from rdrop_fairseq.compat.task_and_criterion import IGNORED, OffersUnlabeled
from rdrop_fairseq.tasks.rdrop_sentence_prediction import RDropSentencePredictionConfig
from rdrop_fairseq.tasks.rdrop_task import RDropTask

NAME, HEAD = "rdrop_sentence_prediction", "sentence_classification_head"
LN = math.log


class Given(BaseFairseqModel):
    """Returns the given outputs ``[M * B, C]`` of all passes, as a parameter; has a dropout of rate 0.1."""

    def __init__(self, *outputs):
        super().__init__()
        self.classification_heads = {HEAD: None}
        self.outputs = nn.Parameter(torch.tensor(outputs))
        self.dropout = nn.Dropout(0.1)

    def forward(self, src_tokens, features_only, classification_head_name):
        return self.outputs, None

    def get_targets(self, sample, net_output):
        return sample["target"]


class Task(RDropTask, OffersUnlabeled, FairseqTask):
    """Has the labels of a dictionary."""

    target_dictionary = None

    def __init__(self, labels):
        super().__init__(RDropSentencePredictionConfig(num_classes=len(labels)))
        self.label_dictionary = dictionary(labels)
        self.label_dictionary.add_symbol("<mask>")


def build(labels="01", **settings):
    return build_criterion(NAME, Task(labels), classification_head_name=HEAD, **settings)


def batch(*targets):
    return {"net_input": {"src_tokens": torch.zeros(len(targets), 3)}, "target": torch.tensor(targets), "ntokens": 7}


def test_classes_by_hand():
    """p = (1/2, 1/2) and q = (3/4, 1/4), and the target is the first class."""
    model = Given([0.0, 0.0], [LN(3), 0.0])
    criterion = build(rdrop_alpha=2.0)
    step = train(criterion, model, batch(0))
    kl = (0.5 * LN(4 / 3) + 0.75 * LN(3 / 2) - 0.25 * LN(2)) / 2
    assert step.loss.item() == pytest.approx(LN(2) + LN(4 / 3) + 2 * kl)
    assert step.log["kl_loss"].item() == pytest.approx(kl)
    # d/dx of the cross-entropies, p - target, and of alpha KL: (p_v (l_v - KL(p||q)) + p_v - q_v) / 2 times alpha
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25])
    of_p = p * ((p / q).log() - (p * (p / q).log()).sum()) + p - q
    of_q = q * ((q / p).log() - (q * (q / p).log()).sum()) + q - p
    expected = torch.stack([p - torch.tensor([1.0, 0.0]) + of_p, q - torch.tensor([1.0, 0.0]) + of_q])
    torch.testing.assert_close(step.grads["outputs"], expected)
    log = reduced(criterion, [step.log])
    assert log["accuracy"] == 100.0 and step.log["nsentences"] == step.sample_size == 1


def test_regression_by_hand():
    """Equations 7 and 8: the passes say 1 and 3, and the target is 2.5."""
    step = train(build(rdrop_alpha=0.5, regression_target=True), Given([1.0], [3.0]), batch([2.5]))
    assert step.loss.item() == 1.5**2 + 0.5**2 + 0.5 * 2**2
    assert step.log["kl_loss"].item() == 4
    assert step.grads["outputs"].tolist() == [[2 * (1 - 2.5) + 0.5 * 2 * (1 - 3)], [2 * (3 - 2.5) + 0.5 * 2 * (3 - 1)]]


def test_regression_has_the_error_of_the_second_pass_too():
    """Official GLUE code: in regression the second squared error is missing, and ``kl_loss`` is not defined."""
    step = train(build(rdrop_alpha=1e-12, regression_target=True), Given([1.0], [3.0]), batch([2.5]))
    assert step.loss.item() == 1.5**2 + 0.5**2 and step.log["kl_loss"].item() == 4
    assert step.grads["outputs"].tolist() == [[pytest.approx(-3)], [pytest.approx(1)]]


def test_several_numbers_a_sentence_and_three_passes():
    """The mean over the pairs of passes, and the sum over sentences and numbers."""
    outputs = torch.tensor([[[0.0, 1.0], [2.0, 2.0]], [[1.0, 1.0], [2.0, 4.0]], [[3.0, 1.0], [2.0, 0.0]]])  # [M, B, 2]
    model = Given(*outputs.flatten(0, 1).tolist())
    criterion = build(rdrop_alpha=1.0, rdrop_passes=3, regression_target=True)
    step = train(criterion, model, batch([0.0, 1.0], [2.0, 2.0]))
    differences = ((1 + 9 + 4) + (4 + 4 + 16)) / 3
    assert step.log["kl_loss"].item() == pytest.approx(differences)
    assert step.loss.item() == pytest.approx((0 + 1 + 9) + (0 + 4 + 4) + differences)
    assert step.sample_size == 4  # as in the parent, that of the numbers


KL = (0.5 * LN(4 / 3) + 0.75 * LN(3 / 2) - 0.25 * LN(2)) / 2  # of (1/2, 1/2) and (3/4, 1/4)


def two_sentences():
    """Each gets the logits of (1/2, 1/2) in the first pass, and of (3/4, 1/4) in the second."""
    return Given([0.0, 0.0], [0.0, 0.0], [LN(3), 0.0], [LN(3), 0.0])


def test_a_sentence_without_a_label_gives_its_divergence_alone():
    criterion = build(rdrop_alpha=2.0, rdrop_unlabeled_alpha=3.0)
    step = train(criterion, two_sentences(), batch(0, IGNORED))
    assert step.loss.item() == pytest.approx(LN(2) + LN(4 / 3) + 2 * KL + 3 * KL)
    assert step.log["kl_loss"].item() == pytest.approx(2 * KL) and step.log["kl_count"] == 2
    assert step.log["unlabeled_kl_loss"].item() == pytest.approx(KL)
    assert step.sample_size == 2 and step.log["labeled"] == 1
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25])  # the gradient: see test_classes_by_hand
    of_p = (p * ((p / q).log() - (p * (p / q).log()).sum()) + p - q) / 2
    of_q = (q * ((q / p).log() - (q * (q / p).log()).sum()) + q - p) / 2
    first = torch.tensor([1.0, 0.0])
    torch.testing.assert_close(
        step.grads["outputs"], torch.stack([p - first + 2 * of_p, 3 * of_p, q - first + 2 * of_q, 3 * of_q])
    )
    shown = reduced(criterion, [step.log])
    assert shown["accuracy"] == 100.0 and shown["unlabeled_kl_loss"] == pytest.approx(KL / LN(2), abs=1e-4)


def test_batches_without_labels_add_up_to_one_with_labels():
    """As those of several processes do, whose sums of the gradient and of the sample size are divided."""
    criterion = build(rdrop_alpha=2.0, rdrop_unlabeled_alpha=3.0)
    whole = train(criterion, two_sentences(), batch(0, IGNORED))
    parts = [train(criterion, Given([0.0, 0.0], [LN(3), 0.0]), batch(target)) for target in (0, IGNORED)]
    assert parts[1].loss.item() == pytest.approx(3 * KL)
    assert sum(part.loss for part in parts).item() == pytest.approx(whole.loss.item())
    assert sum(part.sample_size for part in parts) == whole.sample_size
    both = torch.stack([part.grads["outputs"] for part in parts], 1).flatten(0, 1)
    torch.testing.assert_close(both, whole.grads["outputs"])
    logs = [part.log | {"ntokens": 3.5} for part in parts]
    shown = reduced(criterion, logs)
    assert shown == reduced(criterion, [whole.log]) and shown["accuracy"] == 100.0
    assert reduced(criterion, logs[1:])["unlabeled_kl_loss"] == pytest.approx(KL / LN(2), abs=1e-4)


def test_an_update_without_rdrop_leaves_sentences_without_a_label_out():
    criterion = build(rdrop_alpha=2.0, rdrop_unlabeled_alpha=3.0, rdrop_every=2)
    step = train(criterion, Given([0.0, 0.0], [LN(3), 0.0]), batch(0, IGNORED))
    assert step.loss.item() == pytest.approx(LN(2)) and step.sample_size == 2
    assert step.grads["outputs"].tolist() == [[-0.5, 0.5], [0, 0]]
    assert reduced(criterion, [step.log])["accuracy"] == 100.0
    criterion.num_updates = 1
    later = train(criterion, two_sentences(), batch(0, IGNORED))
    assert later.log["unlabeled_kl_loss"] > 0 and later.log.keys() == step.log.keys()  # which are summed


def test_the_weight_without_labels_may_be_the_only_one():
    step = train(build(rdrop_alpha=0.0, rdrop_unlabeled_alpha=3.0), two_sentences(), batch(0, IGNORED))
    assert step.loss.item() == pytest.approx(LN(2) + LN(4 / 3) + 3 * KL)


@pytest.mark.parametrize(
    "flags, told",
    [
        ({"rdrop_unlabeled_alpha": -1.0}, "-1.0: must be a finite number >= 0$"),
        ({"rdrop_unlabeled_alpha": 1.0, "regression_target": True}, "1.0: must be 0 with --regression-target"),
    ],
)
def test_a_weight_without_labels_that_is_none_is_refused(flags, told):
    with pytest.raises(SystemExit, match=f"^error: --rdrop-unlabeled-alpha {told}"):
        build(**flags)


@pytest.mark.parametrize("is_regression", [False, True])
def test_without_reduce_there_is_a_value_for_each_sentence(is_regression):
    outputs = [[0.0], [1.0], [2.0], [3.0]] if is_regression else [[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.5, 0.0]]
    criterion, model = build(regression_target=is_regression), Given(*outputs)
    sample = batch([1.0], [2.0]) if is_regression else batch(0, 1)
    model.train()
    loss, *_ = criterion(model, sample, reduce=False)
    assert loss.shape == (2,)
    torch.testing.assert_close(loss.sum(), criterion(model, sample)[0])


def test_a_task_without_labels_of_sentences_is_refused():
    with pytest.raises(SystemExit, match=f"^error: --criterion {NAME} is for --task rdrop_sentence_prediction or "):
        build_criterion(NAME, build_task())


def test_a_model_without_the_head_is_refused():
    model = Given([0.0, 0.0], [1.0, 0.0])
    model.classification_heads = {"other": None}
    with pytest.raises(SystemExit, match=f"^error: the model has no classification head {HEAD}; it must be one with "):
        train(build(), model, batch(0))


@pytest.mark.parametrize(
    "labels, flags, told",
    [
        (
            "01",
            {"report_mcc": True, "regression_target": True},
            "--report-mcc True: must be left out with --",
        ),
        (
            "01",
            {"report_acc_and_f1": True, "regression_target": True},
            "--report-acc-and-f1 True: must be left out w",
        ),
        ("yn", {"report_mcc": True}, "--report-mcc True: must be left out unless the labels are integers; .* are y n$"),
        (
            "yn",
            {"report_pearson_and_spearman": True},
            "--report-pearson-and-spearman True: must be left out unless ",
        ),
        (
            "012",
            {"report_acc_and_f1": True},
            "--report-acc-and-f1 True: must be .* unless the labels are 0 and 1;",
        ),
    ],
)
def test_a_score_that_the_labels_do_not_have_is_refused(labels, flags, told):
    """fairseq's criterion fails at the first validation."""
    with pytest.raises(SystemExit, match=f"^error: {told}"):
        build(labels, **flags)


def test_a_loss_for_pruning_is_refused():
    model = Given([0.0, 0.0], [1.0, 0.0])
    model.args = SimpleNamespace(mha_reg_scale_factor=0.1)
    with pytest.raises(SystemExit, match=r"^error: --mha-reg-scale-factor: must be 0 with --criterion"):
        train(build(), model, batch(0))


def test_the_predictions_of_several_gpus_are_joined_and_not_summed(monkeypatch):
    """fairseq sums the logs where a criterion allows it, and a sum of lists of predictions fails."""
    criterion = build(report_mcc=True)
    for has_gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert criterion.logging_outputs_can_be_summed() is not has_gpu
    log = {"loss": 1.0, "ntokens": 3, "nsentences": 2, "sample_size": 2, "report_mcc": True}
    shown = reduced(criterion, [{**log, "pred": [0, 1], "targ": [0, 1]}, {**log, "pred": [1, 1], "targ": [0, 1]}])
    assert shown["mcc"] == pytest.approx(100 / math.sqrt(3), abs=0.05)  # 1 and 3 of them right, of 2 and 2
