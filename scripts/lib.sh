# Shell functions that the scripts share. Source it after `set -euo pipefail`.

# An error in $(...) ends the script too. With CDPATH, cd would print where it went.
shopt -s inherit_errexit
unset CDPATH

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
SCRIPTS=$ROOT/scripts

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

# take_positive VARIABLE OPTION [VALUE...]: the same for a positive integer. In a range like 0-9 some locales have ½.
take_positive() {
    take "$@"
    [[ $3 != *[!0123456789]* && $3 != 0* ]] || die "$2 must be a positive integer, not '$3'"
    [[ ${#3} -le 10 && $3 -le 2147483647 ]] || die "$2 must be an integer up to 2147483647, not '$3'"
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
