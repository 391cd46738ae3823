#!/usr/bin/env bash
# Prepare the demo's data: a generated German-English corpus -> Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_demo.sh [--out DIR] [--workers N]
#
#   --out DIR        result (default: data/demo in the repository)
#   --workers N      processes (default: all cores)
#
# The corpus is that of scripts/make_demo_corpus.py. The result has the form that scripts/prepare_multi30k.sh describes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$ROOT/data/demo workers=$(cores) src=de tgt=en bpe=1000 pairs=1500
while [[ $# -gt 0 ]]; do
    case $1 in
        --out) take_path out "$@" ;;
        --workers) take_positive workers "$@" ;;
        -h | --help) usage && exit ;;
        *) die "unknown option '$1' (see --help)" ;;
    esac
    shift 2
done
find_python fairseq sacremoses subword_nmt tqdm

make_raw() {
    cp "$SCRIPTS"/recipes/data/demo_text/* "$1"
    about test
}

settings=("corpus: demo_text" "train-lines: $pairs" "bpe: $bpe")
open_out "$out" raw tok bpe bin
check_settings
step raw make_raw
finish_text_data
