#!/usr/bin/env bash
# Prepare the demo's data: German-English sentences -> Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_demo.sh [--out DIR] [--workers N]
#
#   --out DIR        where the result goes (default: data/demo in the repository)
#   --workers N      processes (default: one for each core)
#
# The sentences come with the scripts: 1,500 pairs to train on, 300 for validation and 500 for the test.
# The result has the form that scripts/prepare_multi30k.sh describes.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.demo fairseq sacremoses subword_nmt tqdm -- "$@"
