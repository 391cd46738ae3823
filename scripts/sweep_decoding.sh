#!/usr/bin/env bash
# Choose beam size and length penalty of a translation run on its validation set, and score its test sets with them.
#
# Usage: scripts/sweep_decoding.sh RUN... [--average N | --average-best N] [--beams N,...] [--lenpens X,...]
#                                  [--out DIR] [--checkpoint FILE --data BIN]
#
#   RUN               a run folder of scripts/train.sh. Several runs decode as one model, an ensemble
#   --average N       decode with the average of the last N checkpoints, as scripts/evaluate_translation.sh does
#   --average-best N  decode with the average of the N checkpoints that are best on validation
#   --beams N,...     the beam sizes to try (default: 4,5,6)
#   --lenpens X,...   the length penalties to try (default: 0.4,0.6,0.8,1,1.2,1.4,1.6)
#   --checkpoint FILE --data BIN
#                     in place of RUN: a checkpoint of fairseq-train, or a folder of checkpoints, and its binarized data
#   --out DIR         write the results to DIR, in place of RUN
#
# The command decodes the validation set once for each beam size. This is enough for all length penalties: fairseq's
# beam search uses the penalty only in the scores of finished hypotheses, so the same hypotheses are finished with each
# penalty, and only their order changes. (A test checks this.) The command chooses the setting with the highest
# tokenized BLEU (as multi-bleu.perl counts it) on validation, or the first of several. Then it decodes the test sets
# with this setting only.
#
# It prints a table of the validation scores, and the test scores of the chosen setting. The validation scores are
# written to RUN/sweep/NAME/valid.json, the test scores to RUN/evaluation/NAME_beamN_lenpenX. NAME is best, average<N>
# or average_best<N>; for several runs and for a FILE it is as scripts/evaluate_translation.sh says.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.sweep fairseq sacremoses sacrebleu -- "$@"
