#!/usr/bin/env bash
# Prepare parallel text of your own for fairseq: raw text -> Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_text.sh --from DIR --pair S-T --out DIR [--train-lines N] [--drop-empty] [--no-test]
#            [--lowercase] [--bpe N] [--workers N]
#
#   --from DIR       folder with train, valid and at least one test* (test, test_news, ...), each as NAME.S and NAME.T,
#                    a sentence a line in UTF-8, plain or as .gz
#   --pair S-T       source and target language; both are the endings of the files, and Moses' rules go by them
#   --out DIR        where the result goes
#   --train-lines N  use the first N training pairs (default: all)
#   --drop-empty     leave out the pairs that have a line without text on a side, in every file, and say how many
#   --no-test        prepare train and valid alone: there is no test set to evaluate on then
#   --lowercase      lower-case the tokens, as Moses' lowercase.perl does (raw/ keeps case)
#   --bpe N          number of BPE merges, learned from both sides together (default: 10000)
#   --workers N      processes (default: one a core)
#
# The result has the form that scripts/prepare_multi30k.sh describes; in settings "lowercase: yes" marks lower-cased
# data. Sides of different length are an error, and so is a line without text unless --drop-empty is given. A byte order
# mark at the start of a file is left out.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

from= pair= train_lines=all bpe=10000 out= workers=$(cores) sums= drop_empty=no no_test=no
while [[ $# -gt 0 ]]; do
    case $1 in
        --lowercase) lowercase=yes ;;
        --drop-empty) drop_empty=yes ;;
        --no-test) no_test=yes ;;
        -h | --help) usage && exit ;;
        *) text_option "$@" && shift ;;
    esac
    shift
done
for option in from pair out; do
    [[ -n ${!option} ]] || die "--$option is missing (see --help)"
done
[[ $pair =~ ^[[:alnum:]_]+-[[:alnum:]_]+$ ]] || die "--pair must be two languages as in de-en, not '$pair'"
[[ -d $from ]] || die "--from: there is no folder '$from'"
src=${pair%-*} tgt=${pair#*-}
[[ $src != "$tgt" ]] || die "--pair: the languages of '$pair' must differ"
find_python fairseq sacremoses subword_nmt tqdm

source_of() {
    local file
    for file in "$from/$1.$2.gz" "$from/$1.$2"; do
        if [[ -f $file ]]; then
            echo "$file"
            return
        fi
    done
}

checks=(--drop-bom)
[[ $drop_empty == no ]] || checks+=(--drop-empty)

tests=
if [[ $no_test == no ]]; then
    # The names of what starts with "test" and ends in one of the languages, plain or as .gz.
    tests=$(printf '%s\n' "$from"/test* | sed -nE "s|.*/||; s/\.($src|$tgt)(\.gz)?\$//p" | LC_ALL=C sort -u)
    [[ -n $tests ]] || die "$from has no test.$src; --no-test prepares train and valid alone"
fi
[[ $tests != *[\ ,]* ]] || die "$from: a name of a test set holds a space or a comma, which fairseq does not take"
required="train valid $tests" optional=

settings=("pair: $pair" "train-lines: $train_lines" "bpe: $bpe" "lowercase: $lowercase")
[[ $drop_empty == no ]] || settings+=("drop-empty: yes")
[[ $no_test == no ]] || settings+=("no-test: yes")
prepare_text_files "$out"
echo "The data is in $OUT/bin: task.data of a config"
