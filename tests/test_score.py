"""scripts/score.py: tokenized BLEU as multi-bleu.perl counts it, and what it reads and refuses."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.append(str(SCRIPTS))
import score  # noqa: E402

LINE = "a b c d e f"


@pytest.mark.parametrize(
    "hypothesis, reference, expected",
    [
        ([LINE], [LINE], 100.0),
        # 5 of 6, 4 of 5, 3 of 4 and 2 of 3 n-grams
        (["a b c d e x"], [LINE], 100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25),
        # no 4-gram in common: 0, not smoothed
        (["a b c x e f"], [LINE], 0.0),
        (["A b c d e f"], [LINE], 100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25),
        # a no-break space is a letter for Perl: 5 tokens, of which 4 match, and a brevity penalty
        (["a\u00a0b c d e f"], [LINE], 100 * math.exp(1 - 6 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        (["a\u00a0b c d e f"], ["a\u00a0b c d e f"], 100.0),
        (["a\u00a0b c d e f"], ["a\u2003b c d e f"], 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        # counts are summed over the corpus; an empty hypothesis counts for the length alone
        ([LINE, ""], [LINE, LINE], 100 * math.exp(1 - 12 / 6)),
    ],
)
def test_tokenized_bleu_as_multi_bleu_counts_it(hypothesis, reference, expected):
    assert score.tokenized_bleu(hypothesis, [reference]) == pytest.approx(expected)


def test_hypotheses_are_in_corpus_order_and_keep_odd_characters(tmp_path):
    generated = tmp_path / "generate-test.txt"
    lines = ["S-1\tx", "H-1\t-0.5\tone\u2028more", "H-10\t-0.1\tten", "H-10\t-0.9\tsecond best", "H-2\t-1.0\t"]
    lines += ["D-2\t-1.0\tno"]
    generated.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert score.hypotheses(generated) == ["one\u2028more", "", "ten"]


def test_a_missing_hypothesis_is_refused(tmp_path):
    for name, text in (("generated", "H-0\t-0.5\ta\n"), ("tok", "a\nb\n"), ("txt", "a\nb\n")):
        (tmp_path / name).write_text(text)
    files = ["--tokens", tmp_path / "tok", "--text", tmp_path / "txt", "--out", tmp_path / "out"]
    command = [sys.executable, SCRIPTS / "score.py", tmp_path / "generated", "--lang", "en", *files]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0
    assert "has 1 hypotheses" in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("out*"))
