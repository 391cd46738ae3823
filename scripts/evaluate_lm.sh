#!/usr/bin/env bash
# Compute the perplexity of a language model on its validation and test text, as fairseq-eval-lm does.
#
# Usage: scripts/evaluate_lm.sh RUN [--average N | --average-best N] [--tokens-per-sample N] [--context-window N]
#                               [--out DIR] [--checkpoint FILE --data BIN]
#
#   RUN                    a run folder of scripts/train.sh
#   --average N            evaluate the average of the last N checkpoints (those saved by update, or else by epoch), not
#                          the checkpoint that is best on validation
#   --average-best N       evaluate the average of the N checkpoints that are best on validation; the run keeps as many
#                          as checkpoint.keep_best_checkpoints says
#   --tokens-per-sample N  cut the text into samples of N tokens, at most the run's task.tokens_per_sample
#                          (default: 512, as in the paper, or task.tokens_per_sample if that is less)
#   --context-window N     score all tokens of a sample but the first N, which are only context. So each token has at
#                          least N tokens before it, except at the start of the text. N must be less than the tokens of
#                          a sample. 0 is the fastest, and is what validation in training does.
#                          (default: 400, as in the paper, or three quarters of a sample that is not longer)
#   --checkpoint FILE --data BIN
#                          in place of RUN: a checkpoint of fairseq-train, or a folder of checkpoints, and its binarized
#                          data. The results of FILE are in a folder named after it, in evaluation/ beside FILE
#   --out DIR              write the results to DIR, in place of RUN
#
# Each token of the text is scored once, with <unk> and the ends of lines. The text is not cut at lines, even if the
# training cut it there. The command prints what it counted, and fails if a token was left out. With adaptive softmax
# the perplexity of validation in training differs a little: fairseq's adaptive_loss leaves out one word of each tail.
#
# The results, valid.json and test.json, are written to RUN/evaluation/best, average<N> or average_best<N>. If you set
# the samples or the window, their values are added to that name. Earlier results in that folder are replaced. The
# results name the update and the SHA-256 of the checkpoint. The checkpoint is copied first, so the training can go on.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.language_model fairseq -- "$@"
