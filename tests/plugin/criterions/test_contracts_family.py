"""Contracts of every R-Drop criterion: weights of the passes, a part of the batch, and cuts."""

import copy
import logging

import pytest
import torch
from support.contracts import evaluate
from support.helpers import PAD, assert_grads_close, assert_same_tree, bits, copies, reduced, train

from rdrop_fairseq.compat import embeddings
from rdrop_fairseq.criterions import rdrop_token_criterion
from rdrop_fairseq.passes import join_batches, take_sentences

OFF = {"dropout": 0.0, "attention_dropout": 0.0, "adaptive_softmax_dropout": 0.0}
CUT = {"rdrop_cutoff": 0.4}
UNK = 3
CUTS = [
    CUT,
    CUT | {"rdrop_cutoff_unit": "span"},
    CUT | {"rdrop_cutoff_unit": "feature"},
    CUT | {"rdrop_cutoff_replacement": "unk"},
    CUT | {"rdrop_cutoff_unit": "span", "rdrop_cutoff_replacement": "unk"},
]


def grads_of(loss, model):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_step(step, loss, model):
    torch.testing.assert_close(step.loss, loss.detach())
    expected = grads_of(loss, model)
    zeros = {name: torch.zeros_like(grad) for name, grad in step.grads.items()}
    assert_grads_close(step.grads, zeros | expected)


# Weights of the passes


@pytest.mark.parametrize(
    "weights, kind", [((1.0, 0.0), "forward"), ((0.0, 2.0), "bhattacharyya"), ((0.5, 0.0, 1.0), "symmetric")]
)
def test_pass_weights(setup, float64, weights, kind):
    model, sample, passes = setup.model().double(), setup.sample(), len(weights)
    text = ",".join(map(str, weights))
    criterion = setup.criterion(rdrop_pass_weights=text, rdrop_passes=passes, rdrop_divergence=kind)
    step = train(criterion, model, sample)
    torch.manual_seed(1)
    outputs = model(**copies(sample["net_input"], passes))[0].chunk(passes)
    expected = setup.reference([model] * passes, outputs, sample["target"], 5.0, kind, weights)
    assert_step(step, expected.loss, model)
    torch.testing.assert_close(step.log["nll_loss"], expected.nll_loss.detach())
    torch.testing.assert_close(step.log["kl_loss"], expected.kl_loss.detach())
    shown = reduced(criterion, [step.log])
    assert shown["nll_loss"] == pytest.approx(bits(expected.nll_loss) / sample["ntokens"], abs=1e-3)
    torch.manual_seed(1)
    losses, _, _ = criterion(model, sample, reduce=False)
    torch.testing.assert_close(losses.sum(), step.loss)
    assert not losses.flatten()[sample["target"].flatten() == PAD].any()


def test_weights_of_1_change_nothing(setup):
    model, sample = setup.model(), setup.sample()
    steps = [train(setup.criterion(**own), model, sample) for own in ({}, {"rdrop_pass_weights": "1,1"})]
    assert torch.equal(steps[0].loss, steps[1].loss)
    assert_same_tree(steps[0].grads, steps[1].grads)


# A part of the batch


@pytest.fixture
def drawing(monkeypatch):
    """Let the batch of three be drawn as the test says."""

    def draw(*drawn):
        rest = [i for i in range(3) if i not in drawn]
        both = torch.tensor(drawn), torch.tensor(rest)
        monkeypatch.setattr(rdrop_token_criterion, "draw_sentences", lambda *_: both)
        return both

    return draw


