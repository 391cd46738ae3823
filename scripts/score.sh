#!/usr/bin/env bash
# Score a translation that you have as plain text, with all that scripts/evaluate_translation.sh prints.
#
# Usage: scripts/score.sh HYPOTHESES REFERENCE... [--lang L] [--lowercase]
#
#   HYPOTHESES   the translation: plain text in UTF-8, one sentence a line; - is the standard input
#   REFERENCE    the text that it is compared with, line by line; several references are scored together
#   --lang L     the language of the texts, such as de (default: the ending of the first REFERENCE if it has two
#                letters, as in test.de, or else en). It selects the tokens, and sacreBLEU's tokenizer for Chinese,
#                Japanese and others
#   --lowercase  compare lower-cased text
#
# The command prints detokenized sacreBLEU and chrF with their signatures, and tokenized BLEU as multi-bleu.perl prints
# it, before and after compound splitting. The tokens are those of Moses' tokenizer, of both sides and without escapes. A
# run is scored on the tokens of its data, and so its tokenized BLEU can differ a little from that of its plain text.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.score_text sacremoses sacrebleu -- "$@"
