#!/usr/bin/env bash
# Prepare the demo's data: a generated German-English corpus -> Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_demo.sh [--out DIR] [--workers N]
#
#   --out DIR        result (default: data/demo in the repository)
#   --workers N      processes (default: all cores)
#
# The corpus is that of scripts/make_demo_corpus.py. The result has the form that scripts/prepare_multi30k.sh describes.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.demo fairseq sacremoses subword_nmt tqdm -- "$@"
