#!/usr/bin/env bash
# Prepare Chinese reviews with their sentiment for fairseq, most of them without their label: published texts ->
# reviews and labels -> characters -> binarized data.
#
# Usage: scripts/prepare_sentiment_zh.sh [--from FILE_OR_DIR] [--labeled N] [--out DIR] [--workers N]
#
#   --from       local sentiment.zip of bert4keras, or folder with it, or with sentiment.train.data or train.tsv, and
#                the same for valid and test (default: the archive is downloaded)
#   --labeled N  how many of the first training reviews keep their label, or their share as in 10% (default: 1%, which
#                is 168 of 16,883). The others get the label <unlabeled>
#   --out DIR    where the result goes (default: data/sentiment_zh in the repository)
#   --workers N  processes (default: one for each core)
#
# The result: raw/ (reviews and labels as text), bpe/ (characters) and bin/ (task.data); settings.json says how it was
# made. If the script is run again, it goes on after the last step that is done. Labels are 0 (negative) and 1.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.sentiment_zh fairseq torch tqdm -- "$@"
