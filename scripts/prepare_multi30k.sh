#!/usr/bin/env bash
# Prepare Multi30k for fairseq: raw captions -> Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_multi30k.sh [--from DIR] [--pair de-en] [--train-lines N] [--bpe N] [--out DIR] [--workers N]
#
#   --from DIR       local folder with the published .gz files or the same uncompressed (default: download them)
#   --pair S-T       source and target language, two of de, en and fr (default: de-en)
#   --train-lines N  use the first N training pairs (default: all 29,000)
#   --bpe N          number of BPE merges, learned from both sides together (default: 10000)
#   --out DIR        where the result goes (default: data/multi30k_deen in the repository, named after the pair)
#   --workers N      processes (default: one a core)
#
# The result: raw/, tok/, bpe/, bin/ (task.data), testsets (the names of bin's test, test1, ...), settings. Run again,
# it goes on after the last step that is done. Tokens keep case and punctuation and are not escaped: detokenized, they
# give the raw text. A line without text is an error, for the published files have none.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

address=https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw
sums=$SCRIPTS/recipes/data/checksums/multi30k.sha256
pairs='de-en en-de de-fr fr-de en-fr fr-en'
required='train valid test_2016_flickr'
optional='test_2017_flickr test_2017_mscoco test_2018_flickr'

from= pair=de-en train_lines=all bpe=10000 out= workers=$(cores)
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help) usage && exit ;;
        *) text_option "$@" ;;
    esac
    shift 2
done
[[ " $pairs " == *" $pair "* ]] || die "unknown pair '$pair'; there are $pairs"
[[ -z $from || -d $from ]] || die "--from: there is no folder '$from'"
src=${pair%-*} tgt=${pair#*-}
find_python fairseq sacremoses subword_nmt tqdm

source_of() {
    local published=${1/#valid/val}.$2.gz file
    if [[ -z $from ]]; then
        echo "$address/$published"
        return
    fi
    for file in "$from/$published" "$from/${published%.gz}" "$from/$1.$2"; do
        if [[ -f $file ]]; then
            echo "$file"
            return
        fi
    done
}

settings=("pair: $pair" "train-lines: $train_lines" "bpe: $bpe")
prepare_text_files "${out:-$ROOT/data/multi30k_$src$tgt}"
echo "The data is in $OUT/bin. Next: scripts/train.sh configs/multi30k_$src$tgt/rdrop.yaml"
