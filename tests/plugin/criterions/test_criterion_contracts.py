"""The contracts of every R-Drop criterion; a new criterion joins with one line in helpers.CASES."""

import copy
import logging
import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics
from fairseq.tasks import TASK_REGISTRY
from support.helpers import (
    CASES,
    PAD,
    RDROP_KEYS,
    assert_grads_close,
    assert_same_tree,
    bits,
    build_criterion,
    build_model,
    build_task,
    copies,
    make_sample,
    reduced,
    train,
)

from rdrop_fairseq.criterions import rdrop_criterion, rdrop_token_criterion
from rdrop_fairseq.divergence import DIVERGENCES

SHAPES = {"three": ((5, 4), (4, 6), (2, 3)), "one": ((4, 3),), "five": ((6, 2), (5, 7), (5, 1), (3, 3), (1, 4))}


@pytest.fixture(
    params=[(case, loss) for case in CASES for loss in case.losses],
    ids=lambda param: f"{param[0].name}-{param[1]}",
)
def setup(request):
    """The case with its task, a batch, and makers of its models and criterions, with each way to compute the loss."""
    case, loss = request.param
    task = build_task(case.task)

    def model(**settings):
        return build_model(task, case.arch, **(case.model | settings))

    def criterion(**settings):
        return build_criterion(
            case.name, task, **(case.settings | case.own | {"rdrop_loss": loss, "rdrop_alpha": 5.0} | settings)
        )

    def parent(**settings):
        return build_criterion(case.parent, task, **(case.settings | settings))

    def sample(shape="three"):
        return make_sample(task, SHAPES[shape])

    def reference(*args, **kwargs):
        return case.reference(*args, **kwargs, **case.settings, **case.own)

    return SimpleNamespace(
        case=case, task=task, model=model, criterion=criterion, parent=parent, sample=sample, reference=reference
    )


@pytest.fixture
def float64(monkeypatch):
    """fairseq's log_softmax casts to float32: for comparisons in float64 it must not."""
    monkeypatch.setattr("fairseq.utils.log_softmax", lambda x, dim, onnx_trace=False: x.double().log_softmax(dim))


def evaluate(criterion, model, sample):
    model.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        return criterion(model, sample)


# Equal to the parent


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rdrop_passes": 3, "rdrop_divergence": "js"},
        {"rdrop_dropouts": "0.1,0.4"},
        {"rdrop_every": 2, "rdrop_warmup_updates": 5},
        {"sentence_avg": True},
    ],
)
def test_evaluation_equals_the_parent_exactly(setup, settings):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(**settings)
    parent = setup.parent(**{key: value for key, value in settings.items() if not key.startswith("rdrop")})
    actual, expected = (evaluate(c, model, sample) for c in (criterion, parent))
    assert_same_tree(actual, expected)
    assert_same_tree(dict(reduced(criterion, [actual[2]] * 2)), dict(reduced(parent, [expected[2]] * 2)))


@pytest.mark.parametrize(
    "settings, num_updates",
    [
        ({"rdrop_alpha": 0.0}, 0),
        ({"rdrop_alpha": 0.0, "rdrop_passes": 3, "rdrop_dropouts": "0.1,0.2,0.3"}, 7),
        ({"rdrop_every": 3}, 0),
        ({"rdrop_every": 3}, 4),
        ({"rdrop_warmup_updates": 10}, 0),
    ],
)
def test_alpha_zero_equals_the_parent_exactly_in_training(setup, settings, num_updates):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(**settings)
    criterion.num_updates = num_updates
    actual, expected = train(criterion, model, sample), train(setup.parent(), model, sample)
    assert torch.equal(actual.loss, expected.loss)
    assert actual.sample_size == expected.sample_size
    assert_same_tree(actual.grads, expected.grads)
    assert torch.equal(actual.rng_state, expected.rng_state)  # as much dropout was drawn, no more
    assert actual.log.keys() == expected.log.keys() | RDROP_KEYS | {"nll_loss"}
    assert torch.equal(actual.log["nll_loss"], expected.log.get("nll_loss", expected.log["loss"]))
    assert_same_tree({key: actual.log[key] for key in expected.log}, expected.log)
    assert not any(actual.log[key] for key in RDROP_KEYS)