@pytest.mark.parametrize(
    "drawn, settings, of_drawn, of_rest",  # the weights of the passes by hand; a third or two thirds are drawn
    [
        ((1,), {}, (1, 1), 2),
        ((0, 2), {"rdrop_passes": 3}, (1, 1, 1), 3),
        ((1,), {"rdrop_pass_weights": "1,0"}, (1, 0), 1),
        ((0, 2), {"rdrop_pass_weights": "0.5,2"}, (0.5, 2), 2.5),
        ((2,), {"rdrop_dropouts": "0.3,0.1", "rdrop_pass_weights": "1,0.5"}, (1, 1.5), 1),
    ],
)
@pytest.mark.parametrize("reduce", [True, False])
def test_fraction(setup, float64, drawing, drawn, settings, of_drawn, of_rest, reduce):
    model, sample = setup.model(dropout=0.3, attention_dropout=0.3).double(), setup.sample()
    at, rest = drawing(*drawn)
    passes, share = len(of_drawn), len(drawn) / 3
    criterion = setup.criterion(rdrop_fraction=share, **settings)
    model.train()
    torch.manual_seed(1)
    loss, sample_size, log = criterion(model, sample, reduce=reduce)
    grads = grads_of(loss.sum(), model)

    rates = [float(rate) for rate in settings["rdrop_dropouts"].split(",")] if "rdrop_dropouts" in settings else None
    models = [model] * passes
    if rates:
        models = [setup.model(dropout=rate, attention_dropout=rate).double().train() for rate in rates]
        for one in models:
            one.load_state_dict(model.state_dict())
            for (_, theirs), (_, ours) in zip(one.named_parameters(), model.named_parameters(), strict=True):
                theirs.data = ours.data
    later = take_sentences(sample, at)
    torch.manual_seed(1)
    if rates:
        outputs = [one(**batch["net_input"])[0] for one, batch in zip(models, (sample, later), strict=True)]
    else:
        joined = join_batches([sample] + [later] * (passes - 1))["net_input"]
        outputs = model(**joined)[0].split([3] + [len(at)] * (passes - 1))
    target = sample["target"]
    ours = setup.reference(models, (outputs[0][at], *outputs[1:]), target[at], 5.0 / share, "symmetric", of_drawn)
    others = setup.reference(models[:1], (outputs[0][rest],), target[rest], 0.0, "symmetric", (of_rest,))
    expected = ours.loss + others.loss
    torch.testing.assert_close(loss.sum(), expected)
    assert sample_size == sample["ntokens"]
    assert log["kl_count"] == target[at].ne(PAD).sum()
    torch.testing.assert_close(log["kl_loss"].sum(), ours.kl_loss.detach())
    nll_loss = sum(of_drawn) * ours.nll_loss + of_rest * others.nll_loss
    total = sum(map(float, settings.get("rdrop_pass_weights", ",".join("1" * passes)).split(",")))
    torch.testing.assert_close(log["nll_loss"].sum(), nll_loss.detach() / total)
    if not rates:
        wanted = grads_of(expected, model)
        assert_grads_close(grads, {name: torch.zeros_like(grad) for name, grad in grads.items()} | wanted)
    if not reduce:
        assert loss.numel() == target.numel() and not loss.flatten()[target.flatten() == PAD].any()
        in_rest = loss.view(3, -1)[rest].sum()  # in the order of the batch
        torch.testing.assert_close(in_rest, others.loss)


def test_the_mean_over_all_draws_is_the_whole_batch(setup, float64, drawing):
    """Of value and gradient; without dropout, so that every draw sees the same passes."""
    model, sample = setup.model(**OFF).double(), setup.sample()
    whole = train(setup.criterion(), model, sample)
    total, grads = 0.0, []
    for i in range(3):
        drawing(i)
        step = train(setup.criterion(rdrop_fraction=0.3), model, sample)
        total += step.loss / 3
        grads.append(step.grads)
    torch.testing.assert_close(total, whole.loss)
    assert_grads_close({name: sum(each[name] for each in grads) / 3 for name in whole.grads}, whole.grads)


def test_a_whole_batch_is_the_batch(setup):
    model, sample = setup.model(), setup.sample("one")  # of one sentence, which is always drawn
    steps = [train(setup.criterion(**own), model, sample) for own in ({}, {"rdrop_fraction": 0.2})]
    assert torch.equal(steps[0].loss, steps[1].loss)
    assert_same_tree(steps[0].log, steps[1].log)


# Cuts


