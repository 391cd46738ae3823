#!/usr/bin/env bash
# Decode the test sets of a translation run and score them.
#
# Usage: scripts/evaluate_translation.sh RUN... [--average N | --average-best N] [--beam N] [--lenpen X] [--out DIR]
#        scripts/evaluate_translation.sh --checkpoint FILE --data BIN [...]
#
#   RUN               a run folder of scripts/train.sh. Several runs with the same dictionaries decode as one model, an
#                     ensemble, on the data and with the settings of the first
#   --average N       decode with the average of the last N checkpoints (those saved by update, or else by epoch), not
#                     with the checkpoint that is best on validation
#   --average-best N  decode with the average of the N checkpoints that are best on validation; the run keeps as many as
#                     checkpoint.keep_best_checkpoints says
#   --beam N          the beam size (default: generation.beam in the run's config, or else 5)
#   --lenpen X        the length penalty (default: generation.lenpen in the run's config, or else 1)
#   --checkpoint FILE --data BIN
#                     in place of RUN: a checkpoint of fairseq-train, or a folder of checkpoints, and its binarized data
#   --out DIR         write the results to DIR, in place of RUN
#
# For each test set the command prints detokenized sacreBLEU with its signature, tokenized BLEU as multi-bleu.perl
# prints it, the same after compound splitting as in fairseq's compound_split_bleu.sh, and chrF with its signature. It
# uses the other settings under generation: in the run's config too. If the data is lower-cased, the scores are computed
# on lower-cased text. Chinese, Japanese and Korean are scored by sacreBLEU's tokenizers for them, and Thai and the like
# by characters. If there are several references, put them into the folders raw and tok of the data as NAME.LANG0,
# NAME.LANG1, ... If a line or its reference is longer than the positions of the model, the line is scored as empty; the
# command says how many such lines there are.
#
# The results are written to RUN/evaluation/best, average<N> or average_best<N>: hypotheses and references (.tok,
# .tok.ref0, .txt, .txt.ref0) and scores (.json). If you set --beam or --lenpen, the value is added to the name of the
# folder. Earlier results in that folder are replaced. The scores name the update and the SHA-256 of the checkpoint. The
# checkpoint is copied first, so the training can go on. The results of an ensemble are in the first run, in
# evaluation/ensemble_ with the names of the runs. The results of --checkpoint FILE are in a folder named after it, in
# evaluation/ beside FILE.
#
# With --checkpoint all settings come from the checkpoint. If no prepare script made BIN, its text is scored as the
# tokens that it holds, with subwords joined, and the references come from BIN too; the command says so.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.translation fairseq sacremoses sacrebleu -- "$@"
