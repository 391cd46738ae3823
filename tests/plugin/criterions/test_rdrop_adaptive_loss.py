"""What is the adaptive criterion's own: the clusters, both divergences over them, their dropout."""

import math
from statistics import median

import pytest
import torch
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from reference import adaptive_kl, adaptive_lprobs, kl
from support.adaptive import LM, NAME, WAYS, Features, batch_for, random_model
from support.helpers import (
    ADAPTIVE,
    PAD,
    TIED,
    bits,
    build_criterion,
    build_model,
    build_task,
    make_sample,
    of_adaptive,
    reduced,
    train,
)
from torch import nn

from rdrop_fairseq.compat.output_projection import cluster_weights
from rdrop_fairseq.criterions import rdrop_adaptive_loss
from rdrop_fairseq.criterions.rdrop_adaptive_loss import all_logits, all_lprobs
from rdrop_fairseq.divergence import DIVERGENCES


@pytest.fixture
def task():
    return build_task("rdrop_language_modeling")


# Values


@pytest.mark.parametrize("loss", ["fused", "plain", "exact"])
def test_numbers_by_hand(task, loss):
    # Words 0 and 1 in the head, 2 to 4 in a cluster; target 4. The head gives the two words and the cluster
    # (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2); the tail its words (1/2, 1/4, 1/4) and (1/4, 1/2, 1/4).
    # In bits: nll 2 + 2 and 1 + 2. KL of the head: 1/2 * 1 - 1/4 * 1 = 1/4 both ways; of the tail 1/4 both ways.
    # Published: 1/4 + 1/4. Exact: the mean of 1/4 + 1/4 * 1/4 = 5/16 and 1/4 + 1/2 * 1/4 = 6/16, which is 11/32.
    softmax = AdaptiveSoftmax(5, 2, [2], dropout=0.0, factor=1)
    softmax.head.weight.data = torch.tensor([[1 / 2, 1 / 4], [1 / 4, 1 / 4], [1 / 4, 1 / 2]]).log()
    softmax.tail[0][0].weight.data = torch.eye(2)
    softmax.tail[0][2].weight.data = torch.tensor([[1 / 2, 1 / 4], [1 / 4, 1 / 2], [1 / 4, 1 / 4]]).log()
    model = Features(torch.eye(2).unsqueeze(1), softmax)
    criterion = build_criterion(NAME, task, rdrop_alpha=4.0, **WAYS[loss])
    step = train(criterion, model, batch_for([4]))
    kl_loss = 11 / 32 if loss == "exact" else 1 / 2
    assert bits(step.log["nll_loss"]) == pytest.approx(3.5)
    assert bits(step.log["kl_loss"]) == pytest.approx(kl_loss)
    assert bits(step.loss) == pytest.approx(7 + 4 * kl_loss)
    shown = reduced(criterion, [step.log])
    assert (shown["loss"], shown["nll_loss"], shown["kl_loss"]) == pytest.approx(
        (7 + 4 * kl_loss, 3.5, kl_loss), abs=1e-3
    )
    assert shown["ppl"] == pytest.approx(2**3.5, abs=0.01)


