"""Scores of a translation: BLEU as multi-bleu.perl counts it, before and after compound splitting, sacreBLEU, chrF.

Every count is sacrebleu's. What is here prepares the texts so that sacrebleu splits them where Perl does.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.bleu import BLEUScore

from recipes.files import read_lines, write_lines
from recipes.text.moses import detokenizer

# Python's split() also splits at these (all in the first plane); Perl's, and so multi-bleu.perl, at ASCII white space
# alone. Each becomes a lone surrogate: those never stand in a text that was read from UTF-8, so no two different tokens
# become equal.
_OTHER_SPACES = {char for char in map(chr, range(0x10000)) if char.isspace()} - set(" \t\n\v\f\r")
_AS_LETTERS = str.maketrans({space: chr(0xD800 + number) for number, space in enumerate(sorted(_OTHER_SPACES))})

# Ideographs, kana, CJK punctuation, full-width forms: a space beside one is none of the text.
_CJK = "[\u2e80-\u312f\u3190-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003134f]"
_SPACE_AT_CJK = re.compile(f"(?<={_CJK}) +| +(?={_CJK})")

# What an evaluation writes, as far as it is read again.
KINDS = {
    **dict.fromkeys(("bleu", "tokenized_bleu", "compound_split_bleu", "chrf", "perplexity", "sentences"), float),
    **dict.fromkeys(("lang", "bleu_signature", "chrf_signature", "checkpoint"), str),
    "lowercase": bool,
    "decoding": dict,
}


def split_compounds(line: str) -> str:
    """Return a line of tokens with hyphens inside words split off, as fairseq's compound_split_bleu.sh does it.

    Its Perl substitution s{(\\S)-(\\S)}{$1 ##AT##-##AT## $2}g works on bytes, and in one pass: of "a-b-c" it splits the
    first hyphen alone, for the b is used up; of "a-ü-c" both, for the ü is two bytes.

    Here multi-bleu.perl's count follows. That script gives the lines to fairseq-score, which counts otherwise in three
    cases: an empty line is one token, a no-break space parts two, and <unk> in the reference matches nothing.
    """
    return re.sub(rb"(\S)-(\S)", rb"\1 ##AT##-##AT## \2", line.encode()).decode()


def as_perl_splits(lines: list[str]) -> list[str]:
    """Return lines of tokens which Python's split() splits where Perl's splits the given ones."""
    return [line.translate(_AS_LETTERS) for line in lines]


def token_metric() -> BLEU:
    """Return sacrebleu's metric for lines that `as_perl_splits` gave: unsmoothed, case-sensitive BLEU of the tokens."""
    return BLEU(tokenize="none", smooth_method="none", force=True)


def text_metrics(lang: str, lowercase: bool) -> tuple[BLEU, CHRF]:
    """Return sacrebleu's metrics for plain text: BLEU (tokenizer zh for Chinese, 13a otherwise) and chrF."""
    return BLEU(lowercase=lowercase, tokenize="zh" if lang == "zh" else "13a"), CHRF(lowercase=lowercase)


def check_lengths(hypothesis: Sequence[object], references: Sequence[Sequence[object]]) -> None:
    """Raise ValueError unless each reference has a line for each line of the hypothesis: sacrebleu drops the others."""
    for reference in references:
        if len(reference) != len(hypothesis):
            raise ValueError(f"{len(hypothesis)} hypotheses, and a reference of {len(reference)} lines")


def multi_bleu(hypothesis: list[str], references: list[list[str]]) -> BLEUScore:
    """Return BLEU of texts that are tokenized already, as multi-bleu.perl counts it.

    Args:
        hypothesis: a line of tokens for each sentence.
        references: one or more reference texts, each with a line for each sentence.

    Raises:
        ValueError: a reference has more or fewer lines than the hypothesis.
    """
    check_lengths(hypothesis, references)
    return token_metric().corpus_score(as_perl_splits(hypothesis), [as_perl_splits(text) for text in references])


def multi_bleu_line(score: BLEUScore) -> str:
    """Return the line that multi-bleu.perl prints of a score.

    The precisions are computed as the script does it, 100 * (correct / total): sacrebleu's 100 * correct / total can be
    the last bit away, and then round otherwise. Where all hypotheses are empty, the script dies of a division by zero.
    """
    if not score.ref_len:
        return "BLEU = 0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)"
    counts = zip(score.counts, score.totals, strict=True)
    precisions = "/".join(f"{100 * (correct / total) if total else 0:.1f}" for correct, total in counts)
    lengths = f"ratio={score.ratio:.3f}, hyp_len={score.sys_len}, ref_len={score.ref_len}"
    return f"BLEU = {score.score:.2f}, {precisions} (BP={score.bp:.3f}, {lengths})"


def plain_text(tokens: list[str], lang: str, escaped: bool) -> list[str]:
    """Return lines of Moses tokens, or of segmented Chinese, as plain text.

    Args:
        escaped: whether the tokens hold Moses' escapes (&apos; for ', &amp; for &, ...).
    """
    text = detokenizer(lang, escaped)(tokens)
    return [_SPACE_AT_CJK.sub("", line) for line in text] if lang == "zh" else text


def scores(
    tokens: list[str],
    text: list[str],
    reference_tokens: list[list[str]],
    reference_text: list[list[str]],
    lang: str,
    lowercase: bool = False,
) -> dict[str, Any]:
    """Return the scores of a translation, as tokens and as plain text, with the signatures of sacreBLEU.

    Args:
        reference_tokens, reference_text: one or more references, as tokens and as plain text.
        lang: the target language.
        lowercase: whether the translation is lower-cased and is to be scored so.

    Raises:
        ValueError: the texts differ in their numbers of lines.
    """
    check_lengths(tokens, [text, *reference_tokens, *reference_text])
    bleu, chrf = text_metrics(lang, lowercase)
    unsplit = multi_bleu(tokens, reference_tokens)
    split, *split_references = [[split_compounds(line) for line in lines] for lines in (tokens, *reference_tokens)]
    compounds = multi_bleu(split, split_references)
    return {
        "sentences": len(text),
        "lang": lang,
        "lowercase": lowercase,
        "bleu": bleu.corpus_score(text, reference_text).score,
        "bleu_signature": str(bleu.get_signature()),
        "tokenized_bleu": unsplit.score,
        "tokenized_bleu_line": multi_bleu_line(unsplit),
        "compound_split_bleu": compounds.score,
        "compound_split_bleu_line": multi_bleu_line(compounds),
        "chrf": chrf.corpus_score(text, reference_text).score,
        "chrf_signature": str(chrf.get_signature()),
    }


def read_scores(path: Path, required: Sequence[str] = ()) -> dict[str, Any]:
    """Return the scores that an evaluation wrote; exit if one that is required is not there, or is none."""
    try:
        found = json.loads("\n".join(read_lines(path)))
    except (ValueError, RecursionError) as error:
        sys.exit(f"{path} is no JSON ({error}): evaluate the run again")
    if not isinstance(found, dict):
        sys.exit(f"{path} holds no scores: evaluate the run again")
    for key, kind in KINDS.items():
        value = found.get(key)
        if value is None:
            if key in found or key in required:
                sys.exit(f"{path} has no {key}: evaluate the run again")
        elif not _is_a(kind, value):
            sys.exit(f"{path}: {key} is {str(value)[:40]}, which no evaluation wrote: evaluate the run again")
    return found


def _is_a(kind: type, value: object) -> bool:
    if kind is not float:
        return isinstance(value, kind)
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def describe(name: str, result: dict[str, Any]) -> str:
    """Return the scores of a test set as lines for people."""
    case = ", lower-cased" if result["lowercase"] else ""
    note = "  (of segmented words: compares only within one segmentation)" if result["lang"] == "zh" else ""
    return (
        f"{name} ({result['sentences']} sentences{case})\n"
        f"  sacreBLEU                    {result['bleu']:6.2f}  {result['bleu_signature']}\n"
        f"  multi-bleu                   {result['tokenized_bleu_line']}{note}\n"
        f"  multi-bleu, compounds split  {result['compound_split_bleu_line']}\n"
        f"  chrF                         {result['chrf']:6.2f}  {result['chrf_signature']}\n"
    )


def write_scored(out: Path, name: str, texts: dict[str, list[str]], result: dict[str, Any]) -> None:
    """Write the texts of a scored test set as OUT/NAME.SUFFIX and its scores as OUT/NAME.json."""
    for suffix, lines in texts.items():
        write_lines(out / f"{name}.{suffix}", lines)
    (out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
