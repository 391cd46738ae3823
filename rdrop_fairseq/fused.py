"""Output projection, label-smoothed cross-entropy and divergence of M passes in one autograd function: torch only.

Neither the logits nor the probabilities of the whole batch ever exist. The forward goes through the tokens in chunks;
of each it takes the logits, turns them in place into their own gradient, and multiplies that gradient at once with the
weights and the hidden states. What is left for backward is a scaling. So the matrix products are the three that every
projection needs, nothing is computed twice, and the memory beyond the gradients does not grow with the tokens.

The gradient, for a token with target ``y``, logits ``z_i``, probabilities ``p_i`` and log-probabilities ``l_i``: the
loss ``sum_i [-(1 - eps) l_i[y] - eps / (V - 1) sum_{v != y} l_i[v]] + alpha D`` has, by the free variables ``l_i``,

    g_i = -(1 - eps - e) [v = y] - e + alpha (p_i r_i + sum_j W[j][i] p_j)        with e = eps / (V - 1)

(``r`` and ``W`` as in ``divergence.py``), and by the logits ``g_i - p_i sum_v g_i``. The sum of the first two terms is
-1, that of the last ``alpha (S_i + c_i)`` with ``S_i = p_i . r_i`` and ``c_i = sum_j W[j][i]``. The rows of W sum to
zero, so that ``r_i`` from logits is that from log-probabilities but for a constant: in the gradient it cancels against
S, and ``D = sum_i (S_i - c_i log sum_v exp z_i[v])``. (The Jensen-Shannon divergence wants log-probabilities, and then
``D = sum_i S_i``, as c is 0 there.)
The term ``-e``, the same for all words, would cost a pass over the logits: it goes into the results of the matrix
products instead, as the sum of the weights and (in backward, with its scaling) the sum of the hidden states.

float16 holds nothing above 65504 and little below 6e-5, and the trainer's loss scale, which keeps gradients between
the two, comes only in backward. So a chunk's gradient by the logits is multiplied by a factor of its own, with which
its largest element is 2^15. The plain formula overflows with a loss scale above twice that factor, so it keeps no
smaller elements. The products of that gradient are in float32, where the factor is divided out, and they stay there
until backward has applied the loss scale. So the results are rounded to float16 once, and only those that do not fit
become infinite.
"""

import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rdrop_fairseq.divergence import (
    DIVERGENCES,
    accumulation_dtype,
    float16_factor,
    gradient,
    log_ratios,
    pair_weights,
)

# Logits in a chunk. For each chunk the gradient of the weights, [V, D], is read and written once, beside products of
# 6 x rows x V x D operations: with the rows it becomes cheap, the sooner the fewer operations the processor does in the
# time in which it moves a byte. On a CPU (about 10) 2^24 logits, 512 rows of a 32k vocabulary, did as well as 2^25 and
# better than 2^22; a GPU (about 200) wants eight times as many (reckoned, not measured).
_CHUNK = {"cpu": 1 << 24, "cuda": 1 << 27}

# Logits on which torch's operations do the elementwise work at once. On a CPU they and two temporaries of their size
# stay in the last cache; fewer would stay in a nearer one, but then the calls of torch cost more than they save. On a
# GPU 2^22, which stay in its cache, made the head take 29 to 45 times as long as its matrix products (bfloat16, an
# H200): nearly all of that was launches.
_BLOCK = {"cpu": 1 << 20, "cuda": 1 << 25}


class RDropLoss(NamedTuple):
    """Sums over the tokens that are not ignored; scalars, in float32 (float64 for float64), but for the count."""

    loss: Tensor  # label-smoothed cross-entropy, summed over the passes, plus alpha times the divergence; in nats
    nll_loss: Tensor  # negative log-likelihood, summed over the passes; not differentiable
    kl_loss: Tensor  # the divergence, in nats, averaged over the pairs of passes; not differentiable
    n_correct: Tensor  # how often the target is the likeliest word, summed over the passes; 0 if it was not asked for


