#!/usr/bin/env bash
# Prepare texts and their summaries for fairseq: raw text -> pieces of the text -> binarized data.
#
# Usage: scripts/prepare_summarization.sh --from DIR --out DIR (--bpe N | --bart DIR) [--train-lines N] [--drop-known]
#            [--drop-empty] [--workers N]
#
#   --from DIR       folder with train, valid (or val, or dev) and test, each as NAME.source and NAME.target, a text and
#                    its summary a line in UTF-8, plain or as .gz
#   --out DIR        where the result goes
#   --bpe N          for a model from scratch: split the text by SentencePiece, with a vocabulary of N pieces that is
#                    learned from the texts and the summaries together
#   --bart DIR       for BART: split the text by its BPE. DIR holds encoder.json, vocab.bpe and dict.txt
#   --train-lines N  use the first N training pairs (default: all)
#   --drop-known     leave out the training pairs whose text also stands in valid or test
#   --drop-empty     leave out the pairs that have a line without text on a side, in every file, and say how many
#   --workers N      processes (default: one for each core)
#
# The result is one folder: raw/ (the text), bpe/ (its pieces, and what makes them), bin/ (what fairseq reads: this is
# task.data of a config, whose source_lang is "source" and target_lang "target") and settings.json. It is an error if
# the sides differ in length, or if a text or a summary is empty and --drop-empty is not given. The command says how
# many training texts also stand in valid or test. A run that is killed goes on when you start it again.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.summaries fairseq tqdm -- own "$@"
