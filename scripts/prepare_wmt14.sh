#!/usr/bin/env bash
# Prepare WMT14 for fairseq: the published corpora -> normalized Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_wmt14.sh PAIR [--from DIR] [--bpe N] [--moses DIR] [--out DIR] [--workers N]
#
#   PAIR           en-de (4.5 million pairs) or en-fr (36 million)
#   --from DIR     local folder with the published archives, by their names (default: download them)
#   --bpe N        number of BPE merges (default: 32000)
#   --moses DIR    normalize and tokenize with the Perl scripts of this checkout of Moses, not in Python
#   --out DIR      where the result goes (default: data/wmt14_ende or data/wmt14_enfr in the repository)
#   --workers N    processes (default: one a core)
#
# The steps and archives are those of fairseq's prepare-wmt14en2de.sh --icml17 (Europarl v7, Common Crawl, News
# Commentary v9: the training data of WMT14) and prepare-wmt14en2fr.sh (these, the UN corpus and Giga-FrEn): punctuation
# normalized in training text, tokens split at hyphens too, each 100th (En-De) or 1333rd (En-Fr) pair to valid, pairs of 1
# to 250 subwords and a ratio up to 1.5 kept in train and valid, newstest2014 as test set. The paper's dictionary has
# about 32k entries, hence 32,000 merges; fairseq's scripts learn 40,000. A line that is not UTF-8 is kept, with U+FFFD for
# its bad bytes, and counted.
#
# The result: bin/ (task.data), bpe/, and for valid and test the raw text (raw/) and the tokens (tok/) of the same lines;
# testsets, settings; of the steps before, archives/ (what was downloaded), text/, tokens/ and codes/. Run again, it goes
# on after the last step that is done.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$SCRIPTS/lib_archives.sh"

pairs='en-de en-fr' bpe=32000 lowercase=no
archive_options "$@"
[[ -z $from || -d $from ]] || die "--from: '$from' is no folder"

src=en tgt=${pair#en-} site=http://statmt.org
case $tgt in
    de) every=100 others=() ;;
    fr) every=1333 others=(wmt13/training-parallel-un.tgz wmt10/training-giga-fren.tar) ;;
esac
addresses=(wmt13/training-parallel-europarl-v7.tgz wmt13/training-parallel-commoncrawl.tgz
    wmt14/training-parallel-nc-v9.tgz ${others[@]+"${others[@]}"} wmt14/test-full.tgz)

# corpora ARCHIVE: prints "MEMBER=NAME.LANG" for each side of the text that is taken from the archive.
members_of() {
    local lang end corpus=
    case $1 in
        *europarl*) corpus=training/europarl-v7.$tgt-en ;;
        *commoncrawl*) corpus=commoncrawl.$tgt-en ;;
        *nc-v9*) corpus=training/news-commentary-v9.$tgt-en ;;
        *un.tgz) corpus=un/undoc.2000.$tgt-en ;;
        *giga*) corpus=giga-fren.release2.fixed end=.gz ;;
    esac
    for lang in "$src" "$tgt"; do
        if [[ -n $corpus ]]; then
            echo "$corpus.$lang${end-}=${corpus##*/}.$lang"
        elif [[ $lang == "$src" ]]; then
            echo "newstest2014-${tgt}en-src.$lang.sgm=newstest2014.sgm.$lang"
        else
            echo "newstest2014-${tgt}en-ref.$lang.sgm=newstest2014.sgm.$lang"
        fi
    done
}

find_archives() {
    local path name
    for path in "${addresses[@]}"; do
        name=${path##*/}
        if [[ -z $from ]]; then
            download "$site/$path" "where the archives are at hand, pass their folder with --from"
        elif [[ -f $from/$name ]]; then
            archives+=("$from/$name")
        else
            die "--from: $from has no $name"
        fi
    done
}

make_text() {
    local members=$1/.members archive found corpora=()
    mkdir "$members"
    for archive in "${archives[@]}"; do
        collect found members_of "$archive"
        tool archives $fetched --out-dir "$members" "$archive" "${found[@]}"
        found=${found[0]#*=}
        corpora+=("${found%."$src"}")
    done
    local train=("${corpora[@]::${#corpora[@]}-1}")
    tool_in "$members" join_parallel --langs "$src" "$tgt" --every "$every" --repair --out-dir "$1" \
        "train=$(IFS=, && echo "${train[*]}")" "test=${corpora[-1]}"
    rm -r "$members"
    about test
}

make_tokens() {
    tokens "$1" --aggressive --normalize "$OUT"/text/{train,valid}.*
    tokens "$1" --aggressive "$OUT"/text/test.*
}

make_codes() {
    learn_bpe "$1" tokens
}

make_splits() {
    local whole=$1/.whole
    mkdir "$whole"
    apply_bpe "$OUT/codes" "$whole" "$OUT"/tokens/*
    clean() { # NAME OPTION...
        tool clean_parallel --langs "$src" "$tgt" --max 250 --out-dir "$part/bpe" "${@:2}" "$whole/$1"
    }
    local part=$1
    clean train
    clean valid --beside "$OUT/text/valid" "$part/raw" --beside "$OUT/tokens/valid" "$part/tok"
    cp "$OUT"/text/test.* "$part/raw"
    cp "$OUT"/tokens/test.* "$part/tok"
    mv "$whole"/test.* "$part/bpe"
    cp "$OUT/codes/codes" "$part/bpe"
}

find_python fairseq sacremoses subword_nmt tqdm
open_out "${out:-$ROOT/data/wmt14_$src$tgt}" text tokens codes 'raw tok bpe' bin
archives=()
if [[ -n $from ]] || ! is_done text; then
    find_archives
fi
collect settings archive_settings
check_settings
step text make_text
step tokens make_tokens
step codes make_codes
step 'raw tok bpe' make_splits
step bin make_bin
finish wmt14
