#!/usr/bin/env bash
# Score what a model predicts about sentences, on the validation set and on test sets with labels.
#
# Usage: scripts/evaluate_glue.sh RUN [--average N | --average-best N] [--out DIR] [--checkpoint FILE --data BIN]
#
#   RUN               a run folder of scripts/train.sh, of a config for the task rdrop_sentence_prediction
#   --average N       evaluate the average of the last N checkpoints (those saved by update, or else by epoch), not the
#                     checkpoint that is best on validation
#   --average-best N  evaluate the average of the N checkpoints that are best on validation; the run keeps as many as
#                     checkpoint.keep_best_checkpoints says
#   --checkpoint FILE --data BIN
#                     in place of RUN: a checkpoint of fairseq-train, or a folder of checkpoints, and its binarized data.
#                     The results of FILE are in a folder named after it, in evaluation/ beside FILE
#   --out DIR         write the results to DIR, in place of RUN
#
# The scores are those that GLUE uses, in percent, as fairseq computes them: the accuracy of classes, with Matthews'
# correlation if the run has criterion.report_mcc and F1 if it has criterion.report_acc_and_f1, and Pearson's and
# Spearman's correlation of numbers.
#
# The results, NAME.json and NAME.predictions (one for each row), are written to RUN/evaluation/best, average<N> or
# average_best<N>, where NAME is valid or that of a test set. Earlier results in that folder are replaced. The results
# name the update and the SHA-256 of the checkpoint. The checkpoint is copied first, so the training can go on.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.sentence_prediction fairseq -- "$@"