@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("kind", DIVERGENCES)
def test_without_dropout_the_divergence_is_zero(setup, float64, passes, kind):
    model, sample = setup.model(dropout=0.0).double(), setup.sample()
    actual = train(setup.criterion(rdrop_passes=passes, rdrop_divergence=kind), model, sample)
    expected = train(setup.parent(), model, sample)
    assert abs(actual.log["kl_loss"]) < 1e-12
    torch.testing.assert_close(actual.loss, passes * expected.loss.squeeze())
    assert_grads_close(actual.grads, {name: passes * grad for name, grad in expected.grads.items()})


# The loss, its gradient, and what is logged


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "kind, passes, alpha",
    [("symmetric", 2, 5.0), ("symmetric", 3, 0.7), ("forward", 2, 1.0), ("reverse", 3, 1.0), ("js", 2, 100.0)],
)
def test_loss_gradient_and_log_equal_the_reference(setup, float64, shape, kind, passes, alpha):
    model, sample = setup.model().double(), setup.sample(shape)
    criterion = setup.criterion(rdrop_alpha=alpha, rdrop_passes=passes, rdrop_divergence=kind)
    actual = train(criterion, model, sample)

    model.zero_grad()
    torch.manual_seed(1)
    outputs = model(**copies(sample["net_input"], passes))[0].chunk(passes)
    expected = setup.reference([model] * passes, outputs, sample["target"], alpha, kind)
    expected.loss.backward()
    torch.testing.assert_close(actual.loss, expected.loss.detach())
    parameters = dict(model.named_parameters())
    assert actual.grads.keys() >= {name for name, p in parameters.items() if p.grad is not None}
    for name, grad in actual.grads.items():
        found = parameters[name].grad
        torch.testing.assert_close(grad, torch.zeros_like(grad) if found is None else found)

    assert expected.kl_loss > 1e-3  # dropout is on, so there is something to compare
    torch.testing.assert_close(actual.log["loss"], expected.loss.detach())
    torch.testing.assert_close(actual.log["kl_loss"], expected.kl_loss.detach())
    assert actual.sample_size == actual.log["sample_size"] == sample["ntokens"]  # of one copy
    assert actual.log["ntokens"] == actual.log["kl_count"] == sample["ntokens"]
    assert actual.log["nsentences"] == len(sample["target"])
    torch.testing.assert_close(actual.log["nll_loss"], expected.nll_loss.detach())
    shown = reduced(criterion, [actual.log])
    tokens = sample["ntokens"]
    assert shown["loss"] == pytest.approx(bits(expected.loss) / tokens, abs=1e-3)
    assert shown["nll_loss"] == pytest.approx(bits(expected.nll_loss) / tokens, abs=1e-3)
    assert shown["ppl"] == pytest.approx(2 ** (bits(expected.nll_loss) / tokens), abs=1e-2)
    assert shown["kl_loss"] == pytest.approx(bits(expected.kl_loss) / tokens, abs=1e-4)
    assert shown["rdrop_alpha"] == pytest.approx(alpha)


def test_metrics_of_several_batches(setup):
    """kl_loss weighs every token once, alpha stands as it is; as a list and summed over the processes."""
    model, criterion = setup.model(), setup.criterion(rdrop_alpha=3.0)
    assert criterion.logging_outputs_can_be_summed()
    logs = [train(criterion, model, setup.sample(shape)).log for shape in SHAPES]
    shown = reduced(criterion, logs)
    tokens = sum(log["ntokens"] for log in logs)
    assert shown["kl_loss"] == pytest.approx(bits(sum(log["kl_loss"] for log in logs)) / tokens, abs=1e-4)
    assert shown["rdrop_alpha"] == 3.0
    summed = {key: sum(log[key] for log in logs) for key in logs[0]}
    assert reduced(criterion, [summed]) == pytest.approx(shown, abs=2e-3)


