"""Output projection, label-smoothed cross-entropy and divergence of M passes in one autograd function: torch only.

Neither the logits nor the probabilities of the whole batch ever exist. The forward goes through the tokens in chunks.
For each chunk it computes the logits, turns them in place into their own gradient, and multiplies that gradient at once
with the weights and the hidden states. Only a scaling is left for backward. So there are no more matrix products than
the three that every projection needs, nothing is computed twice, and the memory beyond the gradients does not grow with
the number of tokens.

The gradient, for a token with target ``y``, logits ``z_i``, probabilities ``p_i`` and log-probabilities ``l_i``: the
loss ``sum_i t_i [-(1 - V e) l_i[y] - e sum_v l_i[v]] + alpha D``, where ``t_i`` is the weight of the task's loss in
pass i and ``e`` what label smoothing gives to each word, has, by the free variables ``l_i``,

    g_i = -t_i (1 - V e) [v = y] - t_i e + alpha (p_i r_i + sum_j W[j][i] p_j)

(``r`` and ``W`` as in ``divergence.py``), and by the logits ``g_i - p_i sum_v g_i``. The sum of the first two terms is
-t_i, that of the last ``alpha (S_i + c_i)`` with ``S_i = p_i . r_i`` and ``c_i = sum_j W[j][i]``. The rows of W sum to
zero, so ``r_i`` from logits differs from ``r_i`` from log-probabilities only by a constant: in the gradient it cancels
against S, and ``D = sum_i (S_i - c_i log sum_v exp z_i[v])``. (The Jensen-Shannon divergence needs log-probabilities;
there c is 0, and ``D = sum_i S_i``. The gradient of the Bhattacharyya distance is by the logits from the start.)

The term ``-t_i e`` is the same for all words. To add it would cost a pass over the logits. It goes into the results of
the matrix products instead: as the sum of the weights and (in backward, with its scaling) the sum of the hidden states,
each times the ``t_i`` of its pass.

float16 holds nothing above 65504 and little below 6e-5. The trainer's loss scale, which keeps gradients between the
two, comes only in backward. So a chunk's gradient by the logits is multiplied by its own factor, with which its largest
element is 2^15. The plain formula overflows with a loss scale above twice that factor, so it keeps no smaller elements.
The products of that gradient are in float32. There the factor is divided out, and they stay in float32 until backward
has applied the loss scale. So the results are rounded to float16 once, and only those that do not fit become infinite.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rdrop_fairseq import fused_torch
from rdrop_fairseq.checks import (
    MEAN,
    NONE,
    SUM,
    check_classes,
    check_name,
    check_numbers,
    check_shape,
    check_tensor,
    may_look,
    split_passes,
    weights_of_passes,
)
from rdrop_fairseq.divergence import DIVERGENCES, accumulation_dtype
from rdrop_fairseq.fused_choice import choose_elementwise
from rdrop_fairseq.fused_torch import Facts, Settings, even_size, limit_for, slices
from rdrop_fairseq.watch import warn_if_no_effect

# Logits in a chunk. For each chunk the gradient of the weights, [V, D], is read and written once, beside products of
# 6 x rows x V x D operations. So it becomes cheap with many rows, and needs fewer rows where the processor does fewer
# operations in the time in which it moves a byte. On a CPU (about 10) 2^24 logits, 512 rows of a 32k vocabulary, did as
# well as 2^25 and better than 2^22; a GPU (about 200) needs eight times as many (calculated, not measured).
_CHUNK = {"cpu": 1 << 24, "cuda": 1 << 27}


class RDropLoss(NamedTuple):
    """Means or sums over the tokens that are not ignored: scalars, in float32 (float64 for float64)."""

    loss: Tensor  # label-smoothed cross-entropy, summed over the passes, plus alpha times the divergence; in nats
    nll_loss: Tensor  # negative log-likelihood, summed over the passes with their weights; not differentiable
    kl_loss: Tensor  # the divergence, in nats, averaged over the pairs of passes; not differentiable
    n_correct: Tensor  # how often the target is the likeliest word, summed as nll_loss; a sum, 0 without count_correct


def linear_rdrop_loss(
    hidden: Tensor | Sequence[Tensor],
    weight: Tensor,
    target: Tensor,
    alpha: float,
    *,
    bias: Tensor | None = None,
    passes: int = 2,
    divergence: str = "symmetric",
    label_smoothing: float = 0.0,
    label_smoothing_impl: str = "torch",
    ignore_index: int = -100,
    reduction: str = "mean",
    pass_weights: Sequence[float] | None = None,
    count_correct: bool = False,
    check: bool = True,
) -> RDropLoss:
    """Return R-Drop's loss (Liang et al., 2021, eq. 4) of M passes from the input of the output projection.

    Value and gradient of its ``loss`` equal those of::

        rdrop_loss(F.linear(hidden, weight, bias), target, alpha)

    but neither the logits nor the probabilities of the whole batch ever exist. The gradients are computed in the
    forward, so call it for training; under ``torch.no_grad`` no gradient is computed. Under autocast the matrix
    products are in its dtype; everything between them is at least in float32.

    Args:
        hidden: hidden states of M passes in any floating dtype, ``[M * N, ..., D]`` with the batch of the first pass
            before that of the second; or a tuple of M tensors ``[N, ..., D]``.
        weight: the weights of the output projection, ``[V, D]``.
        target: word indices of one pass ``[N, ...]``; they are 0 to V - 1 where they are not ignored.
        alpha: weight of the divergence, >= 0.
        bias: the bias of the output projection, ``[V]``; -inf forbids a word.
        passes: M >= 1; a tuple says by itself how many there are. With 1 there is no divergence.
        divergence: one of ``divergence.DIVERGENCES``.
        label_smoothing: epsilon in [0, 1).
        label_smoothing_impl: ``torch`` spreads epsilon over all V words, ``fairseq`` over the V - 1 other words.
        ignore_index: target of the positions that do not count (padding). They are dropped before the projection.
        reduction: ``mean`` over the tokens of one pass that count, or ``sum``. The mean of nothing is 0.
        pass_weights: the weight of the cross-entropy in each pass; 1 for each if None.
        count_correct: also count the correct words, which costs one more pass over the logits.
        check: refuse a loss that is NaN, on a CPU (on a GPU that would wait for it), and warn, once in a process, if
            the divergence stays near 0 in the first 100 batches.

    Returns:
        ``RDropLoss``; ``loss`` is differentiable, once, by ``hidden``, ``weight`` and ``bias``.

    Raises:
        ValueError: if the shapes do not fit together, a number or a target is out of range, or a name is unknown, and
            as ``check`` says. (It waits for a GPU once, to find the tokens that count.)
        TypeError: if ``hidden``, ``weight`` or ``target`` is no tensor, or a number is none.
        RuntimeError: in a second backward, or in one that is to be differentiated again (``create_graph=True``).
    """
    check_name("divergence", divergence, DIVERGENCES)
    check_name("label_smoothing_impl", label_smoothing_impl, ("torch", "fairseq"))
    if reduction == NONE:  # the gradient is computed before anything is known of what comes after the loss
        raise ValueError('reduction "none": must be mean or sum; rdrop_loss gives a value for each token')
    check_name("reduction", reduction, (MEAN, SUM))
    check_numbers(alpha, label_smoothing, ignore_index)
    hidden = split_passes(hidden, passes, "hidden", fewest=1)
    check_tensor("weight", weight)
    check_tensor("target", target)
    if target.is_floating_point():
        raise ValueError(f"target of type {target.dtype}: must be word indices; rdrop_loss takes probabilities too")
    if hidden.dim() < 2 or not hidden.size(-1):
        raise ValueError(f"hidden of shape {list(hidden.shape[1:])} in each pass: must be [N, ..., D] with D > 0")
    check_shape(target, hidden.shape[1:-1], hidden)
    if weight.dim() != 2 or weight.size(1) != hidden.size(-1) or not len(weight):
        raise ValueError(f"weight of shape {list(weight.shape)}: must be [V, {hidden.size(-1)}] with V > 0")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias of shape {list(bias.shape)}: must be [{weight.size(0)}]")
    vocab = len(weight)
    hidden, target = hidden.flatten(1, -2) if hidden.dim() > 2 else hidden.unsqueeze(1), target.flatten()
    target = target.long()
    kept = target.ne(ignore_index).nonzero().squeeze(-1)
    target = target[kept]
    check_classes(target, vocab, ignore_index)
    device = hidden.device.type
    dtype = hidden.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:  # which autocast leaves alone everywhere
        dtype = torch.get_autocast_dtype(device)
    epsilon = label_smoothing if vocab > 1 else 0.0  # where there is one word, there is no other to spread it over
    only_others = label_smoothing_impl == "fairseq"
    uniform = epsilon / max(1, vocab - only_others)
    with_grad = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, weight, bias))
    weights = weights_of_passes(pass_weights, len(hidden))
    settings = Settings(alpha, 1 - epsilon - only_others * uniform, uniform, divergence, with_grad, dtype, weights)
    with torch.autocast(device, enabled=False):
        result = RDropLoss(*_LinearRDropLoss.apply(hidden, weight, bias, target, kept, settings, count_correct))
    if check and may_look(result.loss) and result.loss.isnan():
        raise ValueError("hidden, weight or bias: hold NaN or infinity, and the loss is NaN")
    if check and alpha and len(weights) > 1:
        warn_if_no_effect(result.kl_loss, len(kept))
    if reduction == MEAN:
        loss, nll_loss, kl_loss = (value / max(1, len(kept)) for value in result[:3])
        result = RDropLoss(loss, nll_loss, kl_loss, result.n_correct)
    return result


class _LinearRDropLoss(torch.autograd.Function):
    """From hidden states ``[M, N, D]``, weights, bias, target ``[K]`` and its K positions to ``RDropLoss``'s fields."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        kept: Tensor,
        settings: Settings,
        count_correct: bool,
    ) -> tuple[Tensor, ...]:
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        hidden = hidden.to(settings.dtype)
        passes, _, width = hidden.shape
        tokens, vocab = len(kept), weight.size(0)
        dtype = accumulation_dtype(hidden)
        is_float16 = hidden.dtype == torch.float16
        uniform = settings.uniform
        for_hidden, for_weight, for_bias = (needed and settings.with_grad for needed in ctx.needs_input_grad[:3])
        grad_hidden = torch.zeros_like(hidden, dtype=dtype if is_float16 else None) if for_hidden else None
        grad_weight = torch.empty_like(weight, dtype=dtype) if for_weight else None
        grad_bias = weight.new_zeros(vocab, dtype=dtype) if for_bias else None

        matrix = weight.to(hidden.dtype)
        summed_matrix = matrix.sum(0, dtype=dtype)
        task = hidden.new_tensor(settings.pass_weights, dtype=dtype)
        minus = uniform * task.unsqueeze(-1) * summed_matrix
        summed_states = hidden.new_zeros(width, dtype=dtype)  # each state times the weight of its pass
        shift = None
        if bias is not None:  # -inf as a number, so that the logits of a forbidden word have a difference
            shift = bias.to(hidden.dtype).clamp_min(torch.finfo(hidden.dtype).min / 2)
        elementwise = choose_elementwise(hidden.device, hidden.dtype, passes, settings.kind)
        # In float16 torch's operations need the gradient of a whole chunk at once, to find its factor.
        limits = fused_torch.BLOCK if is_float16 and elementwise is fused_torch else _CHUNK
        chunk_size = even_size(tokens, passes * vocab, limit_for(limits, hidden))
        buffer = hidden.new_empty(chunk_size, passes, vocab)
        facts = hidden.new_zeros(len(Facts._fields), tokens, passes, dtype=dtype)
        by_token = hidden.transpose(0, 1)
        for chunk in slices(tokens, chunk_size):
            states = by_token.index_select(0, kept[chunk]).view(-1, width)  # the passes of a token side by side
            logits = buffer[: len(states) // passes]
            rows = logits.view(-1, vocab)
            if shift is None:
                torch.mm(states, matrix.t(), out=rows)
            else:
                torch.addmm(shift, states, matrix.t(), out=rows)
            known = Facts(*facts[:, chunk])
            if count_correct:
                known.correct.copy_(logits.argmax(-1).eq(target[chunk].unsqueeze(-1)))
            factor = elementwise.loss_and_gradient(logits, target[chunk], settings, known)
            # A state's summed logits are its product with the summed weights.
            known.summed_logits.copy_((states.to(dtype) @ summed_matrix).view(-1, passes))
            summed_states.add_((states.view(-1, passes, width) * task.unsqueeze(-1)).view(-1, width).sum(0))
            if grad_hidden is not None:
                product = _product(rows, matrix, factor).view(-1, passes, width)
                grad_hidden.transpose(0, 1).index_copy_(0, kept[chunk], product.sub_(minus))
            if grad_weight is not None and dtype == rows.dtype:
                grad_weight.addmm_(rows.t(), states, beta=int(chunk.start > 0))  # 0: without reading it
            elif grad_weight is not None:
                add = grad_weight.add_ if chunk.start > 0 else grad_weight.copy_
                add(_product(rows.t(), states, factor))
            if grad_bias is not None:
                summed_rows = rows.sum(0, dtype=dtype)
                grad_bias.add_(summed_rows if factor is None else summed_rows / factor)
        if grad_weight is not None and not tokens:
            grad_weight.zero_()

        known = Facts(*facts)
        nll_loss = (task * (known.log_sum - known.target_logit)).sum()
        kl_loss = known.divergence.sum()
        loss = settings.at_target * nll_loss + settings.alpha * kl_loss
        if uniform:  # the sum over the words of -l
            if bias is not None:
                known.summed_logits.add_(bias.to(hidden.dtype).sum(dtype=dtype))
            loss += uniform * (task * (vocab * known.log_sum - known.summed_logits)).sum()
        n_correct = (task * known.correct.sum(0)).sum()
        ctx.grads = grad_hidden, grad_weight, grad_bias
        at_words = uniform * sum(settings.pass_weights) * tokens
        ctx.uniform = 0.0, uniform * summed_states, at_words  # backward subtracts these
        ctx.mark_non_differentiable(nll_loss, kl_loss, n_correct)
        return loss, nll_loss, kl_loss, n_correct

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the fused loss can be differentiated once only")
        if ctx.grads is None:
            raise RuntimeError("backward through the fused loss a second time: it keeps its gradients for one")
        # Of one dimension, not none: a product of half precision with it is in float32.
        factor = grad_output.view(1)
        grads = [
            None if grad is None else _scaled(grad, factor).sub_(uniform * factor).to(dtype)
            for grad, uniform, dtype in zip(ctx.grads, ctx.uniform, ctx.dtypes, strict=True)
        ]
        ctx.grads = None
        return *grads, None, None, None, None


def _scaled(grad: Tensor, factor: Tensor) -> Tensor:
    """Return the gradient times the factor, in the factor's type, and in the gradient's memory if it has that type."""
    return grad.mul_(factor) if grad.dtype == factor.dtype else grad * factor


def _product(rows: Tensor, other: Tensor, factor: Tensor | None) -> Tensor:
    """Return the matrix product. If there is a factor, the product is in float32 and divided by the factor."""
    if factor is None:
        return torch.mm(rows, other)
    if rows.is_cuda and _PRODUCTS_IN_FLOAT32:
        return torch.mm(rows, other, out_dtype=torch.float32).div_(factor)
    return torch.mm(rows.float(), other.float()).div_(factor)


# Whether torch multiplies float16 matrices into a float32 one, as it does on GPUs since 2.8.
_PRODUCTS_IN_FLOAT32 = "dtype" in torch.ops.aten.mm.overloads()
