# Shell functions of the prepare scripts for published archives. Source it after lib.sh.

# What their options set; `fetched` is the option of extract.py for archives that were downloaded.
fetched= pair= from= out= workers=$(cores) moses= lowercase=yes

# archive_options ARGUMENT...: takes the pair, one of `pairs`, and the options that these scripts share. Dies where the
# pair is another, or --from or --moses names nothing.
archive_options() {
    while [[ $# -gt 0 ]]; do
        case $1 in
            --from) take_path from "$@"; shift ;;
            --bpe) take_positive bpe "$@"; shift ;;
            --moses) take_path moses "$@"; shift ;;
            --out) take_path out "$@"; shift ;;
            --workers) take_positive workers "$@"; shift ;;
            --cased) [[ $lowercase == yes ]] || die "--cased: case is kept here anyway"
                lowercase=no ;;
            -h | --help) usage && exit ;;
            -*) die "unknown option '$1' (see --help)" ;;
            *) [[ -z $pair ]] || die "two pairs: $pair and $1"
                pair=$1 ;;
        esac
        shift
    done
    [[ -n $pair ]] || die "no pair given; there are $pairs"
    [[ " $pairs " == *" $pair "* ]] || die "unknown pair '$pair'; there are $pairs"
    [[ -z $from || -e $from ]] || die "--from: there is no '$from'"
    [[ -z $from || -f $from || -d $from ]] || die "--from: '$from' is neither a file nor a folder"
    [[ -z $from || -r $from ]] || die "--from: '$from' cannot be read"
    local script=scripts/tokenizer/tokenizer.perl
    [[ -z $moses || -f $moses/$script ]] || die "--moses: '$moses' is no checkout of Moses: it has no $script"
    [[ -z $moses ]] || command -v perl >/dev/null || die "--moses: perl is not installed"
}

# archive_settings: prints the settings that all these scripts check, and "NAME: SHA-256" for each of `archives`.
archive_settings() {
    local tokens='sacremoses' archive digest
    [[ -z $moses ]] || tokens='Perl scripts of Moses'
    printf '%s\n' "pair: $src-$tgt" "lowercase: $lowercase" "escaped: yes" "bpe: $bpe" "tokens: $tokens"
    for archive in ${archives[@]+"${archives[@]}"}; do
        digest=$(tool digest "$archive" 9>&-)
        echo "${archive##*/}: $digest"
    done
}

# download ADDRESS INSTEAD: adds the archive at the address to `archives`, from OUT/archives where it is there already.
# Where it cannot be had, dies with a line that ends in INSTEAD.
download() {
    local name=${1##*/}
    mkdir -p "$OUT/archives"
    [[ -f $OUT/archives/$name ]] || tool fetch --instead "$2" --out-dir "$OUT/archives" "$name=$1"
    archives+=("$OUT/archives/$name")
    fetched=--fetched
}

# tokens FOLDER OPTION... TEXT...: writes the Moses tokens of the texts to the folder.
tokens() {
    tool moses tokenize --workers "$workers" ${moses:+--moses "$moses"} --escape --out-dir "$@"
}

# finish PREFIX: tells what is next.
finish() {
    echo "The data is in $OUT/bin. Next: scripts/train.sh configs/$1_${pair/-/}/rdrop.yaml"
}

# prepare_iwslt: all steps of a year's IWSLT data. Reads of the calling script, beside its options: release (IWSLT14),
# foreign (the language that is not English), notes (what marks the lines of train.tags that go), testsets ("NAME=PART
# PART", a test set and the published ones it is made of), address (of the pair's archive), year (of the year's archive,
# as file name) and page (where it can be had).
prepare_iwslt() {
    src=$foreign tgt=en
    find_python fairseq sacremoses subword_nmt tqdm $([[ $foreign != zh ]] || echo jieba)
    open_out "${out:-$ROOT/data/${release,,}_$src$tgt}" text tokens 'raw tok' bpe bin
    archives=()
    if [[ -n $from ]] || ! is_done text; then
        find_iwslt_archive
    fi
    collect settings archive_settings
    check_settings
    step text make_iwslt_text
    step tokens make_iwslt_tokens
    step 'raw tok' make_iwslt_splits
    step bpe make_bpe
    step bin make_bin
    finish "${release,,}"
}

find_iwslt_archive() {
    local file instead="WIT3 has its archives on Google Drive: get $year from $page and pass it with --from FILE"
    if [[ -z $from ]]; then
        download "$address" "$instead"
        return
    fi
    if [[ -d $from ]]; then
        for file in "$from/$src-$tgt.tgz" "$from/$year"; do
            if [[ -f $file ]]; then
                archives=("$file")
                return
            fi
        done
        die "--from: $from has neither $src-$tgt.tgz nor $year"
    fi
    archives=("$from")
}

make_iwslt_text() {
    local members=$1/.members lang set part wanted=()
    local texts=("train=train.tags.$src-$tgt")
    for lang in "$src" "$tgt"; do
        part=train.tags.$src-$tgt.$lang
        wanted+=("$src-$tgt/$part=$part")
    done
    for set in "${testsets[@]}"; do
        local prefixes=
        for part in ${set#*=}; do
            part=$release.$part.$src-$tgt
            prefixes+=,$part.xml
            for lang in "$src" "$tgt"; do
                wanted+=("$src-$tgt/$part.$lang.xml=$part.xml.$lang")
            done
        done
        texts+=("${set%%=*}=${prefixes#,}")
    done
    mkdir "$members"
    tool archives $fetched --inner "texts/$src/$tgt/$src-$tgt.tgz" --out-dir "$members" "${archives[0]}" "${wanted[@]}"
    tool_in "$members" join_parallel --langs "$src" "$tgt" --notes "${notes[@]}" --out-dir "$1" -- "${texts[@]}"
    rm -r "$members"
    about "${testsets[@]%%=*}"
}

make_iwslt_tokens() {
    tokens "$1" "$OUT"/text/*
}

# A comma in a path would end it for join_parallel: it runs in OUT. Of the training pairs that clean-corpus-n.perl keeps each 23rd goes to valid; raw text follows its tokens.
make_iwslt_splits() {
    local clean=$1/.clean set kept=("train=${1##*/}/.clean/tok/train") text=("train=${1##*/}/.clean/raw/train")
    mkdir -p "$clean/tok" "$clean/raw" "$clean/cased"
    tool clean_parallel --langs "$src" "$tgt" --max 175 --out-dir "$clean/tok" --beside "$OUT/text/train" "$clean/raw" \
        "$OUT/tokens/train"
    for set in "${testsets[@]%%=*}"; do
        kept+=("$set=tokens/$set")
        text+=("$set=text/$set")
    done
    tool_in "$OUT" join_parallel --langs "$src" "$tgt" --every 23 --out-dir "$clean/cased" "${kept[@]}"
    tool_in "$OUT" join_parallel --langs "$src" "$tgt" --every 23 --out-dir "$1/raw" "${text[@]}" >/dev/null
    if [[ $lowercase == yes ]]; then
        tool moses lowercase --workers "$workers" ${moses:+--moses "$moses"} --out-dir "$1/tok" "$clean"/cased/*
    else
        mv "$clean"/cased/* "$1/tok"
    fi
}