def test_metrics_of_an_interval_with_every_k(setup):
    """Updates without R-Drop log the same keys, count nothing to kl_loss, and show alpha 0 at their turn."""
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(rdrop_alpha=3.0, rdrop_every=2)
    logs = []
    with metrics.aggregate(new_root=True) as interval:
        for num_updates in range(5):
            criterion.num_updates = num_updates
            logs.append(train(criterion, model, sample, seed=num_updates).log)
            type(criterion).reduce_metrics([logs[-1]])
            alpha = [0, 3, 0, 3, 0][num_updates]
            assert interval.get_smoothed_value("rdrop_alpha") == alpha
            assert bool(logs[-1]["kl_loss"]) == bool(alpha)
    assert len({frozenset(log) for log in logs}) == 1
    expected = bits(logs[1]["kl_loss"] + logs[3]["kl_loss"]) / (2 * sample["ntokens"])
    assert interval.get_smoothed_value("kl_loss") == pytest.approx(expected, abs=1e-4)


def test_warm_up_reaches_the_loss(setup):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(rdrop_alpha=4.0, rdrop_warmup_updates=4)
    steps = []
    for criterion.num_updates in (1, 2, 4, 100):
        steps.append(train(criterion, model, sample))
    kl_loss = steps[0].log["kl_loss"]
    assert [reduced(criterion, [step.log])["rdrop_alpha"] for step in steps] == [1, 2, 4, 4]
    for step, alpha in zip(steps[1:], (2, 4, 4), strict=True):
        torch.testing.assert_close(step.loss - steps[0].loss, (alpha - 1) * kl_loss, rtol=1e-4, atol=1e-4)


def test_reduce_off_gives_the_loss_of_each_position(setup):
    model, sample = setup.model().train(), setup.sample()
    criterion = setup.criterion()
    torch.manual_seed(1)
    losses, _, log = criterion(model, sample, reduce=False)
    whole = train(criterion, model, sample)
    assert losses.numel() == sample["target"].numel()
    assert not losses.flatten()[sample["target"].flatten() == PAD].any()
    torch.testing.assert_close(losses.sum(), whole.loss)
    for key in ("nll_loss", "kl_loss"):
        if key in log:
            torch.testing.assert_close(log[key].sum(), whole.log[key])


def test_sentence_avg_divides_by_the_sentences_of_one_copy(setup):
    model, sample = setup.model(), setup.sample()
    by_token, by_sentence = (train(setup.criterion(sentence_avg=on), model, sample) for on in (False, True))
    assert by_sentence.sample_size == by_sentence.log["sample_size"] == 3
    assert torch.equal(by_sentence.loss, by_token.loss)
    shown = reduced(setup.criterion(), [by_sentence.log])
    assert shown["loss"] == pytest.approx(bits(by_sentence.loss) / 3, abs=1e-3)
    assert shown["kl_loss"] == pytest.approx(bits(by_sentence.log["kl_loss"]) / sample["ntokens"], abs=1e-4)
    assert shown["rdrop_alpha"] == 5.0


# What is decided once, and what is said


def test_what_depends_on_the_model_is_decided_once_for_each(setup, monkeypatch, caplog):
    """Also where a task trains several in turn, as multilingual_translation does."""
    decided = []

    def counted(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda model: decided.append(name) or function(model))

    counted(rdrop_criterion, "needs_separate_forwards")
    counted(rdrop_token_criterion, "has_adaptive_softmax")
    criterion, sample = setup.criterion(), setup.sample()
    with caplog.at_level(logging.INFO):
        for model in [setup.model(), setup.model()] * 3:
            train(criterion, model, sample)
    assert sorted(decided) == ["has_adaptive_softmax"] * 2 + ["needs_separate_forwards"] * 2
    assert caplog.text.count("R-Drop loss: ") == 2
    train(criterion, setup.model(), sample)
    assert len(decided) == 6


def test_a_model_that_needs_separate_forwards_after_one_that_does_not(setup):
    criterion, sample = setup.criterion(), setup.sample()
    off = {"dropout": 0.0, "attention_dropout": 0.0, "adaptive_softmax_dropout": 0.0}
    train(criterion, setup.model(**off), sample)
    model = setup.model(**off, decoder_layerdrop=0.5)
    assert max(train(criterion, model, sample, seed).log["kl_loss"] for seed in range(6)) > 1e-3


