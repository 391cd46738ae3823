#!/usr/bin/env bash
# Train a baseline and R-Drop side by side on a small generated German-English corpus, score both and compare.
#
# Usage: scripts/demo.sh [--seed N]
#
#   --seed N     seed of the two runs (default: 1); the corpus stays the same
#
# The data goes to data/demo, the runs to runs/demo, the table and the curves to runs/demo/report<N>. If it is stopped,
# the same command goes on where it was. When all is done, the command only prints the results again.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" demo fairseq sacrebleu matplotlib -- "$@"
