#!/usr/bin/env bash
# Make .venv and install into it what the demo, the tests and the linters need. If that is done, do nothing.
#
# Usage: [PYTHON=python3.12] scripts/install.sh
#
# On Linux PyPI's PyTorch brings CUDA, about 3 GB. To get the build for CPUs, about 0.2 GB, set before you install
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# A PyTorch that is in .venv already stays as it is. So to use another build or version, put it there first:
#     python3 -m venv .venv && .venv/bin/pip install torch==2.6.0 --index-url https://download.pytorch.org/whl/cu126
set -euo pipefail

# die MESSAGE: print one line on stderr and exit 1.
die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then # print the comment above
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
    exit
fi
[[ $# -eq 0 ]] || die "unknown option '$1' (see --help)"
unset CDPATH # with it, cd would print where it went
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
ROOT=$PWD

# version_of PYTHON: print its version, such as 3.12.
version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Use the Python of .venv if there is one.
python=.venv/bin/python
if [[ -L $python || -e $python ]]; then
    version=$(version_of "$python") || die ".venv is broken; remove it with: make distclean"
    [[ -z ${PYTHON:-} || $(version_of "$PYTHON") == "$version" ]] ||
        die ".venv has Python $version, which is not that of $PYTHON; remove it with: make distclean"
else
    python=${PYTHON:-python3}
    version=$(version_of "$python") || die "$python does not run; name another, as in: PYTHON=python3.12 make install"
fi
case $version in
    3.11 | 3.12 | 3.13) ;;
    *) die "$python is Python $version, and 3.11, 3.12 or 3.13 is needed; name one, as in: PYTHON=python3.12 make install" ;;
esac

# The stamp is a copy of what the installation depends on. It is written last, so that an interrupted one leaves none.
stamp=.venv/.installed
depends() {
    echo "$ROOT"
    cat setup.py pyproject.toml constraints.txt scripts/install.sh
}
if [[ -e $stamp ]]; then
    ! depends | cmp -s - "$stamp" || exit 0
    [[ $(head -n 1 "$stamp") == "$ROOT" ]] || die ".venv was made in another folder; remove it with: make distclean"
fi

# pip has a wheel of fairseq for Python 3.12 on Linux; on every other platform it compiles fairseq.
if [[ $version != 3.12 || $(uname -sm) != "Linux x86_64" ]]; then
    compiler=${CXX:-c++}
    command -v "${compiler%% *}" >/dev/null ||
        die "no C++ compiler (${compiler%% *}), which fairseq needs; on Debian or Ubuntu: apt install g++"
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        die "no Python.h for $python, which fairseq needs; on Debian or Ubuntu: apt install python$version-dev"
fi

mkdir -p .venv
exec 8>.venv/.lock
if command -v flock >/dev/null && ! flock -n 8; then
    echo "Another installation is at work in .venv; waiting for it"
    flock 8
    ! depends | cmp -s - "$stamp" 2>/dev/null || exit 0
fi
rm -f "$stamp"

# Remove what an interrupted installation left half-made. pip writes INSTALLER last, but does not check for it.
for info in .venv/lib/python3*/site-packages/*.dist-info; do
    [[ -e $info/INSTALLER ]] || rm -rf "$info"
done
rm -rf .venv/lib/python3*/site-packages/~*

start=$SECONDS
echo "Installing into .venv: Python $version, constraints.txt; several minutes the first time"
if [[ ! -e .venv/bin/activate ]] || ! compgen -G '.venv/lib/python3*/site-packages/pip-*.dist-info' >/dev/null; then
    "$python" -m venv .venv || die "$python -m venv failed; on Debian or Ubuntu: apt install python$version-venv"
fi
torch=$(.venv/bin/python -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null) || torch=
sed "${torch:+s/^torch==.*/torch==$torch/}" constraints.txt >.venv/constraints.txt
# torchvision goes with one version of torch: with another pip looks for the one that fits.
[[ -z $torch ]] || grep -qx "torch==${torch%+*}" constraints.txt || sed -i '/^torchvision==/d' .venv/constraints.txt
pip=(.venv/bin/python -m pip --disable-pip-version-check install -c .venv/constraints.txt)

# fairseq is compiled against the torch that is installed, so without isolation: with it pip would fetch a second torch.
# -O0 is for the extensions with torch's headers, which the plugin does not use; fairseq itself gives -O3 to the others.
# Meanwhile pip installs the rest: what constraints.txt pins, and triton, the largest package that it leaves open.
made=0
stage() { echo "[$((made += 1))/3] $*"; }
stage "PyTorch${torch:+ $torch, which is there}, and what compiles fairseq"
"${pip[@]}" -q torch numpy cython setuptools wheel
stage "fairseq (log: .venv/fairseq.log), and meanwhile the other packages of constraints.txt"
env -u CUDA_HOME CFLAGS="${CFLAGS:--O0 -DNDEBUG -fwrapv}" "${pip[@]}" --no-build-isolation --no-deps fairseq-fixed \
    >.venv/fairseq.log 2>&1 &
fairseq=$!
trap 'kill $fairseq 2>/dev/null || true' EXIT
"${pip[@]}" -q --no-build-isolation -r <(grep -v '^fairseq-fixed==' .venv/constraints.txt
    sed -n 's/^ *"\(triton; .*\)",.*/\1/p' setup.py)
wait "$fairseq" || { cat .venv/fairseq.log >&2; die "fairseq could not be installed; the log above says why"; }
trap - EXIT
stage "the plugin itself"
"${pip[@]}" -q --no-build-isolation -e '.[test,plots,examples]'

.venv/bin/python -W ignore -c 'import torchvision' 2>/dev/null ||
    echo "torchvision does not fit this PyTorch, which examples/ need; examples/README.md says what to do"

depends >"$stamp"
echo "Installed in $((SECONDS - start)) s"
