#!/usr/bin/env bash
# Prepare CSL, abstracts of Chinese papers and their titles, for fairseq: text -> characters -> binarized data.
#
# Usage: scripts/prepare_csl.sh --from DIR [--out DIR] [--train-lines N] [--workers N]
#
#   --from DIR       folder with CLUE's files for the generation of titles: one *train, one *val or *dev and one *test,
#                    each as .json or .jsonl (a line is an object with "abst" and "title") or as .tsv (a line is a
#                    title, a tab and an abstract)
#   --out DIR        where the result goes (default: data/csl)
#   --train-lines N  use the first N training pairs (default: all)
#   --workers N      processes (default: one for each core)
#
# The text is lower-cased, and each of its characters is a token; a space is one too, so that titles can be written as
# they were. The result has the form that scripts/prepare_summarization.sh describes.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.csl fairseq tqdm -- "$@"
