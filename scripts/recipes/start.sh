# Run a command of the recipes package: source start.sh COMMAND MODULE... -- ARGUMENT... (see start.py)

unset CDPATH # if it is set, cd prints where it goes
scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd) || exit
python=python3
command -v python3 >/dev/null || python=$scripts/../.venv/bin/python3
source "$scripts/recipes/malloc.sh"
exec "$python" "$scripts/recipes/start.py" "$0" "$@"
