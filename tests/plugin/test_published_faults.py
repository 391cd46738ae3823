"""One test for each fault of the published code that concerns translation: none is repeated here.

Official code: github dropreg/R-Drop at 9dcc830. fairseq: main at 3d262bb2, criterion
label_smoothed_cross_entropy_with_rdrop.
"""

import argparse
import copy
import io

import pytest
import torch
from fairseq import options
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.fairseq_task import FairseqTask
from hydra.core.config_store import ConfigStore
from reference import rdrop
from support.helpers import (
    LogitsModel,
    assert_same_tree,
    bits,
    build_criterion,
    build_model,
    build_task,
    kept_for_backward,
    make_sample,
    reduced,
    train,
)

NAME = "rdrop_label_smoothed_cross_entropy"
PARENT = "label_smoothed_cross_entropy"


@pytest.fixture
def task():
    return build_task()


@pytest.fixture
def model(task):
    return build_model(task)


@pytest.fixture
def sample(task):
    return make_sample(task)


def validate(task, criterion, model, sample):
    return task.valid_step(sample, model, criterion)


# The official code


def test_alpha_is_a_float(task):
    """Official translation code: ``--reg-alpha`` is an int, so that 0.7 is rejected."""
    arguments = ["data", "--arch", "transformer", "--task", "rdrop_translation", "--criterion", NAME]
    args = options.parse_args_and_arch(options.get_training_parser(), [*arguments, "--rdrop-alpha", "0.7"])
    criterion = task.build_criterion(convert_namespace_to_omegaconf(args).criterion)
    assert criterion.alpha_at(0) == 0.7


def test_training_loss_is_not_reported_of_two_passes(task, model, sample):
    """Official code: nll_loss and ppl of training are those of two copies over the tokens of one (43.4 beside 21.4)."""
    model = build_model(task, dropout=0.0)
    criterion, parent = build_criterion(NAME, task), build_criterion(PARENT, task)
    trained = reduced(criterion, [train(criterion, model, sample).log])
    validated = reduced(parent, [validate(task, parent, model, sample)[2]])
    assert trained["nll_loss"] == pytest.approx(validated["nll_loss"], abs=2e-3)
    assert trained["ppl"] == pytest.approx(validated["ppl"], rel=1e-3)


def test_the_divergence_is_logged(task, model, sample):
    """Official code: the KL is never logged."""
    criterion = build_criterion(NAME, task, rdrop_alpha=3.0)
    step = train(criterion, model, sample)
    plain = train(build_criterion(NAME, task, rdrop_alpha=1e-30), model, sample)
    shown = reduced(criterion, [step.log])
    assert shown["kl_loss"] == pytest.approx(bits(step.loss - plain.loss) / 3 / sample["ntokens"], abs=1e-3)
    assert shown["kl_loss"] > 0.01


def test_memory_kept_for_backward_is_that_of_the_parent(task):
    """Official code: log-softmax twice and softmax once keep three fp32 [2N, V] tensors where the parent keeps one."""
    copies, length, vocab = 2 * 4, 6, 100
    logits = torch.randn(copies, length, vocab)
    target = torch.randint(4, vocab, (4, length))
    sample = {"net_input": {"src_tokens": target}, "target": target, "ntokens": target.numel()}
    doubled = {**sample, "net_input": {"src_tokens": torch.cat([target] * 2)}, "target": torch.cat([target] * 2)}

    def kept(name, batch):
        model = LogitsModel(logits).train()
        criterion = build_criterion(name, task, label_smoothing=0.1)
        return kept_for_backward(lambda: criterion(model, batch)[0], logits.numel())

    assert kept(PARENT, doubled) == 1
    assert kept(NAME, sample) == 1


def test_the_criterion_leaves_backward_to_the_task(task, model, sample):
    """Official code: the criterion calls ``optimizer.backward``, so gradients scaled by AMP or ignored are wrong."""

    class Scaler:
        calls = 0

        def backward(self, loss):
            self.calls += 1
            (loss * 128).backward()

    expected = train(build_criterion(NAME, task), model, sample).grads
    model.zero_grad()
    optimizer = Scaler()
    torch.manual_seed(1)
    task.train_step(sample, model, build_criterion(NAME, task), optimizer, 0)
    assert optimizer.calls == 1
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, 128 * expected[name])


def test_sentence_avg_is_respected(task, model, sample):
    """Official code: ``sentence_avg`` is ignored."""
    assert train(build_criterion(NAME, task, sentence_avg=True), model, sample).sample_size == 3
    assert train(build_criterion(NAME, task, sentence_avg=False), model, sample).sample_size == sample["ntokens"]


def test_hydra_knows_the_flags():
    """Official code: no dataclass, so no hydra config."""
    fields = CRITERION_DATACLASS_REGISTRY[NAME].__dataclass_fields__
    node = ConfigStore.instance().load(f"criterion/{NAME}.yaml").node
    assert node._name == NAME
    for flag in ("alpha", "divergence", "passes", "every", "warmup_updates", "dropouts"):
        assert f"rdrop_{flag}" in fields and f"rdrop_{flag}" in node


