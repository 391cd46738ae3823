# Run a command of the recipes package: source start.sh COMMAND MODULE... -- ARGUMENT... (see start.py)

unset CDPATH # if it is set, cd prints where it goes
scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd) || exit
python=python3
command -v python3 >/dev/null || python=$scripts/../.venv/bin/python3

# By default glibc gives the memory of a large tensor on a CPU back to the system at once, and asks for it again for the
# next tensor. With these settings it keeps the memory.
export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-8589934592}
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-4294967296}
exec "$python" "$scripts/recipes/start.py" "$0" "$@"
