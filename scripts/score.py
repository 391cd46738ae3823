"""Score what fairseq-generate wrote: score.py GENERATED --lang L --tokens REF.tok --text REF --out DIR/NAME"""

import argparse
import json
import re
import sys
from pathlib import Path

from moses import detokenizer
from sacrebleu.metrics import BLEU, CHRF

# Python's split() also splits at these; Perl's, and so multi-bleu.perl, at ASCII white space alone.
_OTHER_SPACES = {char for char in map(chr, range(sys.maxunicode + 1)) if char.isspace()} - set(" \t\n\v\f\r")
_AS_LETTERS = str.maketrans({space: chr(0xE000 + number) for number, space in enumerate(sorted(_OTHER_SPACES))})


def hypotheses(generated: Path) -> list[str]:
    """Return the best hypothesis of each sentence, in corpus order, from fairseq-generate's output (its H lines)."""
    found: dict[int, str] = {}
    for line in read_lines(generated):
        if match := re.match(r"H-(\d+)\t[^\t]*\t(.*)", line, re.DOTALL):
            found.setdefault(int(match[1]), match[2])
    return [found[number] for number in sorted(found)]


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text; they end at newlines alone."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def tokenized_bleu(hypothesis: list[str], references: list[list[str]]) -> float:
    """BLEU in percent of texts that are tokenized already, as multi-bleu.perl counts it: unsmoothed, case-sensitive.

    Args:
        hypothesis: a line of tokens for each sentence.
        references: one or more reference texts, each with a line for each sentence.
    """
    texts = [[line.translate(_AS_LETTERS) for line in text] for text in (hypothesis, *references)]
    return BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(texts[0], texts[1:]).score


def scores(tokens: list[str], text: list[str], reference_tokens: list[str], reference_text: list[str]) -> dict:
    """Return the scores of a hypothesis, as tokens and as plain text, with the signatures of sacreBLEU."""
    bleu, chrf = BLEU(), CHRF()
    return {
        "sentences": len(text),
        "bleu": bleu.corpus_score(text, [reference_text]).score,
        "bleu_signature": str(bleu.get_signature()),
        "tokenized_bleu": tokenized_bleu(tokens, [reference_tokens]),
        "chrf": chrf.corpus_score(text, [reference_text]).score,
        "chrf_signature": str(chrf.get_signature()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("generated", type=Path)
    parser.add_argument("--lang", required=True, help="target language")
    parser.add_argument("--tokens", type=Path, required=True, help="tokenized reference")
    parser.add_argument("--text", type=Path, required=True, help="plain reference")
    parser.add_argument("--out", type=Path, required=True, help="prefix of the files to write")
    args = parser.parse_args()
    tokens = hypotheses(args.generated)
    references = read_lines(args.tokens), read_lines(args.text)
    for path, reference in zip((args.tokens, args.text), references, strict=True):
        if len(reference) != len(tokens):
            sys.exit(f"{args.generated} has {len(tokens)} hypotheses, {path} {len(reference)} lines")
    text = detokenizer(args.lang)(tokens)
    result = scores(tokens, text, *references)
    for suffix, lines in (("tok", tokens), ("txt", text)):
        Path(f"{args.out}.{suffix}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    Path(f"{args.out}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"{args.out.name} ({result['sentences']} sentences)\n"
        f"  BLEU            {result['bleu']:6.2f}  {result['bleu_signature']}\n"
        f"  tokenized BLEU  {result['tokenized_bleu']:6.2f}  as multi-bleu.perl\n"
        f"  chrF            {result['chrf']:6.2f}  {result['chrf_signature']}\n"
    )


if __name__ == "__main__":
    main()
