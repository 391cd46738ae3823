# Shell functions that the scripts share. Source it after `set -euo pipefail`.

# An error in $(...) ends the script too. With CDPATH, cd would print where it went.
shopt -s inherit_errexit
unset CDPATH

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
SCRIPTS=$ROOT/scripts

# What a prepare script sets otherwise where its data differ: tokens in lower case; one BPE and one dictionary for both
# languages; options of check_parallel.py.
lowercase=no joint=yes checks=()

# die MESSAGE: one line on stderr, and out.
die() {
    local message=$*
    printf '%s: %s\n' "${0##*/}" "${message//$'\n'/\\n}" >&2
    exit 1
}

# usage: prints the comment that opens the calling script.
usage() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# take VARIABLE OPTION [VALUE...]: sets the variable, or dies where the option has no value.
take() {
    [[ $# -ge 3 && -n $3 && $3 != --* ]] || die "$2 needs a value (see --help)"
    printf -v "$1" '%s' "$3"
}

# take_path VARIABLE OPTION [VALUE...]: the same for a path, which gets ./ before a leading dash.
take_path() {
    take "$@"
    [[ $3 != *$'\n'* ]] || die "$2: a path must not hold a line break, as '$3' does"
    [[ $3 != -* ]] || printf -v "$1" './%s' "$3"
}

# take_positive VARIABLE OPTION [VALUE...]: the same for a positive integer. In a range like 0-9 some locales have ½.
take_positive() {
    take "$@"
    [[ $3 != *[!0123456789]* && $3 != 0* ]] || die "$2 must be a positive integer, not '$3'"
    [[ ${#3} -le 10 && $3 -le 2147483647 ]] || die "$2 must be an integer up to 2147483647, not '$3'"
}

# collect ARRAY COMMAND...: sets the array to the lines that a command prints, at least one; fails where it does.
collect() {
    local lines
    lines=$("${@:2}")
    mapfile -t "$1" <<<"$lines"
}

# cores: prints how many processes may run at once.
cores() {
    env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN
}

# find_python MODULE...: sets PYTHON to the active Python or that of the repository's .venv, whichever has the modules.
find_python() {
    local found missing
    for PYTHON in python3 "$ROOT/.venv/bin/python3"; do
        found=$("$PYTHON" -P -c 'if True:
            import importlib.util, sys
            print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))' "$@" 2>/dev/null) || continue
        [[ -n $found ]] || return 0
        missing=$found
    done
    die "not installed: ${missing:-$*}; run make install, or activate the environment that has it"
}

# keep_pages: has glibc keep the pages of large tensors on a CPU, which it would give back at once and get anew.
keep_pages() {
    export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-8589934592}
    export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-4294967296}
}

# tool NAME ARGUMENT...: runs scripts/NAME.py, which ends when the script does, however that ends.
tool() {
    tool_in . "$@"
}

# tool_in FOLDER NAME ARGUMENT...: the same in a folder. ^C is ignored until tool.py takes it: Python would answer it with
# a traceback while it starts.
tool_in() {
    local parent=$BASHPID
    (
        trap '' INT
        cd -- "$1"
        RDROP_PARENT=$parent exec "$PYTHON" "$SCRIPTS/recipes/tool.py" "${@:2}"
    )
}

# become NAME MODULE... -- ARGUMENT...: runs scripts/NAME.py, which needs the modules, in place of the calling script; or
# prints the usage where that is asked for.
become() {
    local name=$1 modules=() option
    shift
    while [[ $1 != -- ]]; do
        modules+=("$1")
        shift
    done
    shift
    for option in "$@"; do
        if [[ $option == -h || $option == --help ]]; then
            usage && exit
        fi
    done
    find_python "${modules[@]}"
    keep_pages
    PYTHONPATH=$ROOT exec "$PYTHON" "$SCRIPTS/$name.py" "$@"
}

# open_out FOLDER STEP...: sets OUT, STEPS and PART, a name for temporary files that no other run has, and makes the
# folder. Refuses one that holds something else, because steps replace folders in it, one in which another run is at work,
# and a path that fairseq or hydra would not take for a path in training.
open_out() {
    local path=$1
    [[ $path == /* ]] || path=$PWD/$path
    [[ ${path#"$ROOT/"} != *:* && ${path#"$ROOT/"} != *'${'* ]] ||
        die "--out: training cannot take a path that holds a colon or \${, as '$1' does"
    mkdir -p -- "$1" 2>/dev/null || die "cannot make the folder $1"
    OUT=$(cd -- "$1" && pwd)
    STEPS=("${@:2}")
    PART=$OUT/.part.$$
    local mine=$OUT/.prepare.lock held
    held=$(ls -A "$OUT" 2>/dev/null) || die "cannot read $OUT"
    [[ -e $mine || -z $held ]] || die "$OUT holds files that no prepare script made; use another --out"
    { exec 9>>"$mine"; } 2>/dev/null || die "cannot write to $OUT"
    if command -v flock >/dev/null; then
        flock -w 3 9 || die "another run is at work in $OUT"
    fi
    rm -rf "$OUT"/.part*
    trap 'echo "${0##*/}: interrupted; run it again to go on" >&2; exit 130' INT TERM
}

# is_done STEP: whether the folders of the step are there. Then they are whole: they got their names when they were.
is_done() {
    local folder
    for folder in $1; do
        [[ -d $OUT/$folder ]] || return 1
    done
}

# check_settings: adds the name of the script to `settings`, lines "NAME: VALUE". Where a step of any script is done,
# dies unless OUT/settings says the same. What it says of the sources (train.de, or texts) may be more: without --from
# they are not read. Before settings named the script they had the other lines.
check_settings() {
    local line name done_before=
    local -A made=() ours=()
    settings=("script: ${0##*/}" "${settings[@]}")
    for name in raw text tokens codes tok bpe bin; do
        ! is_done "$name" || done_before=yes
    done
    [[ -n $done_before ]] || return 0
    if [[ -f $OUT/settings ]]; then
        while IFS= read -r line; do
            [[ -z $line ]] || made[${line%%: *}]=$line
        done <"$OUT/settings"
    fi
    for line in "${settings[@]}"; do
        ours[${line%%: *}]=$line
    done
    for name in "${!made[@]}"; do # options first: the sources may differ because of one
        [[ -n ${ours[$name]-} || $name == *.* || $name == texts ]] ||
            die "$OUT was made with ${made[$name]}, not with no $name; use another --out"
    done
    for line in "${settings[@]}"; do
        name=${line%%: *}
        if [[ $name != script || -n ${made[script]-} ]]; then
            [[ ${made[$name]-} == "$line" ]] ||
                die "$OUT was made with ${made[$name]-no $name}, not with $line; use another --out"
        fi
    done
}

# step NAME COMMAND...: makes the folder OUT/NAME with COMMAND, which gets an empty folder to fill as its last argument,
# unless that is done. A step may make several folders: NAME is "raw tok", say, and the last argument the folder that
# holds them. Files that COMMAND leaves in PART, settings and testsets, go to OUT: they are whole when the folder is there.
# Once a step is made, the folders of those after it are stale and go.
step() {
    local name=$1 start=$SECONDS other folder file stale=
    shift
    if is_done "$name"; then
        echo "$name: done before"
        return
    fi
    rm -rf "$PART"
    mkdir "$PART"
    for folder in $name; do
        mkdir "$PART/$folder"
    done
    if [[ $name == *' '* ]]; then
        "$@" "$PART"
    else
        "$@" "$PART/$name"
    fi
    for other in "${STEPS[@]}"; do
        [[ $other != "$name" ]] || stale=yes
        for folder in ${stale:+$other}; do
            rm -rf "${OUT:?}/$folder"
        done
    done
    for file in settings testsets $name; do
        [[ ! -e $PART/$file ]] || mv "$PART/$file" "$OUT"
    done
    rm -rf "$PART"
    echo "$name: done in $((SECONDS - start)) s"
}

# about [TESTSET...]: writes the settings and the names of the test sets, for the first step.
about() {
    printf '%s\n' "${settings[@]}" >"$PART/settings"
    printf '%s' "${@/%/$'\n'}" >"$PART/testsets"
}

# text_option OPTION [VALUE]: takes one of the options that the scripts for files of parallel text share.
text_option() {
    case $1 in
        --from) take_path from "$@" ;;
        --pair) take pair "$@" ;;
        --train-lines) take_positive train_lines "$@" ;;
        --bpe) take_positive bpe "$@" ;;
        --out) take_path out "$@" ;;
        --workers) take_positive workers "$@" ;;
        *) die "unknown option '$1' (see --help)" ;;
    esac
}