def linear_rdrop_loss(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    alpha: float,
    *,
    bias: Tensor | None = None,
    label_smoothing: float = 0.0,
    divergence: str = "symmetric",
    ignore_index: int | None = None,
    count_correct: bool = False,
) -> RDropLoss:
    """R-Drop's loss (Liang et al., 2021, eq. 4) of M passes from what goes into the output projection.

    Equal to ``hidden @ weight.T + bias``, log-softmax, label-smoothed cross-entropy summed over the passes (epsilon
    spread over the V - 1 other words, as in fairseq) and ``alpha`` times ``divergence.divergence``, in value and
    gradient. The gradients are computed in the forward, so call it for training; under ``torch.no_grad`` they are left
    out. Under autocast the products are in its dtype; everything between them is in float32 at least.

    Args:
        hidden: hidden states ``[M, ..., D]`` of M >= 2 passes, in any floating dtype.
        weight: of the output projection, ``[V, D]``.
        target: word indices ``[...]``, shared by the passes; 0 to V - 1 where they are not ignored.
        alpha: weight of the divergence, >= 0.
        bias: of the output projection, ``[V]``; -inf forbids a word.
        label_smoothing: epsilon in [0, 1).
        divergence: one of ``divergence.DIVERGENCES``.
        ignore_index: target of the positions that do not count (padding). They are dropped before the projection.
        count_correct: also count the correct words, for which one more pass over the logits is made.

    Returns:
        ``RDropLoss``; ``loss`` is differentiable, once, by ``hidden``, ``weight`` and ``bias``.

    Raises:
        ValueError: if the shapes do not fit together, if a number is out of its range, or if ``divergence`` is unknown.
        RuntimeError: in a second backward, or in one that is to be differentiated again (``create_graph=True``).
    """
    if divergence not in DIVERGENCES:
        raise ValueError(f"divergence {divergence!r}: must be one of {', '.join(DIVERGENCES)}")
    if hidden.dim() < 2 or hidden.size(0) < 2 or not hidden.size(-1):
        raise ValueError(f"hidden of shape {list(hidden.shape)}: must be [M, ..., D] with at least 2 passes and D > 0")
    if target.shape != hidden.shape[1:-1]:
        raise ValueError(f"target of shape {list(target.shape)}: must be {list(hidden.shape[1:-1])}, as in hidden")
    if weight.dim() != 2 or weight.size(1) != hidden.size(-1) or not len(weight):
        raise ValueError(f"weight of shape {list(weight.shape)}: must be [V, {hidden.size(-1)}] with V > 0")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias of shape {list(bias.shape)}: must be [{weight.size(0)}]")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha {alpha}: must be a finite number >= 0")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing {label_smoothing}: must be in [0, 1)")
    hidden, target = hidden.flatten(1, -2) if hidden.dim() > 2 else hidden.unsqueeze(1), target.flatten()
    kept = torch.ones_like(target) if ignore_index is None else target.ne(ignore_index)
    kept = kept.nonzero().squeeze(-1)
    target = target[kept]
    vocab = len(weight)
    if len(target) and not 0 <= (extremes := torch.stack(target.aminmax()).tolist())[0] <= extremes[1] < vocab:
        raise ValueError(f"target from {extremes[0]} to {extremes[1]}: must be 0 to {vocab - 1}, or ignore_index")
    device = hidden.device.type
    dtype = hidden.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:  # which autocast leaves alone everywhere
        dtype = torch.get_autocast_dtype(device)
    epsilon = label_smoothing if vocab > 1 else 0.0  # where there is one word, there is no other to spread it over
    uniform = epsilon / max(1, vocab - 1)
    with_grad = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, weight, bias))
    settings = _Settings(alpha, 1 - epsilon - uniform, uniform, divergence, count_correct, with_grad, dtype)
    with torch.autocast(device, enabled=False):
        return RDropLoss(*_LinearRDropLoss.apply(hidden, weight, bias, target, kept, settings))


class _Settings(NamedTuple):
    alpha: float
    at_target: float  # weight of the target's log-probability, 1 - eps - e
    uniform: float  # weight of every word's, e
    kind: str
    count_correct: bool
    with_grad: bool  # whether any gradient is wanted
    dtype: torch.dtype  # of the matrix products


