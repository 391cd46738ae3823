"""What is the label-smoothed criterion's own: smoothing, prefix, accuracy, and the models that need two forwards."""

import argparse
import math

import pytest
import torch
from fairseq import options
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.dataclass.utils import convert_namespace_to_omegaconf, gen_parser_from_dataclass
from fairseq.distributed import ModuleProxyWrapper
from hydra.core.config_store import ConfigStore
from reference import log_softmax, rdrop
from support.helpers import (
    PAD,
    LogitsModel,
    assert_grads_close,
    assert_same_tree,
    bits,
    build_criterion,
    build_model,
    build_task,
    make_sample,
    random_logits,
    reduced,
    train,
)
from torch.nn.parallel import DistributedDataParallel

from rdrop_fairseq.divergence import DIVERGENCES

NAME = "rdrop_label_smoothed_cross_entropy"


@pytest.fixture
def task():
    return build_task()


def batch_for(target):
    target = torch.tensor(target)
    net_input = {"src_tokens": target, "prev_output_tokens": target}
    return {"net_input": net_input, "target": target, "ntokens": target.ne(PAD).sum().item()}


TARGET = [[2, 0, 3], [3, 2, PAD]]


def test_numbers_by_hand(task):
    # One position, V = 4, target 2, p1 = (1/2, 1/4, 1/8, 1/8), p2 = (1/4, 1/2, 1/8, 1/8), eps = 0.3: 0.1 on each of the
    # three others. In units of ln 2, -log p1 = (1, 2, 3, 3): 0.7 * 3 + 0.1 * (1 + 2 + 3) = 2.7; p2 gives 2.7 too.
    # KL(p1 || p2) = 1/2 * 1 - 1/4 * 1 = 1/4 = KL(p2 || p1). Loss: 2.7 + 2.7 + 4 * 1/4 = 6.4.
    probs = torch.tensor([[[1 / 2, 1 / 4, 1 / 8, 1 / 8]], [[1 / 4, 1 / 2, 1 / 8, 1 / 8]]])
    criterion = build_criterion(NAME, task, label_smoothing=0.3, rdrop_alpha=4.0)
    step = train(criterion, LogitsModel(probs.log()), batch_for([[2]]))
    assert bits(step.loss) == pytest.approx(6.4)
    assert bits(step.log["nll_loss"]) == pytest.approx(3)
    assert bits(step.log["kl_loss"]) == pytest.approx(1 / 4)
    shown = reduced(criterion, [step.log])
    assert (shown["loss"], shown["nll_loss"], shown["ppl"]) == pytest.approx((6.4, 3, 8))
    assert (shown["kl_loss"], shown["rdrop_alpha"]) == pytest.approx((0.25, 4))


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("passes", [2, 4])
def test_value_and_gradient_by_the_logits(task, epsilon, kind, passes):
    logits = random_logits(passes, 2, 3, 5)
    sample = batch_for(TARGET)
    settings = {"label_smoothing": epsilon, "rdrop_divergence": kind, "rdrop_passes": passes, "rdrop_alpha": 0.7}
    step = train(build_criterion(NAME, task, **settings), LogitsModel(logits.flatten(0, 1)), sample)
    leaf = logits.clone().requires_grad_()
    expected = rdrop(leaf, sample["target"], 0.7, epsilon, kind)
    expected.loss.backward()
    torch.testing.assert_close(step.loss, expected.loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.log["nll_loss"], expected.nll_loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.log["kl_loss"], expected.kl_loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.grads["logits"].view_as(leaf), leaf.grad, rtol=1e-10, atol=1e-14)
    assert not leaf.grad[:, 1, 2].any()  # the padding


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_gradcheck(task, kind):
    criterion = build_criterion(NAME, task, label_smoothing=0.1, rdrop_divergence=kind)

    def loss(logits):
        model = LogitsModel(logits).train()
        model._parameters["logits"] = logits  # the tensor of gradcheck's graph in the parameter's place
        return criterion(model, batch_for(TARGET))[0]

    assert torch.autograd.gradcheck(loss, random_logits(4, 3, 5).requires_grad_())


def test_smoothing_is_spread_over_the_other_words(task):
    """Over V - 1 as in fairseq, not over V as in the official code."""
    logits = random_logits(4, 3, 5)
    sample = batch_for(TARGET)
    criterion = build_criterion(NAME, task, label_smoothing=0.1, rdrop_alpha=1e-30)
    step = train(criterion, LogitsModel(logits), sample)
    expected = 0.0
    for one_pass in logits.chunk(2):
        for lprobs, word in zip(one_pass.flatten(0, 1), sample["target"].flatten(), strict=True):
            if word != PAD:
                lprobs = log_softmax(lprobs)
                smoothed = torch.full((5,), 0.1 / 4, dtype=torch.float64)
                smoothed[word] = 0.9
                expected -= (smoothed * lprobs).sum().item()
    assert step.loss.item() == pytest.approx(expected, rel=1e-12)