def test_the_model_does_not_become_a_part_of_the_criterion(setup):
    """fairseq would save it with the criterion, a second time, in every checkpoint."""
    criterion = setup.criterion()
    train(criterion, setup.model(), setup.sample())
    assert not list(criterion.parameters()) and not criterion.state_dict() and not list(criterion.children())


def test_the_log_says_what_loss_and_gradient_are_of(setup, caplog):
    with caplog.at_level(logging.INFO):
        train(setup.criterion(rdrop_passes=3), setup.model(), setup.sample())
    assert "loss and gnorm, which --clip-norm clips, are those of the sum over 3 passes" in caplog.text


NO_EFFECT = "R-Drop has no effect here"


def trained_without_dropout(setup, batches, **settings):
    model, criterion = setup.model(dropout=0.0), setup.criterion(**settings)
    for _ in range(batches):
        train(criterion, model, setup.sample())


@pytest.mark.parametrize("batches", [1, 3])
def test_no_dropout_gets_a_warning_at_the_first_batch_and_no_other(setup, caplog, batches):
    trained_without_dropout(setup, batches)
    assert caplog.text.count(NO_EFFECT) == 1 and "--dropout" in caplog.text


@pytest.mark.parametrize("batches, warnings", [(3, 0), (4, 1), (9, 1)])
def test_dropout_that_does_nothing_gets_it_after_some_batches(setup, caplog, monkeypatch, batches, warnings):
    monkeypatch.setattr(rdrop_criterion, "is_random", lambda model: True)
    monkeypatch.setattr(rdrop_criterion, "_WATCHED_BATCHES", 4)
    trained_without_dropout(setup, batches)
    assert caplog.text.count(NO_EFFECT) == warnings


@pytest.mark.parametrize("case", ["dropout", "alpha 0", "another rank", "one pass differs"])
def test_no_warning_where_there_is_an_effect_or_no_rdrop_or_on_the_other_processes(setup, caplog, monkeypatch, case):
    monkeypatch.setattr(rdrop_criterion, "_WATCHED_BATCHES", 2)
    if case == "dropout":
        model, criterion = setup.model(), setup.criterion()
        for _ in range(3):
            train(criterion, model, setup.sample())
    elif case == "alpha 0":
        trained_without_dropout(setup, 3, rdrop_alpha=0.0)
    elif case == "another rank":
        monkeypatch.setattr(rdrop_criterion, "get_global_rank", lambda: 1)
        trained_without_dropout(setup, 3)
    else:  # in a way that is_random does not know
        monkeypatch.setattr(rdrop_criterion, "is_random", lambda model: False)
        train(setup.criterion(), setup.model(), setup.sample())
    assert NO_EFFECT not in caplog.text


# Dropout rates


def test_dropouts_are_those_of_two_models(setup, float64):
    """Pass i of --rdrop-dropouts P1,P2 is a forward of the same weights in a model configured with P_i."""
    model, sample = setup.model(dropout=0.2, attention_dropout=0.2).double(), setup.sample()
    actual = train(setup.criterion(rdrop_dropouts="0.1,0.45"), model, sample)
    configured = [setup.model(dropout=rate, attention_dropout=rate).double().train() for rate in (0.1, 0.45)]
    for one in configured:
        one.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    outputs = [one(**sample["net_input"])[0] for one in configured]
    expected = setup.reference(configured, outputs, sample["target"], 5.0)
    torch.testing.assert_close(actual.loss, expected.loss.detach())


def rates(model):
    return {name: module.p for name, module in model.named_modules() if hasattr(module, "p")}


def test_dropouts_are_restored(setup, monkeypatch):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(rdrop_dropouts="0.1,0.45")
    before = rates(model)
    train(criterion, model, sample)
    assert rates(model) == before and set(before.values()) == {0.0, 0.3}

    seen = []

    def fails(*args, **kwargs):
        seen.append(rates(model))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "forward", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(criterion, model, sample)
    assert rates(model) == before and set(seen[0].values()) == {0.0, 0.1}


