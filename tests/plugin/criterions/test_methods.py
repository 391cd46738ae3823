"""The published methods that cut: their flags give their loss, written as loops, and its gradient.

Here without dropout. test_contracts_family.py has methods that cut by <unk> with dropout, and test_contracts_loss.py
has R-Drop itself.
"""

import pytest
import reference
import torch
from support.helpers import assert_grads_close, build_criterion, build_model, build_task, make_sample, train

from rdrop_fairseq.compat import embeddings

UNK = 3
SIDES = ("src_tokens", "prev_output_tokens")
SIMCUT = {"rdrop_pass_weights": "1,0", "rdrop_divergence": "forward", "rdrop_alpha": 3.0, "rdrop_cutoff": 0.4}
BY_UNK = {"rdrop_cutoff": 0.4, "rdrop_cutoff_replacement": "unk"}
METHODS = {
    "SimCut": (SIMCUT, reference.simcut),
    "Cutoff": ({"rdrop_divergence": "bhattacharyya", **BY_UNK}, reference.cutoff),
    "Cutoff by span, source alone": (
        {"rdrop_divergence": "bhattacharyya", "rdrop_cutoff_unit": "span", "rdrop_cutoff_side": "source", **BY_UNK},
        reference.cutoff,
    ),
    "R-Drop + Cutoff": (BY_UNK, lambda *args: reference.rdrop(*args).loss),
}


@pytest.fixture
def drawn(monkeypatch):
    """Return what was cut, in the order of the embeddings."""
    found, draw = [], embeddings.positions_to_cut

    def noted(*args):
        found.append(draw(*args))
        return found[-1]

    monkeypatch.setattr(embeddings, "positions_to_cut", noted)
    return found


def second_input(net_input, names, drawn):
    """Return the input of pass 2, where what was cut is <unk>."""
    return net_input | {name: net_input[name].masked_fill(cut, UNK) for name, cut in zip(names, drawn, strict=True)}


def compare(step, model, loss, net_input, names, drawn, target, skipped):
    """Value and gradient equal those of the loops, for logits of both passes, each from a forward of its own."""
    logits = torch.stack([model(**one)[0] for one in (net_input, second_input(net_input, names, drawn))])
    expected = loss(logits, target)
    torch.testing.assert_close(step.loss, expected.detach())
    model.zero_grad()
    expected.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    for grads in (step.grads, wanted):
        for name in skipped:
            grads[name][UNK] = 0
    assert_grads_close(step.grads, wanted)


@pytest.mark.parametrize("loss_kind", ["fused", "plain"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shared", [False, True], ids=["own embeddings", "shared embeddings"])
def test_translation(name, loss_kind, shared, float64, drawn):
    own, method = METHODS[name]
    task = build_task()
    model = build_model(task, dropout=0.0, share_all_embeddings=shared).double()
    # The batch has no <unk>. With an embedding of 0 it stands for what is cut by 0; its gradient is then not compared.
    skipped = []
    if own is SIMCUT:
        for side in (model.encoder, model.decoder):
            side.embed_tokens.weight.data[UNK] = 0
        skipped = ["encoder.embed_tokens.weight"] if shared else [f"{x}coder.embed_tokens.weight" for x in ("en", "de")]
    sample = make_sample(task, ((5, 4), (4, 6), (2, 3)))
    settings = {"label_smoothing": 0.1, "rdrop_loss": loss_kind, "rdrop_alpha": 5.0} | own
    step = train(build_criterion("rdrop_label_smoothed_cross_entropy", task, **settings), model, sample)
    names = ("src_tokens",) if "source alone" in name else SIDES
    assert len(drawn) == len(names) and all(cut.any() for cut in drawn)
    net_input, target = sample["net_input"], sample["target"]
    alpha = settings["rdrop_alpha"]
    compare(step, model, lambda x, y: method(x, y, alpha, 0.1), net_input, names, drawn, target, skipped)
    for tokens, cut in zip((net_input[one] for one in names), drawn, strict=True):
        assert not cut[tokens < UNK].any()  # bos, eos, padding
    if "prev_output_tokens" in names:
        assert not drawn[1][:, 0].any()


@pytest.mark.parametrize("loss_kind", ["fused", "plain"])
@pytest.mark.parametrize("name", METHODS)
def test_language_modeling(name, loss_kind, float64, drawn):
    """The decoder's input is cut."""
    own, method = METHODS[name]
    own = {"rdrop_alpha": 5.0, **own, "rdrop_cutoff_side": "target", "rdrop_loss": loss_kind}
    task = build_task("rdrop_language_modeling")
    model = build_model(task, "transformer_lm_big", dropout=0.0).double()
    if "SimCut" in name:
        model.decoder.embed_tokens.weight.data[UNK] = 0
    sample = make_sample(task)
    step = train(build_criterion("rdrop_cross_entropy", task, **own), model, sample)
    alpha = own["rdrop_alpha"]
    skipped = ["decoder.embed_tokens.weight"] if "SimCut" in name else []
    names, target = ("src_tokens",), sample["target"]
    compare(step, model, lambda x, y: method(x, y, alpha), sample["net_input"], names, drawn, target, skipped)


@pytest.mark.parametrize("loss_kind", ["fused", "plain"])
def test_bisimcut_is_simcut_on_both_directions(loss_kind, float64, drawn):
    """The first step of Bi-SimCut: a batch of pairs in both directions has the loss of each direction, added."""
    task = build_task()
    model = build_model(task, dropout=0.0, share_all_embeddings=True).double()
    model.encoder.embed_tokens.weight.data[UNK] = 0
    pairs = make_sample(task, ((5, 4), (4, 5), (3, 2), (2, 3)))  # lengths of de-en, en-de, de-en, en-de
    settings = {"label_smoothing": 0.1, "rdrop_loss": loss_kind, **SIMCUT}
    criterion = build_criterion("rdrop_label_smoothed_cross_entropy", task, **settings)
    step = train(criterion, model, pairs)

    def both_directions(logits, target):
        rows = slice(0, None, 2), slice(1, None, 2)
        return sum(reference.simcut(logits[:, one], target[one], 3.0, 0.1) for one in rows)

    skipped = ["encoder.embed_tokens.weight"]
    compare(step, model, both_directions, pairs["net_input"], SIDES, drawn, pairs["target"], skipped)
