#!/usr/bin/env bash
# Translate raw text with a trained run: a line for a line, from files or from the standard input.
#
# Usage: scripts/translate.sh RUN... [FILE...] [--interactive] [--nbest N] [--scores] [--beam N] [--lenpen X]
#                             [--average N | --average-best N] [--checkpoint FILE --data BIN]
#
#   RUN               a run folder of scripts/train.sh, or one of scripts/export.sh. Several runs of train.sh translate
#                     as one model, an ensemble
#   FILE              a text in UTF-8 with one sentence a line; - is the standard input, as is no FILE at all
#   --interactive     ask for sentences at a prompt, and translate each at once; ^D ends it
#   --nbest N         print the N best translations of each line, on N lines; N is at most the beam size
#   --scores          print the score of each translation and a tab before it: its log-probability to the base 2,
#                     divided by its length in subwords to the power of the length penalty
#   --beam N          the beam size (default: generation.beam in the run's config, or else 5)
#   --lenpen X        the length penalty (default: generation.lenpen in the run's config, or else 1)
#   --average N       translate with the average of the last N checkpoints (those saved by update, or else by epoch),
#                     not with the checkpoint that is best on validation
#   --average-best N  translate with the average of the N checkpoints that are best on validation
#   --checkpoint FILE --data BIN
#                     in place of RUN: a checkpoint of fairseq-train, or a folder of checkpoints, and its binarized
#                     data. If no prepare script made the data, the lines are taken as tokens or subwords as they are
#
# The text becomes subwords as the data of the run did (normalization, tokens, case, BPE), and the translation becomes
# plain text again. The run folder is enough for that: it can be moved to another machine, and its data be deleted.
#
# The translations go to the standard output, and all messages to stderr. The text is read in windows of 1,000 lines,
# or fewer if the input pauses, and each is printed when it is translated: so the text can have any length. An empty
# line stays empty. A line that is longer than the model's positions is cut after sentences, or else after words, and
# translated in parts; a message gives its number. A line that is not UTF-8 ends the command, after the translations of
# the lines before it.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.translate fairseq sacremoses subword_nmt -- "$@"
