#!/usr/bin/env bash
# Everything worth measuring on one GPU, in at most nine minutes: first whether it is right, then time and memory.
#
# Usage: benchmarks/gpu_report.sh [--out DIR] [--data BIN] [--quick]
#
#   --data BIN  binarized De-En text, on which the first updates of the IWSLT14 recipe are trained in half precision
#   --out DIR   folder of the results, written as they come (default: results/performance)
#   --quick     tiny sizes, for trying; runs without a GPU too
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

out=results/performance data= quick=
while [[ $# -gt 0 ]]; do
    case $1 in
        --out) take out "$@"; shift ;;
        --data) take data "$@"; shift ;;
        --quick) quick=--quick ;;
        -h | --help) usage && exit ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
out=$(realpath -m -- "$out")
cd "$ROOT"
find_python fairseq matplotlib
export PYTHONWARNINGS=ignore

have_gpu=$("$PYTHON" -c 'import torch; print(torch.cuda.is_available())')
[[ $have_gpu == True || -n $quick ]] || die "PyTorch sees no GPU here"
mkdir -p "$out"

# Each part has its share of the nine minutes; what one has written stays when the next one fails.
failed=0
part() { # seconds, command
    local limit=$1
    shift
    echo "== $*"
    timeout "$limit" "$@" || { echo "failed or out of time: $*" >&2; failed=1; }
}
if [[ $have_gpu == True ]]; then
    echo "== is it right?"
    "$PYTHON" -m pytest -q -p no:cacheprovider tests/test_gpu.py 2>&1 | tee "$out/gpu_tests.txt" ||
        die "the tests fail on this GPU; nothing was measured ($out/gpu_tests.txt)"
fi
if [[ -n $data ]]; then
    cpu=()
    [[ $have_gpu == True ]] || cpu=(common.cpu=true common.fp16=false)
    part 120 "$PYTHON" benchmarks/fp16_training.py --data "$data" --out "$out" ${quick:+--updates 10 --config configs/multi30k_deen} ${cpu[@]+"${cpu[@]}"}
fi
part 150 "$PYTHON" benchmarks/loss.py --out "$out" $quick
part 180 "$PYTHON" benchmarks/step.py --out "$out" $quick
exit $failed