def test_the_chain_rule_is_kl_over_the_whole_vocabulary():
    generator = torch.Generator().manual_seed(0)
    (p_head, q_head), *tails = (torch.randn(2, size, generator=generator).double() for size in (7, 3, 5))
    p_tails, q_tails = zip(*tails, strict=True)
    p, q = adaptive_lprobs(p_head, p_tails), adaptive_lprobs(q_head, q_tails)
    assert p.shape == (5 + 3 + 5,)
    torch.testing.assert_close(p.exp().sum(), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(adaptive_kl(p_head, p_tails, q_head, q_tails), kl(p, q))


def test_log_probabilities_of_all_words_are_fairseqs():
    model = random_model(4)
    softmax, hidden = model.decoder.adaptive_softmax, model.features[0]
    lprobs = all_lprobs(softmax, [logits.log_softmax(-1) for logits in all_logits(softmax, hidden)])
    with torch.no_grad():
        torch.testing.assert_close(lprobs, softmax.get_log_prob(hidden.unsqueeze(0), None)[0])


# Words of every cluster and padding; one cluster empty; all in the head; all in one tail
TARGETS = [[0, 6, 11, PAD, 8, 10, 5], [3, 8, 10], [2, 5], [11, 11, 8]]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "kind, passes", [("symmetric", 2), ("symmetric", 3), ("forward", 2), ("reverse", 2), ("js", 3)]
)
def test_value_and_gradient(task, way, target, kind, passes):
    model, sample = random_model(len(target), passes), batch_for(target)
    settings = {"rdrop_divergence": kind, "rdrop_passes": passes, "rdrop_alpha": 0.7} | way
    step = train(build_criterion(NAME, task, **settings), model, sample)
    model.zero_grad()
    own = {key: value for key, value in way.items() if key == "rdrop_adaptive_divergence"}
    outputs = list(model.features.unsqueeze(1))
    expected = of_adaptive([model] * passes, outputs, sample["target"], 0.7, kind, **own)
    expected.loss.backward()
    torch.testing.assert_close(step.loss, expected.loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.log["nll_loss"], expected.nll_loss.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(step.log["kl_loss"], expected.kl_loss.detach(), rtol=1e-10, atol=0)
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert name not in step.grads or not step.grads[name].any()
        else:
            torch.testing.assert_close(step.grads[name], parameter.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_the_exact_divergence_is_that_of_the_vocabulary(task, kind):
    """By torch's own KL between the log-probabilities that fairseq evaluates with."""
    model, sample = random_model(4), batch_for([0, 6, 11, 10])
    criterion = build_criterion(NAME, task, rdrop_divergence=kind, **WAYS["exact"])
    with torch.no_grad():
        p, q = (model.decoder.adaptive_softmax.get_log_prob(x.unsqueeze(0), None)[0] for x in model.features)
    m = torch.logaddexp(p, q) - math.log(2)

    def divergence(log_p, log_q):
        return nn.functional.kl_div(log_q, log_p, reduction="sum", log_target=True).item()

    forward, reverse = divergence(p, q), divergence(q, p)
    js = (divergence(p, m) + divergence(q, m)) / 2
    expected = {"symmetric": (forward + reverse) / 2, "forward": forward, "reverse": reverse, "js": js}
    expected["bhattacharyya"] = -((p + q) / 2).exp().sum(-1).log().sum().item()
    assert train(criterion, model, sample).log["kl_loss"].item() == pytest.approx(expected[kind], rel=1e-9)


def test_published_and_exact_share_the_head_and_differ_in_the_tails(task):
    head_alone, with_tails = [2, 5], [2, 11]
    for target, equal in ((head_alone, False), (with_tails, False)):
        model, sample = random_model(2), batch_for(target)
        published, exact = (
            train(build_criterion(NAME, task, **WAYS[way]), model, sample) for way in ("plain", "exact")
        )
        torch.testing.assert_close(published.log["nll_loss"], exact.log["nll_loss"])
        assert math.isclose(published.log["kl_loss"], exact.log["kl_loss"], rel_tol=1e-3) == equal


@pytest.mark.parametrize("loss", ["plain", "exact"])
def test_gradcheck(task, loss):
    model, sample = random_model(3).train(), batch_for([11, 6, 2])
    criterion = build_criterion(NAME, task, **WAYS[loss])
    head, out = model.decoder.adaptive_softmax.head, model.decoder.adaptive_softmax.tail[1][2]

    def function(features, head_weight, out_weight):
        model._parameters["features"] = features
        head._parameters["weight"], out._parameters["weight"] = head_weight, out_weight
        return criterion(model, sample)[0]

    inputs = [model.features, head.weight, out.weight]
    assert torch.autograd.gradcheck(function, [each.detach().clone().requires_grad_() for each in inputs])


def test_a_word_at_paddings_place_in_its_cluster_is_left_out_as_in_the_parent(task, way):
    """fairseq's adaptive_loss looks for padding in the tails too: word 9 is the second, PAD, of the cluster from 8."""
    assert PAD == 1
    model, sample = random_model(2), batch_for([9, 7])
    model.features.data[1] = model.features.data[0]
    step = train(build_criterion(NAME, task, **way), model, sample)
    one_pass = Features(model.features.data[:1], model.decoder.adaptive_softmax)
    parent = train(build_criterion("adaptive_loss", task), one_pass, sample)
    torch.testing.assert_close(step.loss, 2 * parent.loss.squeeze())
    assert not parent.grads["decoder.adaptive_softmax.tail.1.2.weight"].any()
    assert not step.grads["decoder.adaptive_softmax.tail.1.2.weight"].any()


# The exact divergence in chunks


def test_chunks_of_tokens_change_nothing(task, monkeypatch):
    model, sample = random_model(7), batch_for(TARGETS[0])
    criterion = build_criterion(NAME, task, **WAYS["exact"])
    whole = train(criterion, model, sample)
    monkeypatch.setattr(rdrop_adaptive_loss, "_CHUNK", 2 * 12 * 2)  # two tokens
    chunked = train(criterion, model, sample)
    torch.testing.assert_close(chunked.loss, whole.loss)
    for name, grad in whole.grads.items():
        torch.testing.assert_close(chunked.grads[name], grad)
    losses, _, _ = criterion(model, sample, reduce=False)
    assert losses.shape == (7,)


def test_backward_of_a_chunk_drops_what_its_forward_dropped(task, monkeypatch):
    model, sample = build_model(task, LM, **ADAPTIVE), make_sample(task)
    criterion = build_criterion(NAME, task, **WAYS["exact"], rdrop_dropouts="0.1,0.5")
    monkeypatch.setattr(rdrop_adaptive_loss, "_CHUNK", 2 * 12 * 5)
    recomputed = train(criterion, model, sample)
    monkeypatch.setattr(rdrop_adaptive_loss, "checkpoint", lambda function, *args, use_reentrant: function(*args))
    kept = train(criterion, model, sample)
    assert torch.equal(recomputed.loss, kept.loss)
    for name, grad in kept.grads.items():
        torch.testing.assert_close(recomputed.grads[name], grad)


# Dropout, dtypes, and the kinds of weights


def test_the_softmaxs_own_dropout_differs_between_the_passes(task, way):
    model, sample = build_model(task, LM, **ADAPTIVE, dropout=0.0, adaptive_softmax_dropout=0.4), make_sample(task)
    criterion = build_criterion(NAME, task, **way)
    assert train(criterion, model, sample).log["kl_loss"] > 1e-3
    model.decoder.adaptive_softmax.dropout_module.p = 0.0  # the tails alone: so small that two masks may be equal
    assert median(train(criterion, model, sample, seed).log["kl_loss"].item() for seed in range(8)) > 1e-4


@pytest.mark.parametrize("tied", [ADAPTIVE, TIED])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_overflows_nowhere(task, way, tied, dtype):
    """12,000 tokens of two passes: their summed loss is beyond 65,504, the largest float16."""
    model, sample = build_model(task, LM, **tied, dropout=0.0), batch_for([0, 6, 11, 2, 8, 10] * 2000)
    softmax = model.decoder.adaptive_softmax
    features = 4 * torch.randn(2, 12000, 8, generator=torch.Generator().manual_seed(0))
    exact = train(build_criterion(NAME, task, **way), Features(features, softmax), sample)
    half = train(build_criterion(NAME, task, **way), Features(features, softmax).to(dtype), sample)
    assert exact.loss > 65504
    assert half.loss.dtype == torch.float32 and half.log["kl_loss"].dtype == torch.float32
    torch.testing.assert_close(half.loss, exact.loss, rtol=0.02, atol=0)
    assert half.grads["features"].isfinite().all()


def test_the_clusters_of_tied_weights(task):
    softmax = build_model(task, LM, **TIED).decoder.adaptive_softmax
    head, *tails = cluster_weights(softmax)
    assert head.shape == (6 + 2, 8) and [tail.shape for tail in tails] == [(2, 4), (4, 2)]
    assert torch.equal(head[:6], softmax.head.word_proj.weight)
    assert tails[0] is softmax.tail[0][2].weight