# The sample


@pytest.mark.parametrize("settings", [{}, {"rdrop_alpha": 0.0}, {"rdrop_dropouts": "0.1,0.4"}, {"rdrop_passes": 3}])
@pytest.mark.parametrize("step", [train, evaluate])
def test_the_sample_is_unchanged(setup, settings, step):
    model, sample = setup.model(), setup.sample()
    before = copy.deepcopy(sample)
    tensors = [id(tensor) for tensor in sample["net_input"].values()]
    step(setup.criterion(**settings), model, sample)
    assert_same_tree(sample, before)
    assert [id(tensor) for tensor in sample["net_input"].values()] == tensors


def test_the_same_batch_again_gives_the_same(setup):
    """As in fairseq's re-run after a NaN, and its retries under AMP."""
    model, sample, criterion = setup.model(), setup.sample(), setup.criterion()
    first, second = train(criterion, model, sample), train(criterion, model, sample)
    assert torch.equal(first.loss, second.loss)
    assert_same_tree(first.grads, second.grads)


def test_padding_contributes_nothing(setup):
    """What stands at the padding of the target side's input changes neither loss nor gradient."""
    model, sample, criterion = setup.model(), setup.sample("five"), setup.criterion()
    before = train(criterion, model, sample)
    padding = sample["target"].eq(PAD)
    assert padding.sum() > 3
    junk = copy.deepcopy(sample)
    tokens = "prev_output_tokens" if "prev_output_tokens" in junk["net_input"] else "src_tokens"
    junk["net_input"][tokens][padding] = 5
    after = train(criterion, model, junk)
    torch.testing.assert_close(after.loss, before.loss)
    torch.testing.assert_close(after.log["kl_loss"], before.log["kl_loss"])
    assert_grads_close(after.grads, before.grads)


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("passes", [(0, 1), (0,), (1,)], ids=["in both passes", "in the first", "in the second"])
@pytest.mark.parametrize("reduce", [True, False])
def test_what_the_model_gives_at_padding_reaches_nothing(setup, bad, passes, reduce):
    """Of its features or logits, whichever the criterion takes; also where the padding of one pass alone is bad."""
    model, sample, criterion = setup.model(), setup.sample("five"), setup.criterion()

    def step():
        model.train()
        model.zero_grad()
        torch.manual_seed(1)
        loss, _, log = criterion(model, sample, reduce=reduce)
        loss.sum().backward()
        return loss.detach(), log, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    before = step()
    padding = sample["target"].eq(PAD)
    hit = torch.cat([padding if i in passes else torch.zeros_like(padding) for i in (0, 1)]).unsqueeze(-1)
    model.decoder.register_forward_hook(lambda module, inputs, output: (output[0].where(~hit, bad), *output[1:]))
    after = step()
    assert_same_tree(after, before)


def test_a_target_that_is_all_padding(setup):
    model, sample = setup.model(), setup.sample()
    sample["target"] = torch.full_like(sample["target"], PAD)
    sample["ntokens"] = 0
    step = train(setup.criterion(), model, sample)
    assert step.loss == 0 and step.sample_size == 0 and step.log["kl_loss"] == 0
    assert step.grads and not any(grad.any() for grad in step.grads.values())
    shown = reduced(setup.criterion(), [step.log])  # a batch of no tokens divides by nothing of R-Drop's
    assert (shown["kl_loss"], shown["rdrop_alpha"]) == (0, 0)


def test_a_sentence_that_is_all_padding_changes_nothing(setup, float64):
    """The loss of a batch is that of its sentences: here without dropout, whose draws depend on the batch's shape."""
    model, criterion = setup.model(dropout=0.0).double(), setup.criterion()
    sample = setup.sample()
    alone = train(criterion, model, sample)
    padded = copy.deepcopy(sample)
    net_input = padded["net_input"]
    padded["net_input"] = {name: torch.cat([tensor, tensor[-1:]]) for name, tensor in net_input.items()}
    padded["target"] = torch.cat([sample["target"], torch.full_like(sample["target"][:1], PAD)])
    step = train(criterion, model, padded)
    torch.testing.assert_close(step.loss, alone.loss)
    assert_grads_close(step.grads, alone.grads)