# prepare_text_files FOLDER: all steps from files of parallel text to binarized data in FOLDER. Reads of the calling
# script, beside its options: src, tgt, settings, required and optional (names of texts; train and valid come first),
# sums (checksums of published files, or nothing) and the function source_of NAME LANG, which prints the address or path
# of a file, or nothing where there is none.
prepare_text_files() {
    local digests
    open_out "$1" raw tok bpe bin
    if [[ -n $from ]] || ! is_done raw; then
        find_sources
        collect digests source_settings
        settings+=("${digests[@]}")
    fi
    check_settings
    step raw make_raw
    finish_text_data
}

# find_sources: sets `names`, and `sources` to NAME.LANG=SOURCE for both sides of each.
find_sources() {
    local name one two
    names=() sources=()
    for name in $required $optional; do
        one=$(source_of "$name" "$src")
        two=$(source_of "$name" "$tgt")
        if [[ -z $one$two && " $optional " == *" $name "* ]]; then
            continue
        fi
        [[ -n $one ]] || die "$from has no $name.$src, neither as .gz nor uncompressed"
        [[ -n $two ]] || die "$from has no $name.$tgt, neither as .gz nor uncompressed"
        names+=("$name")
        sources+=("$name.$src=$one" "$name.$tgt=$two")
    done
}

