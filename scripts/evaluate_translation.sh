#!/usr/bin/env bash
# Decode the test sets of a translation run and score them.
#
# Usage: scripts/evaluate_translation.sh RUN [--average N | --average-best N] [--beam N] [--lenpen X]
#
#   RUN               run folder that scripts/train.sh made
#   --average N       decode with the mean of the last N checkpoints saved (by update, or else by epoch), not with the
#                     best on validation
#   --average-best N  decode with the mean of the N best on validation that checkpoint.keep_best_checkpoints kept
#   --beam N          beam size (default: generation.beam of the run's config, or else 5)
#   --lenpen X        length penalty (default: generation.lenpen of the run's config, or else 1)
#
# Prints for each test set: detokenized sacreBLEU with its signature; tokenized BLEU, the line that multi-bleu.perl
# prints; the same after compound splitting as in fairseq's compound_split_bleu.sh; chrF with its signature. What else
# the config sets under generation: is used too. Text whose data is lower-cased is scored lower-cased; Chinese with the
# tokenizer zh. More than one reference: put NAME.LANG0, NAME.LANG1, ... into the data's folders raw and tok. A line is
# scored as empty, and counted, if it or its reference is longer than the positions of the model.
#
# Writes hypotheses and references (.tok, .tok.ref0, .txt, .txt.ref0) and scores (.json), anew each time, to
# RUN/evaluation/best, or to average<N>, average_best<N>; with --beam or --lenpen to a name with the value at its end.
# The scores name the update and the SHA-256 of the checkpoint. It is copied first, so the training may go on meanwhile.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.translation fairseq sacremoses sacrebleu -- "$@"
