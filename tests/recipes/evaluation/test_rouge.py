"""The scores of summaries: values by hand, by words and by characters, their means and intervals."""

import pytest
from recipes import cli
from recipes.evaluation import rouge
from recipes.evaluation.measures import OF_SUMMARIES
from recipes.evaluation.rouge import describe, rouge_scores


def scored(summary: str, reference: str, by_characters: bool = False) -> list[float]:
    """ROUGE-1, ROUGE-2, ROUGE-L and, by characters, BLEU."""
    result = rouge_scores([[summary], [reference]], by_characters)
    return [result[key] for key in OF_SUMMARIES if key in result]


@pytest.mark.parametrize(
    ("summary", "reference", "expected"),
    [
        # 2 of 3 words and of 5; 1 of 2 pairs and of 4; "the cat" is the longest common subsequence
        ("the cat sat", "the cat ate the fish", [50, 100 / 3, 50]),
        # a stem is what remains of words of more than three letters
        ("Running horses!", "run horse", [100, 100, 100]),
        ("dogs", "dog", [100, 0, 100]),
        ("as", "a", [0, 0, 0]),
        # sentences end at periods: each is found whole, though their order differs
        ("d e f. a b c.", "a b c. d e f.", [100, 80, 100]),
        ("d e f a b c", "a b c d e f", [100, 80, 50]),
        ("don't (it)", "don t -it-", [100, 100, 100]),
        ("", "a b", [0, 0, 0]),
        ("é", "a b", [0, 0, 0]),
    ],
)
def test_rouge_by_words(summary, reference, expected):
    assert scored(summary, reference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("summary", "reference", "expected"),
    [
        # 6 of 9 characters, all 6; 4 of 8 pairs, of 5; BLEU (6/9 * 4/8 * 2/7 * 1/6) ** (1/4)
        ("基于深度学习的方法", "深度学习方法", [80, 800 / 13, 80, 100 * (1 / 63) ** 0.25]),
        # no sequence of 3 or 4: nltk's first smoothing counts 0.1; too short by one: exp(1 - 4/3)
        ("AB 丙", "a b丁丙", [85.7142857, 40, 85.7142857, 100 * (0.5 * 0.1 * 0.1) ** 0.25 * 2.718281828 ** (-1 / 3)]),
        # a character counts once
        ("啊啊啊啊", "啊", [100, 0, 100, 100 * (1 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1) ** 0.25]),
        ("", "甲", [0, 0, 0, 0]),
        (" . ", "甲", [0, 0, 0, 0]),
    ],
)
def test_rouge_and_bleu_by_characters(summary, reference, expected):
    assert scored(summary, reference, by_characters=True) == pytest.approx(expected, abs=1e-4)


def test_the_best_of_several_references_counts():
    result = rouge_scores([["a b"], ["c d"], ["a b"]], by_characters=False)
    assert result["rouge1"] == 100 and result["rouge_signature"].startswith("nrefs:2|")
    result = rouge_scores([["甲乙丙丁"], ["戊"], ["甲乙丙丁"]], by_characters=True)
    assert [result[key] for key in OF_SUMMARIES] == pytest.approx([100] * 4, abs=1e-4)


def test_a_mean_over_the_summaries_with_its_interval():
    texts = [["a b", "c d", "x y", "e f"], ["a b", "c d", "p q", "r s"]]
    result = rouge_scores(texts, by_characters=False)
    assert (result["sentences"], result["rouge1"]) == (4, 50)
    assert 40 <= result["rouge1_ci"] <= 50  # 1.96 * 50 / sqrt(4) = 49 for a normal mean; resamples are of 4
    assert rouge_scores(texts, by_characters=False) == result
    assert rouge_scores([["a b"] * 3] * 2, by_characters=False)["rouge1_ci"] == 0
    lines = describe("test", result).splitlines()
    assert lines[0].startswith("test (4 summaries") and lines[1].split()[:2] == ["ROUGE-1", "50.00"]
    assert "stem:porter|sentences:period|rouge-score:" in lines[-1]


def test_another_number_of_references_is_an_error():
    with pytest.raises(ValueError, match="2 hypotheses, and a reference of 1 lines"):
        rouge_scores([["a", "b"], ["a"]], by_characters=False)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="not installed: rouge-score; run make install"):
        rouge.metrics(by_characters=False)