# source_settings: prints "FILE: SHA-256" for each source. What only reads holds no lock.
source_settings() {
    local source digest
    for source in "${sources[@]}"; do
        if [[ -z $from ]]; then
            digest=$(grep -F " ${source##*/}" "$sums") || die "no checksum is known for ${source##*/}"
        else
            digest=$(tool digest "${source#*=}" 9>&-)
        fi
        echo "${source##*/}: ${digest%% *}"
    done
}

make_raw() {
    local name whole=$1/.whole head=() others=() known=()
    [[ $train_lines == all ]] || head=(--lines "$train_lines")
    if [[ -n $sums ]]; then
        known=(--sums "$sums")
        if printf '%s\n' "${sources[@]}" | grep -qv '\.gz$'; then
            echo "raw: no checksum is published for uncompressed files: only their form is checked"
        fi
    fi
    mkdir "$whole"
    tool fetch ${known[@]+"${known[@]}"} --out-dir "$whole" "${sources[@]}"
    checks+=(--langs "$src" "$tgt" --out-dir "$1")
    tool check_parallel "${checks[@]}" ${head[@]+"${head[@]}"} "$whole/train"
    for name in "${names[@]:1}"; do
        others+=("$whole/$name")
    done
    tool check_parallel "${checks[@]}" "${others[@]}"
    rm -r "$whole"
    about "${names[@]:2}"
}

# finish_text_data: the steps from OUT/raw/{train,valid,...}.{SRC,TGT} and OUT/testsets to binarized data: Moses tokens,
# joint BPE, fairseq-preprocess. Reads src, tgt, bpe (merges), lowercase (yes or no) and workers of the calling script.
finish_text_data() {
    step tok make_tok
    step bpe make_bpe
    step bin make_bin
}

make_tok() {
    local lower=()
    [[ $lowercase == no ]] || lower=(--lowercase)
    tool moses tokenize --workers "$workers" ${lower[@]+"${lower[@]}"} --out-dir "$1" "$OUT"/raw/*
}

make_bpe() {
    learn_bpe "$1" tok
    apply_bpe "$1" "$1" "$OUT"/tok/*
}

# learn_bpe CODES TEXTS: writes the codes, those of train in OUT/TEXTS, to the folder CODES.
learn_bpe() {
    local lang
    if [[ $joint == yes ]]; then
        tool bpe learn --workers "$workers" --codes "$1/codes" --merges "$bpe" "$OUT/$2/train.$src" "$OUT/$2/train.$tgt"
        return
    fi
    for lang in "$src" "$tgt"; do
        tool bpe learn --workers "$workers" --codes "$1/codes.$lang" --merges "$bpe" "$OUT/$2/train.$lang"
    done
}

# apply_bpe CODES FOLDER TEXT...: writes the subwords of the texts to the folder, with the codes in the folder CODES.
apply_bpe() {
    local codes=$1 folder=$2 lang text
    shift 2
    if [[ $joint == yes ]]; then
        tool bpe apply --workers "$workers" --codes "$codes/codes" --out-dir "$folder" "$@"
        return
    fi
    for lang in "$src" "$tgt"; do
        local texts=()
        for text in "$@"; do
            [[ $text != *."$lang" ]] || texts+=("$text")
        done
        tool bpe apply --workers "$workers" --codes "$codes/codes.$lang" --out-dir "$folder" "${texts[@]}"
    done
}

make_bin() {
    local joined=() tests
    [[ $joint == no ]] || joined=(--joined-dictionary)
    tests=$(sed 's|^|bpe/|' "$OUT/testsets" | paste -sd , -)
    binarize "$1" bpe --source-lang "$src" --target-lang "$tgt" ${joined[@]+"${joined[@]}"} \
        --trainpref bpe/train --validpref bpe/valid ${tests:+--testpref "$tests"}
}

# binarize FOLDER TEXTS OPTION...: runs fairseq-preprocess with the options into the folder; TEXTS is the folder in OUT
# that their paths start with. Runs in PART, because fairseq takes a comma in a path for the end of the path, and keeps
# the paths in a log, which is to be the same whatever run writes it.
binarize() {
    ln -s "../$2" "$PART"
    tool_in "$PART" binarize --log "$OUT/preprocess.log" "${@:3}" --destdir .part --workers "$workers"
    mv "$PART"/.part/* "$1"
    rm "$OUT/preprocess.log"
}
