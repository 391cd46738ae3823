#!/usr/bin/env bash
# Prepare CNN/DailyMail for BART: articles and summaries -> BART's BPE -> binarized data.
#
# Usage: scripts/prepare_cnn_dm.sh --from DIR (--bart DIR | --bpe N) [--out DIR] [--train-lines N] [--drop-known]
#            [--drop-empty] [--workers N]
#
#   --from DIR       folder with train, val and test, each as NAME.source and NAME.target, as fairseq's recipe for BART
#                    makes them: an article or a summary a line, cased and not tokenized
#   --bart DIR       folder with BART's BPE: encoder.json, vocab.bpe and dict.txt
#   --bpe N          in place of --bart, for a model from scratch: N pieces by SentencePiece
#   --out DIR        where the result goes (default: data/cnn_dm)
#   --train-lines N  use the first N training pairs (default: all)
#   --drop-known     leave out the training pairs whose article also stands in val or test; the paper does not
#   --drop-empty     leave out the pairs that have a line without text on a side, in every file, and say how many. The
#                    published stories have some without an article, and without this option they are an error
#   --workers N      processes (default: one for each core)
#
# The paper has 287,226 articles for training, 13,368 for validation and 11,490 for test; the command says so if the
# files have others. The result has the form that scripts/prepare_summarization.sh describes. BART's BPE is published at
# https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe/ (encoder.json, vocab.bpe, dict.txt).
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.summaries fairseq tqdm -- cnn_dm "$@"
