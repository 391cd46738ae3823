#!/usr/bin/env bash
# Perplexity of a language model's run on its validation and test text, word by word, as fairseq-eval-lm counts it.
#
# Usage: scripts/evaluate_lm.sh RUN [--average N | --average-best N] [--tokens-per-sample N] [--context-window N]
#
#   RUN                    run folder that scripts/train.sh made
#   --average N            evaluate the mean of the last N checkpoints saved (by update, or else by epoch), not the best
#                          on validation
#   --average-best N       evaluate the mean of the N best on validation that checkpoint.keep_best_checkpoints kept
#   --tokens-per-sample N  the text goes through the model in samples of N words, at most those of training,
#                          task.tokens_per_sample (default: 512, as in the paper, or those of training if fewer)
#   --context-window N     all but the first N words of a sample are scored, fewer than it has: so each word has at
#                          least N before it, but for the first of the text. 0 is the fastest, and what validation in
#                          training does (default: 400, as in the paper, or three quarters of shorter samples)
#
# The text runs through, as in fairseq-eval-lm, however training cut it. Every word counts, <unk> and the end of each
# line too, each once; what was counted is printed, and fewer is an error. (Validation in training with adaptive softmax
# is a little off: fairseq's adaptive_loss leaves out one word of each tail.) Writes valid.json and test.json, anew each
# time, to RUN/evaluation/best, or to average<N>, average_best<N>; with the other options to a name with their values at
# its end. They name the update and the SHA-256 of the checkpoint. It is copied first, so the training may go on
# meanwhile.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.language_model fairseq -- "$@"