class _LinearRDropLoss(torch.autograd.Function):
    """Hidden states ``[M, N, D]``, weights, bias, target ``[K]`` and the K positions that count, to ``RDropLoss``."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        kept: Tensor,
        settings: _Settings,
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
        summed_states = hidden.new_zeros(width, dtype=dtype)
        shift = None
        if bias is not None:  # -inf as a number, so that the logits of a forbidden word have a difference
            shift = bias.to(hidden.dtype).clamp_min(torch.finfo(hidden.dtype).min / 2)
        kernel = _kernel(hidden.device, hidden.dtype, passes, settings.kind)
        # In float16 torch's operations need the gradient of a whole chunk at once, to find its factor.
        limit = _limit(_BLOCK if is_float16 and kernel is None else _CHUNK, hidden)
        chunk_size = _chunk_size(tokens, passes * vocab, limit)
        buffer = hidden.new_empty(chunk_size, passes, vocab)
        facts = hidden.new_zeros(len(_Facts._fields), tokens, passes, dtype=dtype)
        by_token = hidden.transpose(0, 1)
        for chunk in _slices(tokens, chunk_size):
            states = by_token.index_select(0, kept[chunk]).view(-1, width)  # the passes of a token side by side
            logits = buffer[: len(states) // passes]
            rows = logits.view(-1, vocab)
            if shift is None:
                torch.mm(states, matrix.t(), out=rows)
            else:
                torch.addmm(shift, states, matrix.t(), out=rows)
            factor = _loss_and_gradient(logits, target[chunk], settings, facts[:, chunk], kernel)
            # A state's summed logits are its product with the summed weights.
            _Facts(*facts[:, chunk]).summed_logits.copy_((states.to(dtype) @ summed_matrix).view(-1, passes))
            summed_states.add_(states.sum(0, dtype=dtype))
            if grad_hidden is not None:
                product = _product(rows, matrix, factor).sub_(summed_matrix * uniform)
                grad_hidden.transpose(0, 1).index_copy_(0, kept[chunk], product.view(-1, passes, width))
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

        known = _Facts(*facts)
        nll_loss = (known.log_sum - known.target_logit).sum()
        kl_loss = known.divergence.sum()
        loss = settings.at_target * nll_loss + settings.alpha * kl_loss
        if uniform:  # the sum over the words of -l
            if bias is not None:
                known.summed_logits.add_(bias.to(hidden.dtype).sum(dtype=dtype))
            loss += uniform * (vocab * known.log_sum - known.summed_logits).sum()
        n_correct = known.correct.sum()
        ctx.grads = grad_hidden, grad_weight, grad_bias
        ctx.uniform = 0.0, uniform * summed_states, uniform * passes * tokens  # what is still to be taken off them
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
        return *grads, None, None, None


class _Facts(NamedTuple):
    """What is known of each token and pass, each ``[N, M]``."""

    log_sum: Tensor  # log sum_v exp(z_v)
    target_logit: Tensor
    summed_logits: Tensor  # less the bias
    divergence: Tensor  # its sum over the passes is the divergence
    correct: Tensor  # 1 where the target is the likeliest word


def _scaled(grad: Tensor, factor: Tensor) -> Tensor:
    """Return the gradient times the factor, in the factor's type: in the gradient's own memory if it has that type."""
    return grad.mul_(factor) if grad.dtype == factor.dtype else grad * factor


def _product(rows: Tensor, other: Tensor, factor: Tensor | None) -> Tensor:
    """Return the matrix product, divided by the factor if there is one: in float32 then, whatever the type of both."""
    if factor is None:
        return torch.mm(rows, other)
    if rows.is_cuda and _PRODUCTS_IN_FLOAT32:
        return torch.mm(rows, other, out_dtype=torch.float32).div_(factor)
    return torch.mm(rows.float(), other.float()).div_(factor)


# Whether torch multiplies float16 matrices into a float32 one, which it does on GPUs, from 2.8 on.
_PRODUCTS_IN_FLOAT32 = "dtype" in torch.ops.aten.mm.overloads()


def _loss_and_gradient(
    logits: Tensor, target: Tensor, settings: _Settings, facts: Tensor, kernel: Any = None
) -> Tensor | None:
    """Fill in the facts (but for the summed logits) and turn the logits ``[N, M, V]`` into their gradient.

    Of the gradient the part ``-e`` is left out. Returns the factor by which it is multiplied, ``[1]``, in float16;
    otherwise None, and it is not multiplied.
    """
    tokens, passes, vocab = logits.shape
    if kernel is not None:
        known = _Facts(*facts)
        if settings.count_correct:
            known.correct.copy_(logits.argmax(-1).eq(target.unsqueeze(-1)))
        return kernel.loss_and_gradient(logits, target, settings, known)
    factor = None
    is_float16 = logits.dtype == torch.float16
    block_size = tokens if is_float16 else _chunk_size(tokens, passes * vocab, _limit(_BLOCK, logits))
    scratch = facts.new_empty(2, block_size, passes, vocab)
    for block in _slices(tokens, block_size):
        part = logits[block]
        grad = _work(part, target[block], settings, _Facts(*facts[:, block]), scratch)
        if is_float16 and settings.with_grad:
            factor = float16_factor(grad)
            grad.mul_(factor)
        if grad is not part:
            part.copy_(grad)
    return factor


@functools.cache
def _kernel(device: torch.device, dtype: torch.dtype, passes: int, kind: str) -> Any:
    """Return the module of the GPU kernel, or None where it does not serve; once, a warning where it does not run."""
    if device.type != "cuda":
        return None
    module = _triton()
    return module if module is not None and module.supports(dtype, passes, kind) and _runs(device, dtype) else None


@functools.cache
def _triton() -> Any:
    """Return the module of the kernel, or None where Triton is not installed."""
    try:
        from rdrop_fairseq import fused_triton
    except ImportError:
        return None
    return fused_triton


@functools.cache
def _runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel compiles and runs on the device, which one token shows; warns where it does not.

    Triton compiles on the machine itself, which can lack a C compiler or have a GPU that Triton does not know.
    """
    kernel = _triton()
    logits = torch.zeros(1, 2, kernel.BLOCK, dtype=dtype, device=device)
    facts = torch.zeros(len(_Facts._fields), 1, 2, device=device)
    settings = _Settings(1.0, 1.0, 0.0, "symmetric", False, True, dtype)
    try:
        kernel.loss_and_gradient(logits, facts.new_zeros(1, dtype=torch.long), settings, _Facts(*facts))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton, its compilers and the driver each have exceptions of their own
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"R-Drop's GPU kernel does not run here, torch's own operations do: {reason}", stacklevel=2)
        return False
    return True


