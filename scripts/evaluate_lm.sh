#!/usr/bin/env bash
# Perplexity of a language model's run on its validation and test text, word by word, as fairseq-eval-lm counts it.
#
# Usage: scripts/evaluate_lm.sh RUN [--average N | --average-best N] [--context-window N]
#
#   RUN                 run folder that scripts/train.sh made
#   --average N         evaluate the mean of the last N checkpoints saved (by update, or else by epoch), not the best on
#                       validation
#   --average-best N    evaluate the mean of the N best on validation that checkpoint.keep_best_checkpoints kept
#   --context-window N  words that every word has before it at least, but for the first of the text: N less than the
#                       words of a sample in training, task.tokens_per_sample. The text goes through the model in
#                       samples of that length, of which all but the first N words are scored. 0 is the fastest, and
#                       what validation in training does (default: 400, or three quarters of shorter samples)
#
# Every word counts, <unk> and the end of each line too, each once; what was counted is printed, and fewer is an error.
# Writes valid.json and test.json, anew each time, to RUN/evaluation/best, or to average<N>, average_best<N>; with
# --context-window to a name with the value at its end.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
become evaluate_lm fairseq -- "$@"