# The parent's options


@pytest.mark.parametrize("prefix", [1, 2, 3])
def test_ignore_prefix_size(task, prefix):
    logits, sample = random_logits(4, 3, 5), batch_for(TARGET)
    settings = {"label_smoothing": 0.1, "ignore_prefix_size": prefix, "report_accuracy": True}
    step = train(build_criterion(NAME, task, **settings), LogitsModel(logits), sample)
    expected = rdrop(torch.stack(logits.chunk(2))[:, :, prefix:], sample["target"][:, prefix:], 5.0, 0.1)
    torch.testing.assert_close(step.loss, expected.loss)
    torch.testing.assert_close(step.log["kl_loss"], expected.kl_loss)
    assert not step.grads["logits"][:, :prefix].any()
    assert sample["target"].shape == (2, 3)


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_what_the_model_gives_at_the_ignored_prefix_reaches_nothing(task, bad):
    logits, sample = random_logits(4, 3, 5), batch_for(TARGET)
    criterion = build_criterion(NAME, task, label_smoothing=0.1, ignore_prefix_size=1, report_accuracy=True)
    expected = train(criterion, LogitsModel(logits), sample)
    logits[0, 0, 1] = bad
    step = train(criterion, LogitsModel(logits), sample)
    assert_same_tree([step.loss, step.log, step.grads], [expected.loss, expected.log, expected.grads])


def test_report_accuracy_is_the_mean_over_the_passes(task):
    # The first pass has all 5 words right, the second 2 of them: 3.5 of 5.
    sample = batch_for(TARGET)
    right = torch.nn.functional.one_hot(sample["target"], 5).float()
    wrong = right.roll(1, dims=-1)
    second = right.clone()
    second[0] = wrong[0]
    criterion = build_criterion(NAME, task, report_accuracy=True)
    step = train(criterion, LogitsModel(torch.cat([right, second])), sample)
    assert (step.log["n_correct"], step.log["total"]) == (3.5, 5)
    assert reduced(criterion, [step.log, step.log])["accuracy"] == 70


def test_accuracy_is_left_out_unless_asked_for(task):
    step = train(build_criterion(NAME, task), LogitsModel(random_logits(4, 3, 5)), batch_for(TARGET))
    assert not {"n_correct", "total"} & step.log.keys()


def test_every_update_logs_the_same_keys_with_accuracy(task):
    """Processes that log other keys than the rest would hang or abort the whole training."""
    model, sample = build_model(task), make_sample(task)
    criterion = build_criterion(NAME, task, report_accuracy=True, rdrop_every=2)
    logs = []
    for criterion.num_updates in (0, 1):
        logs.append(train(criterion, model, sample).log)
    assert logs[0].keys() == logs[1].keys()
    assert logs[0]["total"] == logs[1]["total"] == sample["ntokens"]


# Models that need one forward a pass


