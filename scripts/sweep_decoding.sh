#!/usr/bin/env bash
# Choose beam size and length penalty of a translation run on its validation set, and score its test sets with them.
#
# Usage: scripts/sweep_decoding.sh RUN [--average N | --average-best N] [--beams N,...] [--lenpens X,...]
#
#   RUN               run folder that scripts/train.sh made
#   --average N       decode with the mean of the last N checkpoints saved, as in scripts/evaluate_translation.sh
#   --average-best N  decode with the mean of the N checkpoints that are best on validation
#   --beams N,...     beam sizes to try (default: 4,5,6)
#   --lenpens X,...   length penalties to try (default: 0.4,0.6,0.8,1,1.2,1.4,1.6)
#
# The validation set is decoded once for each beam size. That serves all length penalties: fairseq's beam search applies
# the penalty only to the scores of finished hypotheses, so those that one pass finishes are those of every penalty, and
# putting them in order anew gives what decoding anew would give (a test checks it). The setting with the highest
# tokenized BLEU (multi-bleu.perl's) on validation is chosen, of equals the first. Only then, and only with that one, the
# test sets are decoded.
#
# Prints the table of validation scores and the test scores of the choice. Writes the first to RUN/sweep/NAME/valid.json,
# the second to RUN/evaluation/NAME_beamN_lenpenX, where NAME is best, average<N> or average_best<N>.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.sweep fairseq sacremoses sacrebleu -- "$@"
