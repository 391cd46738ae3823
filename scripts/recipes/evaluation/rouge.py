"""Score summaries: ROUGE of English as ROUGE-1.5.5 counts it, and ROUGE and BLEU of Chinese by characters.

The packages rouge-score, rouge and nltk do the counting. Each score is a metric of sacreBLEU, whose resampling gives
the confidence intervals, and whose paired tests compare two runs.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from sacrebleu.metrics.base import Metric, Score, Signature

from recipes.cli import need
from recipes.evaluation.measures import OF_SUMMARIES
from recipes.evaluation.score import check_lengths
from recipes.quiet import quiet

RESAMPLES = 1000  # for the confidence intervals, as ROUGE-1.5.5 -r 1000
Scorer = Callable[[str, tuple[str, ...]], dict[str, float]]  # from a summary and its references to scores from 0 to 1


class _Signature(Signature):
    """sacreBLEU's signature, with what counts the score. The confidence intervals change no score."""

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__({**args, "n_bootstrap": None, "seed": None})
        for key, value in args["counted"].items():
            self.update(key, value)


class Mean(Metric):
    """The mean of a score over the summaries, from 0 to 100."""

    _SIGNATURE_TYPE = _Signature

    def __init__(self, name: str, scorer: Scorer, counted: dict[str, str]) -> None:
        """Take a score of a scorer. `counted` says in the signature what it counts, and by which package."""
        super().__init__()
        self.name, self.scorer, self.counted = name, scorer, counted

    def _preprocess_segment(self, sent: str) -> str:
        return sent

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        return {"refs": tuple(refs)}

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[float]:
        return [100 * self.scorer(hypothesis, ref_kwargs["refs"])[self.name], 1]

    def _compute_score_from_stats(self, stats: Any) -> Score:
        return Score(self.name, float(stats[0] / stats[1]))

    def _aggregate_and_compute(self, stats: Any) -> Score:
        return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])


def metrics(by_characters: bool) -> dict[str, Mean]:
    """Return the scores of English summaries, or those by characters, by their names in OF_SUMMARIES.

    Exit if a package is missing.
    """
    need(["rouge", "nltk"] if by_characters else ["rouge_score"])
    if by_characters:
        scorer = _by_characters()
        counted = {"tok": "char", "case": "lc", "rouge": version("rouge"), "nltk": version("nltk")}
    else:
        scorer = _by_words()
        counted = {"stem": "porter", "sentences": "period", "rouge-score": version("rouge-score")}
    return {name: Mean(name, scorer, counted) for name in OF_SUMMARIES if by_characters or name != "character_bleu"}


def _by_words() -> Scorer:
    """Return ROUGE F1 as ROUGE-1.5.5 counts it with the options of files2rouge (-c 95 -r 1000 -n 2 -a -m).

    ROUGE-L is that of the whole summary: the union of the longest common subsequences of its sentences, which end at
    each period as files2rouge splits them. Of several references the one with the highest F1 counts.
    """
    from rouge_score.rouge_scorer import RougeScorer

    with quiet():
        scorer = RougeScorer(["rouge1", "rouge2", "rougeLsum"], use_stemmer=True)

    def sentences(text: str) -> str:
        return text.replace(".", "\n")

    @cache
    def score(summary: str, references: tuple[str, ...]) -> dict[str, float]:
        found = scorer.score_multi(list(map(sentences, references)), sentences(summary))
        return {key.removesuffix("sum"): value.fmeasure for key, value in found.items()}

    return score


def _by_characters() -> Scorer:
    """Return ROUGE F1 and BLEU by characters as github bojone/r-drop, csl.py, counts them.

    The text is lower-cased. ROUGE is that of the package rouge, which counts a character, or two, once however often it
    occurs. BLEU is nltk's of each sentence, with its first smoothing. An empty summary scores 0.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from rouge import Rouge

    rouge, smooth = Rouge(), SmoothingFunction().method1

    @cache
    def score(summary: str, references: tuple[str, ...]) -> dict[str, float]:
        made, *expected = (" ".join("".join(text.lower().split())) for text in (summary, *references))
        if not made.strip(". "):  # rouge takes a period for the end of a sentence
            return dict.fromkeys(OF_SUMMARIES, 0.0)
        found = [rouge.get_scores(made, one)[0] if one.strip(". ") else {} for one in expected]
        best = {key: max(of.get(key, {"f": 0.0})["f"] for of in found) for key in ("rouge-1", "rouge-2", "rouge-l")}
        bleu = sentence_bleu([one.split(" ") for one in expected], made.split(" "), smoothing_function=smooth)
        return dict(zip(OF_SUMMARIES, (*best.values(), float(bleu)), strict=True))

    return score


def rouge_scores(texts: list[list[str]], by_characters: bool) -> dict[str, Any]:
    """Return the scores of summaries, half the width of each 95% confidence interval, and the signature.

    Raise ValueError if a reference has more or fewer lines.

    Args:
        texts: the summaries followed by one or more references.
    """
    check_lengths(texts[0], texts)
    result: dict[str, Any] = {"sentences": len(texts[0])}
    for name, metric in metrics(by_characters).items():
        score = metric.corpus_score(texts[0], texts[1:], n_bootstrap=RESAMPLES)
        result |= {name: score.score, f"{name}_ci": float(score._ci)}
        result["rouge_signature"] = str(metric.get_signature())
    return result


def describe(name: str, result: dict[str, Any]) -> str:
    """Return the lines that tell a user the scores of a test set."""
    lines = [f"{name} ({result['sentences']} summaries; F1, and the 95% interval)"]
    for key, label in OF_SUMMARIES.items():
        if key in result:
            lines.append(f"  {label:<15}{result[key]:6.2f} ± {result[f'{key}_ci']:.2f}")
    return "\n".join([*lines, f"  {result['rouge_signature']}", ""])