@pytest.mark.parametrize(
    "arch, settings",
    [
        ("lstm", {}),
        ("lstm", {"encoder_layers": 2, "decoder_layers": 2, "encoder_bidirectional": True}),
        ("transformer", {"encoder_layerdrop": 0.5}),
        ("transformer", {"decoder_layerdrop": 0.5}),
        ("transformer", {"encoder_layerdrop": 0.5, "decoder_layerdrop": 0.5, "dropout": 0.0}),
    ],
    ids=str,
)
def test_separate_forwards_equal_those_made_by_hand(task, float64, arch, settings):
    model, sample = build_model(task, arch, **settings).double(), make_sample(task)
    step = train(build_criterion(NAME, task, label_smoothing=0.1), model, sample, seed=2)
    model.zero_grad()
    torch.manual_seed(2)
    logits = torch.stack([model(**sample["net_input"])[0] for _ in range(2)])
    expected = rdrop(logits, sample["target"], 5.0, 0.1)
    expected.loss.backward()
    torch.testing.assert_close(step.loss, expected.loss.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(step.log["kl_loss"], expected.kl_loss.detach(), rtol=1e-10, atol=0)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert_grads_close(step.grads, grads)
    assert step.log["kl_loss"] > 1e-3  # the copies differ


def test_dropouts_with_layerdrop_and_lstm(task):
    sample = make_sample(task)
    for arch, settings in (("lstm", {}), ("transformer", {"encoder_layerdrop": 0.5})):
        model = build_model(task, arch, **settings)
        step = train(build_criterion(NAME, task, rdrop_dropouts="0.0,0.5"), model, sample)
        assert step.loss.isfinite() and step.log["kl_loss"] > 1e-3


@pytest.fixture
def one_process():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("find", [True, False])
def test_layerdrop_under_torchs_ddp_is_refused(task, one_process, side, find):
    """With find_unused_parameters each forward marks what it left out as ready, which the other one used."""
    sample, criterion = make_sample(task), build_criterion(NAME, task)
    model = build_model(task, **{f"{side}_layerdrop": 0.5})
    with pytest.raises(SystemExit) as stopped:
        train(criterion, ModuleProxyWrapper(DistributedDataParallel(model, find_unused_parameters=find)), sample)
    line = stopped.value.code
    assert "\n" not in line and "--ddp-backend pytorch_ddp" in line and "must be legacy_ddp" in line
    assert "LayerDrop" in line and "--find-unused-parameters" in line


@pytest.mark.parametrize(
    "arch, settings, own",
    [
        ("lstm", {}, {}),
        ("transformer", {"quant_noise_pq": 0.5, "quant_noise_pq_block_size": 2}, {}),
        ("transformer", {}, {"rdrop_dropouts": "0.1,0.4"}),
        ("transformer", {"encoder_layerdrop": 0.5}, {"rdrop_alpha": 0.0}),
    ],
    ids=str,
)
def test_other_models_under_torchs_ddp_are_not(task, one_process, arch, settings, own):
    model = DistributedDataParallel(build_model(task, arch, **settings), find_unused_parameters=True)
    criterion = build_criterion(NAME, task, **own)
    for seed in range(3):
        assert train(criterion, ModuleProxyWrapper(model), make_sample(task, seed=seed), seed).loss.isfinite()


def test_dropouts_of_a_model_without_dropout_are_refused(task):
    model, sample = build_model(task, dropout=0.0), make_sample(task)
    with pytest.raises(SystemExit, match=r"^error: --rdrop-dropouts needs a model with dropout"):
        train(build_criterion(NAME, task, rdrop_dropouts="0.1,0.4"), model, sample)


# Flags, through fairseq's own parser


def parsed(*flags, name=NAME):
    parser = options.get_training_parser()
    arguments = ["data", "--arch", "transformer", "--task", "rdrop_translation", "--criterion", name, *flags]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, arguments))


def test_flags_and_their_defaults(task):
    criterion = task.build_criterion(parsed().criterion)
    assert (criterion.alpha_at(0), criterion.alpha_at(10**6), criterion.passes) == (5, 5, 2)
    assert (criterion.divergence, criterion.dropouts, criterion.eps) == ("symmetric", None, 0)


@pytest.mark.parametrize(
    "name, alpha", [(NAME, 5.0), ("rdrop_cross_entropy", 1.0), ("rdrop_adaptive_loss", 0.5)], ids=str
)
def test_the_default_weight_is_the_papers_for_each_criterion(task, name, alpha):
    criterion = task.build_criterion(parsed("--ddp-backend", "legacy_ddp", name=name).criterion)
    assert criterion.alpha_at(0) == alpha
    assert ConfigStore.instance().load(f"criterion/{name}.yaml").node.rdrop_alpha == alpha
    parser = argparse.ArgumentParser(formatter_class=argparse.RawTextHelpFormatter)
    gen_parser_from_dataclass(parser, CRITERION_DATACLASS_REGISTRY[name]())
    shown = parser.format_help()
    assert f"weight of the divergence between the passes, {alpha:g} in the paper for" in shown
    assert "--regression-target" not in shown and "--classification-head-name" not in shown


def test_every_flag_reaches_the_criterion(task):
    flags = "--rdrop-alpha 0.7 --rdrop-passes 3 --rdrop-divergence js --rdrop-dropouts 0.1,0.2,0.3 --rdrop-every 2"
    parents = "--label-smoothing 0.1 --ignore-prefix-size 1 --report-accuracy --sentence-avg"
    config = parsed(*flags.split(), "--rdrop-warmup-updates", "10", *parents.split())
    criterion = task.build_criterion(config.criterion)
    assert [criterion.alpha_at(n) for n in (0, 1, 5, 10, 11)] == pytest.approx([0, 0.07, 0.35, 0, 0.7])
    assert (criterion.passes, criterion.divergence, criterion.dropouts) == (3, "js", [0.1, 0.2, 0.3])
    assert (criterion.eps, criterion.ignore_prefix_size) == (0.1, 1)
    assert criterion.report_accuracy and criterion.sentence_avg


def test_alpha_must_be_a_number(capsys):
    with pytest.raises(SystemExit):
        parsed("--rdrop-alpha", "five")
    assert "--rdrop-alpha" in capsys.readouterr().err
    assert math.isnan(parsed("--rdrop-alpha", "nan").criterion.rdrop_alpha)  # parsed; build_criterion refuses it