# Under fairseq's task and trainer


class Optimizer:
    """As much of fairseq's optimizer as a training step calls."""

    def __init__(self):
        self.backwards = 0

    def backward(self, loss):
        self.backwards += 1
        loss.backward()


@pytest.mark.parametrize("settings", [{}, {"rdrop_alpha": 0.0}, {"rdrop_dropouts": "0.1,0.4"}])
def test_a_dummy_batch_gives_gradients_of_zero(setup, settings):
    model, sample, criterion = setup.model(), setup.sample(), setup.criterion(**settings)
    real = train(criterion, model, sample)
    model.zero_grad()
    optimizer = Optimizer()
    loss, _, log = setup.task.train_step(sample, model, criterion, optimizer, 3, ignore_grad=True)
    assert loss == 0 and optimizer.backwards == 1
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert grads.keys() == real.grads.keys() and not any(grad.any() for grad in grads.values())
    assert log.keys() == real.log.keys()  # the processes that have a batch log the same


def test_the_task_tells_the_update(setup):
    model, sample, optimizer = setup.model(), setup.sample(), Optimizer()
    criterion = setup.criterion(rdrop_every=3)
    alphas = []
    for update_num in (0, 1, 2, 3, 4, 5):
        _, _, log = setup.task.train_step(sample, model, criterion, optimizer, update_num)
        alphas.append(reduced(criterion, [log])["rdrop_alpha"])
    assert alphas == [0, 0, 5, 0, 0, 5]
    assert optimizer.backwards == 6


def test_a_training_step_is_that_of_the_criterion(setup):
    model, sample, criterion = setup.model(), setup.sample(), setup.criterion()
    expected = train(criterion, model, sample)
    model.zero_grad()
    model.eval()  # the task sets the mode
    torch.manual_seed(1)
    loss, sample_size, _ = setup.task.train_step(sample, model, criterion, Optimizer(), 0)
    assert torch.equal(loss, expected.loss) and sample_size == expected.sample_size
    assert_same_tree({name: p.grad for name, p in model.named_parameters()}, expected.grads)


def test_valid_step_of_the_task_equals_the_parents(setup):
    model, sample = setup.model(), setup.sample()
    actual, expected = (setup.task.valid_step(sample, model, c) for c in (setup.criterion(), setup.parent()))
    assert_same_tree(actual, expected)


def test_under_autocast(setup):
    if "adaptive_input" in setup.case.model:
        pytest.skip("fairseq's adaptive input does not run under autocast")
    model, sample = setup.model(), setup.sample()
    exact = train(setup.criterion(), model, sample)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = train(setup.criterion(), model, sample)
    assert half.loss.dtype == torch.float32
    assert not torch.equal(half.loss, exact.loss)  # autocast was on
    torch.testing.assert_close(half.loss, exact.loss, rtol=0.05, atol=0)
    assert all(grad.isfinite().all() for grad in half.grads.values())


def test_in_bfloat16(setup):
    model, sample = setup.model(), setup.sample()
    exact = train(setup.criterion(), model, sample)
    half = train(setup.criterion(), model.bfloat16(), sample)
    assert half.loss.dtype == torch.float32
    torch.testing.assert_close(half.loss, exact.loss, rtol=0.05, atol=0)
    assert all(grad.isfinite().all() for grad in half.grads.values())


# Flags


