# What prepare_wikitext2.sh and prepare_wikitext103.sh share. Source it after `set -euo pipefail`.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# prepare_wikitext CORPUS FOLDER [OPTION...]: makes binarized data of wikitext-2 or wikitext-103, in data/FOLDER unless an
# option names another.
prepare_wikitext() {
    local corpus=$1 folder=$2 archive=$1-v1.zip from= out= train_lines=all workers head=() settings texts
    workers=$(cores)
    shift 2
    while [[ $# -gt 0 ]]; do
        case $1 in
            --from) take_path from "$@" ;;
            --out) take_path out "$@" ;;
            --train-lines) take_positive train_lines "$@" ;;
            --workers) take_positive workers "$@" ;;
            -h | --help) usage && exit ;;
            *) die "unknown option '$1' (see --help)" ;;
        esac
        shift 2
    done
    [[ -z $from || -e $from ]] || die "--from: there is no '$from'"
    [[ -z $from || -f $from || -d $from ]] || die "--from: '$from' is neither a file nor a folder"
    [[ -z $from || ! -f $from/$archive ]] || from=$from/$archive
    [[ ${from##*/} != wikitext-+([0-9])-v1.zip || ${from##*/} == "$archive" ]] || die "--from: ${from##*/} is not $archive"
    find_python fairseq tqdm
    open_out "${out:-$ROOT/data/$folder}" raw bin
    [[ $train_lines == all ]] || head=(--train-lines "$train_lines")
    settings=("corpus: $corpus" "train-lines: $train_lines")
    if [[ -n $from ]] && is_done raw; then
        texts=$(tool wikitext digest "$corpus" "$from" ${head[@]+"${head[@]}"} 9>&-)
        settings+=("$texts")
    fi
    check_settings
    step raw make_texts
    step bin make_words_bin
    echo "The data is in $OUT/bin. Next: scripts/train.sh configs/${folder}_gpt/rdrop.yaml or ${folder}_adaptive"
}

make_texts() {
    local source=$from
    if [[ -z $from || ${from##*/} == "$archive" ]]; then
        tool fetch --sums "$SCRIPTS/recipes/data/checksums/wikitext.sha256" --out-dir "$1" \
            "$archive=${from:-https://wikitext.smerity.com/$archive}"
        source=$1/$archive
    else
        echo "raw: a checksum is published for $archive alone: of $from only the form is checked"
    fi
    tool wikitext copy "$corpus" "$source" ${head[@]+"${head[@]}"} --out-dir "$1"
    rm -f "$1/$archive"
    printf '%s\n' "${settings[@]}" >"$PART/settings"
    tool wikitext digest "$corpus" "$1" >>"$PART/settings"
}

make_words_bin() {
    binarize "$1" raw --only-source --trainpref raw/train.txt --validpref raw/valid.txt --testpref raw/test.txt
}