def _work(logits: Tensor, target: Tensor, settings: _Settings, facts: _Facts, scratch: Tensor) -> Tensor:
    """Fill in the facts and return the gradient of one block, in torch's own operations and the type of the facts.

    The gradient lies in the logits' own memory, unless they are in half precision.
    """
    _, passes, vocab = logits.shape
    probs, ratios = scratch[:, : len(logits)]
    values = logits.to(probs.dtype)  # the logits themselves, unless they are in half precision
    words = target.view(-1, 1, 1).expand(-1, passes, 1)
    facts.target_logit.copy_(values.gather(-1, words).squeeze(-1))
    if settings.count_correct:
        facts.correct.copy_(values.argmax(-1).eq(words.squeeze(-1)))
    torch.softmax(values, -1, out=probs)
    facts.log_sum.copy_(values.amax(-1) - probs.amax(-1).log_())
    weights = pair_weights(passes, settings.kind)
    columns = probs.new_tensor([sum(column) for column in zip(*weights, strict=True)])
    alpha = settings.alpha
    is_pair = passes == 2 and settings.kind != "js"  # then both ratios are multiples of one gap
    if is_pair:
        (_, to_second), (to_first, _) = weights
        gap = torch.sub(values[:, 1], values[:, 0], out=ratios.view(2, -1, vocab)[0])
        slopes = (to_second, -to_first)
        share = torch.mul(probs, gap.unsqueeze(1), out=values).sum(-1).mul_(probs.new_tensor(slopes))
    else:
        if settings.kind == "js":
            values.sub_(facts.log_sum.unsqueeze(-1))
        log_ratios(values.transpose(0, 1), settings.kind, out=ratios.transpose(0, 1))
        share = torch.mul(probs, ratios, out=values).sum(-1)  # the logits are not needed any more
    facts.divergence.copy_(share - columns * facts.log_sum)
    if not settings.with_grad:
        return logits
    constant = 1 - alpha * (share + columns)
    if is_pair:
        for this, other in ((0, 1), (1, 0)):
            grad, own = values[:, this], constant[:, this] + alpha * weights[this][this]
            torch.add(own.unsqueeze(-1), gap, alpha=alpha * slopes[this], out=grad).mul_(probs[:, this])
            if weights[other][this]:
                grad.add_(probs[:, other], alpha=alpha * weights[other][this])
    else:
        gradient(
            ratios.transpose(0, 1),
            probs.transpose(0, 1),
            settings.kind,
            out=values.transpose(0, 1),
            alpha=alpha,
            constant=constant.t().unsqueeze(-1),
        )
    values.scatter_add_(-1, words, values.new_full((), -settings.at_target).expand(words.shape))
    return values


def _limit(limits: dict[str, int], tensor: Tensor) -> int:
    return limits["cuda" if tensor.is_cuda else "cpu"]


def _chunk_size(tokens: int, numbers: int, limit: int) -> int:
    """How many of the tokens, each with so many numbers, to take at once: within the limit, in parts of one size."""
    parts = math.ceil(tokens / max(1, limit // numbers))
    return max(1, math.ceil(tokens / max(1, parts)))


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))