@pytest.mark.parametrize(
    "flag, value, allowed",
    [
        ("--rdrop-alpha", -1.0, ">= 0"),
        ("--rdrop-alpha", -0.001, ">= 0"),
        ("--rdrop-alpha", math.nan, "finite"),
        ("--rdrop-alpha", math.inf, "finite"),
        ("--rdrop-alpha", -math.inf, "finite"),
        ("--rdrop-passes", 1, ">= 2"),
        ("--rdrop-passes", 0, ">= 2"),
        ("--rdrop-passes", -2, ">= 2"),
        ("--rdrop-every", 0, ">= 1"),
        ("--rdrop-every", -1, ">= 1"),
        ("--rdrop-warmup-updates", -1, ">= 0"),
        ("--rdrop-divergence", "jsd", "symmetric, forward, reverse, js"),
        ("--rdrop-divergence", "Symmetric", "symmetric, forward, reverse, js"),
        ("--rdrop-divergence", "", "symmetric, forward, reverse, js"),
        ("--rdrop-loss", "fast", "auto, fused, plain"),
        ("--rdrop-loss", "", "auto, fused, plain"),
        ("--rdrop-dropouts", "0.1", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1,0.2,0.3", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1,1.0", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "-0.1,0.2", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "nan,0.2", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "inf,0.2", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1,high", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1;0.2", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "0.1,", "2 rates in [0, 1)"),
        ("--rdrop-dropouts", "", "2 rates in [0, 1)"),
    ],
)
def test_bad_flag_values_exit_with_one_line(setup, flag, value, allowed):
    with pytest.raises(SystemExit) as stopped:
        setup.criterion(**{flag[2:].replace("-", "_"): value})
    line = stopped.value.code
    assert isinstance(line, str)  # printed by Python, with exit status 1
    assert "\n" not in line and flag in line and str(value) in line and allowed in line


def test_dropouts_must_be_as_many_as_the_passes(setup):
    setup.criterion(rdrop_passes=3, rdrop_dropouts="0.1,0.2,0.3")
    with pytest.raises(SystemExit, match=r"--rdrop-dropouts 0\.1,0\.2: must be 3 rates"):
        setup.criterion(rdrop_passes=3, rdrop_dropouts="0.1,0.2")


@pytest.mark.parametrize("settings", [{"rdrop_alpha": 0.0}, {"rdrop_alpha": 0.7}, {"rdrop_dropouts": "0, 0.999"}])
def test_good_flag_values_at_the_edge(setup, settings):
    setup.criterion(**settings, rdrop_every=1, rdrop_warmup_updates=0, rdrop_passes=2)


@pytest.mark.parametrize("flag, value", [("--rdrop-every", 2), ("--rdrop-warmup-updates", 100)])
def test_a_stock_task_refuses_the_schedules(setup, flag, value):
    stock = build_task(setup.case.task.removeprefix("rdrop_"))
    with pytest.raises(SystemExit) as stopped:
        build_criterion(setup.case.name, stock, **{flag[2:].replace("-", "_"): value})
    line = stopped.value.code
    assert "\n" not in line and f"{flag} {value}" in line and setup.case.task in line


@pytest.mark.parametrize("name", rdrop_token_criterion.NOT_FOR_TASKS)
def test_tasks_that_it_is_not_for_are_refused(setup, name):
    task = object.__new__(TASK_REGISTRY[name])
    with pytest.raises(SystemExit) as stopped:
        build_criterion(setup.case.name, task)
    line = stopped.value.code
    assert "\n" not in line and f"--criterion {setup.case.name}" in line
    assert f"error: --task {name}: its targets are " in line


def test_a_task_derived_from_one_of_them_is_refused(setup):
    class Own(TASK_REGISTRY["masked_lm"]):
        pass

    with pytest.raises(SystemExit, match="--task masked_lm: its targets are masked words"):
        build_criterion(setup.case.name, object.__new__(Own))


def test_everything_else_works_with_a_stock_task(setup):
    stock = build_task(setup.case.task.removeprefix("rdrop_"))
    settings = {"rdrop_passes": 3, "rdrop_divergence": "js", "rdrop_dropouts": "0.1,0.2,0.3", **setup.case.settings}
    settings |= setup.case.own
    model, sample = setup.model(), setup.sample()
    actual = train(build_criterion(setup.case.name, stock, **settings), model, sample)
    expected = train(build_criterion(setup.case.name, setup.task, **settings), model, sample)
    assert torch.equal(actual.loss, expected.loss)
    model.zero_grad()
    stock.train_step(sample, model, build_criterion(setup.case.name, stock), Optimizer(), 5)
