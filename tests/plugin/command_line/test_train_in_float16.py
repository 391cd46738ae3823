"""Training in float16 with fairseq's dynamic loss scaling: the fused loss trains as the plain one does."""

import re
from pathlib import Path

import pytest
from support.command_line import ADAPTIVE_LM, LM, RDROP, TRANSFORMER, make_data, make_text, start, train_argv

LM_TASK = ("--task", "rdrop_language_modeling", "--criterion")
# With one word, all of the text in each batch, its gradient is in the hundreds, as that of frequent words in the
# recipes. The clusters of adaptive softmax need more words.
KINDS = {
    "translation": (make_data, 1, (*TRANSFORMER, *RDROP, "--rdrop-alpha", "5")),
    "language model": (make_text, 1, (*LM, *LM_TASK, "rdrop_cross_entropy", "--rdrop-alpha", "1")),
    "adaptive softmax": (make_text, 18, (*ADAPTIVE_LM, *LM_TASK, "rdrop_adaptive_loss", "--rdrop-alpha", "0.5")),
}
# The loss scale doubles after four good updates, so that it meets its limit again and again.
FLOAT16 = ("--memory-efficient-fp16", "--fp16-scale-window", "4", "--max-update", "32", "--lr", "0.003")
FLOAT16 += ("--disable-validation", "--no-save", "--rdrop-loss")


@pytest.mark.parametrize("kind", KINDS)
def test_the_fused_loss_trains_as_the_plain_one(kind, tmp_path: Path):
    make, words, flags = KINDS[kind]
    argv = train_argv(make(tmp_path, words), *flags, "--batch-size", 36, *FLOAT16)
    running = {loss: start("support.train_in_float16", *argv, loss) for loss in ("fused", "plain")}
    results = {loss: process.result() for loss, process in running.items()}
    overflows, ends = {}, {}
    for loss, result in results.items():
        assert result.status == 0, result.stdout[-2000:] + result.stderr
        # Where all updates since the last line overflowed, there is no loss.
        nll_loss = [float(value) for value in re.findall(r'"nll_loss": "([\d.]+)".*"gnorm"', result.stdout)]
        ends[loss] = sum(nll_loss[-15:]) / 15
        assert ends[loss] < 0.9 * nll_loss[0]
        overflows[loss] = (result.stdout + result.stderr).count("gradient overflow detected")
    assert overflows["plain"] > 2
    assert overflows["fused"] == pytest.approx(overflows["plain"], abs=2)
    assert ends["fused"] == pytest.approx(ends["plain"], rel=0.05)