def test_autocast_is_that_of_the_parents_train_step(task, model, sample, monkeypatch):
    """Official code: a train_step of its own without autocast (and without ``set_num_updates``)."""
    seen = []

    def parents(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        seen.append((update_num, ignore_grad, criterion.num_updates))
        return "result"

    monkeypatch.setattr(FairseqTask, "train_step", parents)
    assert task.train_step(sample, model, build_criterion(NAME, task), None, 7, ignore_grad=True) == "result"
    assert seen == [(7, True, 7)]


def test_alpha_does_not_depend_on_the_batch_size(task):
    """Official GLUE and ViT code: a KL summed over the batch beside a CE averaged over it."""
    logits = torch.randn(2, 3, 4, 8)  # passes, sentences, words, vocabulary
    target = torch.randint(4, 8, (3, 4))
    criterion = build_criterion(NAME, task)

    def shown(times):
        words = target.repeat(times, 1)
        batch = {"net_input": {"src_tokens": words}, "target": words, "ntokens": words.numel()}
        step = train(criterion, LogitsModel(logits.repeat(1, times, 1, 1).flatten(0, 1)), batch)
        return torch.stack([step.loss, step.log["nll_loss"], step.log["kl_loss"]]) / step.sample_size

    torch.testing.assert_close(shown(5), shown(1))


def test_layerdrop_skips_other_layers_in_each_pass(task, sample):
    """Official code: with the concatenated batch LayerDrop draws once, and the copies skip the same layers (KL 0)."""
    model = build_model(task, dropout=0.0, encoder_layerdrop=0.5, decoder_layerdrop=0.5)
    assert train(build_criterion(NAME, task), model, sample, seed=2).log["kl_loss"] > 0.01


# fairseq's label_smoothed_cross_entropy_with_rdrop


@pytest.mark.parametrize("training", [True, False])
def test_the_callers_sample_is_unchanged(task, model, sample, training):
    """fairseq doubles the caller's tensors in place, in validation too: batch of 16, then 32, and issue 5410."""
    before = copy.deepcopy(sample)
    criterion = build_criterion(NAME, task)
    if training:
        train(criterion, model, sample)
    else:
        validate(task, criterion, model, sample)
    assert_same_tree(sample, before)


def test_eval_bleu_works():
    """fairseq issue 5410: ``--eval-bleu`` dies with an IndexError, as the sample was doubled before."""
    task = build_task(eval_bleu=True)
    model, sample = build_model(task), make_sample(task)
    task.tokenizer = None
    task.sequence_generator = task.build_generator([model], argparse.Namespace(beam=1, max_len_b=4))
    criterion = build_criterion(NAME, task)
    _, _, log = validate(task, criterion, model, sample)
    assert log["nsentences"] == 3
    assert log["_bleu_ref_len"] == sample["ntokens"] - 3  # all three references, without their ends of sentence


def test_ignore_prefix_size_trims_the_divergence_too(task):
    """fairseq trims the NLL but not the KL, and crashes."""
    logits, target = torch.randn(4, 5, 8), torch.randint(4, 8, (2, 5))
    batch = {"net_input": {"src_tokens": target}, "target": target, "ntokens": 10}
    step = train(build_criterion(NAME, task, ignore_prefix_size=2), LogitsModel(logits), batch)
    expected = rdrop(torch.stack(logits.chunk(2))[:, :, 2:], target[:, 2:], 5.0)
    torch.testing.assert_close(step.loss.double(), expected.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(step.log["kl_loss"].double(), expected.kl_loss, rtol=1e-5, atol=1e-5)


def test_valid_perplexity_is_not_squared(task, model, sample):
    """fairseq sums two copies in validation over the tokens of one: 206,782 where the truth is 454.7."""
    criterion, parent = build_criterion(NAME, task), build_criterion(PARENT, task)
    ppl, truth = (reduced(c, [validate(task, c, model, sample)[2]])["ppl"] for c in (criterion, parent))
    assert ppl == truth > 2


def test_smoothing_is_the_parents(task, model, sample):
    """fairseq's R-Drop and the official code smooth differently (V - 1, V); here it is the parent's code that runs."""
    model = build_model(task, dropout=0.0)
    step = train(build_criterion(NAME, task, label_smoothing=0.2), model, sample)
    parent = train(build_criterion(PARENT, task, label_smoothing=0.2), model, sample)
    torch.testing.assert_close(step.loss, 2 * parent.loss)
    known = issubclass(type(build_criterion(NAME, task)), LabelSmoothedCrossEntropyCriterion)
    assert known


# fairseq on current PyTorch


def test_checkpoints_load_with_weights_only():
    """fairseq-fixed 0.12.3.1 with torch >= 2.6: ``Unsupported global: argparse.Namespace`` in generate and resume."""
    file = io.BytesIO()
    torch.save({"args": argparse.Namespace(arch="transformer")}, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["args"].arch == "transformer"