@pytest.mark.parametrize("own", CUTS, ids=str)
def test_a_cut_is_in_the_last_pass_alone(setup, float64, own):
    """Without dropout: the loss of pass 1 is the parent's, pass 2 has another, and no warning is due."""
    model, sample = setup.model(**OFF).double(), setup.sample()
    parent = train(setup.parent(), model, sample)
    first, second = (
        train(setup.criterion(**own, rdrop_pass_weights=weights), model, sample) for weights in ("1,0", "0,1")
    )
    torch.testing.assert_close(first.loss - 5 * first.log["kl_loss"], parent.loss.squeeze())
    assert torch.equal(first.log["kl_loss"], second.log["kl_loss"]) and first.log["kl_loss"] > 1e-4
    assert not torch.isclose(second.loss, first.loss)
    other = train(setup.criterion(**own, rdrop_pass_weights="0,1", rdrop_cutoff_passes="1"), model, sample)
    torch.testing.assert_close(other.loss - 5 * other.log["kl_loss"], parent.loss.squeeze())


METHODS = {  # pass weights and divergence; all cut the last pass by <unk>
    "SimCut by unk": ((1.0, 0.0), "forward"),
    "Cutoff": ((1.0, 1.0), "bhattacharyya"),
    "R-Drop + Cutoff": ((1.0, 1.0), "symmetric"),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_that_cut_with_dropout(setup, float64, monkeypatch, name):
    """Every second token is cut, so that no draw of the cut shifts those of the dropout."""

    def every_second(tokens, kept, first, cutoff):
        place = torch.arange(tokens.size(1))
        return (place % 2 == 0) & (place >= first) & ~torch.isin(tokens, torch.tensor(sorted(kept)))

    monkeypatch.setattr(embeddings, "positions_to_cut", every_second)
    weights, kind = METHODS[name]
    settings = {"rdrop_pass_weights": ",".join(map(str, weights)), "rdrop_divergence": kind}
    model, sample = setup.model().double(), setup.sample()
    step = train(setup.criterion(**settings, **CUT, rdrop_cutoff_replacement="unk"), model, sample)
    both, size = copies(sample["net_input"], 2), len(sample["target"])
    for side in {"src_tokens", "prev_output_tokens"} & both.keys():
        tokens, of_decoder = both[side], side == "prev_output_tokens" or "prev_output_tokens" not in both
        cut = every_second(tokens[size:], {0, PAD, 2, UNK}, int(of_decoder), None)  # with bos and eos
        assert cut.any()
        tokens[size:][cut] = UNK
    torch.manual_seed(1)
    outputs = model(**both)[0].chunk(2)
    assert_step(step, setup.reference([model] * 2, outputs, sample["target"], 5.0, kind, weights).loss, model)


@pytest.mark.parametrize("own", [{}, {"rdrop_dropouts": "0.3,0.3"}, {"rdrop_fraction": 0.5}, {"rdrop_passes": 3}])
def test_a_cut_works_with_everything_else(setup, own, caplog):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(**CUT, **own)
    before = copy.deepcopy(sample)
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    with caplog.at_level(logging.WARNING):
        first, again = train(criterion, model, sample), train(criterion, model, sample)
    assert torch.equal(first.loss, again.loss) and first.loss.isfinite()
    assert_same_tree(first.grads, again.grads)
    assert_same_tree(sample, before)
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    assert_same_tree(evaluate(criterion, model, sample), evaluate(setup.parent(), model, sample))
    assert not caplog.records


def test_a_cut_model_without_dropout_gets_no_warning(setup, caplog):
    train(setup.criterion(**CUT), setup.model(**OFF), setup.sample())
    assert "no effect" not in caplog.text


def test_hooks_are_taken_away_when_the_forward_fails(setup, monkeypatch):
    model = setup.model()
    monkeypatch.setattr(model.decoder.layers[-1], "forward", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no")))
    with pytest.raises(RuntimeError):
        train(setup.criterion(**CUT), model, setup.sample())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_in_half_precision_and_under_autocast(setup):
    model, sample = setup.model(), setup.sample()
    criterion = setup.criterion(**CUT, rdrop_fraction=0.5, rdrop_pass_weights="1,0.5")
    if "adaptive_input" not in setup.case.model:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert train(criterion, model, sample).loss.isfinite()
    half = train(criterion, model.bfloat16(), sample)
    assert half.loss.isfinite() and all(grad.isfinite().all() for grad in half.grads.values())
