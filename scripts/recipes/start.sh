# Run a command of the recipes package: source start.sh COMMAND MODULE... -- ARGUMENT..., as start.py takes them.

unset CDPATH # with it, cd would print where it went
scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd) || exit
python=python3
command -v python3 >/dev/null || python=$scripts/../.venv/bin/python3

# glibc keeps the pages of large tensors on a CPU. By default it gives them back at once, and asks for them again.
export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-8589934592}
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-4294967296}
exec "$python" "$scripts/recipes/start.py" "$0" "$@"
