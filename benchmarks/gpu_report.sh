#!/usr/bin/env bash
# Everything worth measuring on one GPU, in at most nine minutes: first whether it is right, then time and memory.
#
# Usage: benchmarks/gpu_report.sh [--out DIR] [--data BIN] [--quick]
#
#   --data BIN  binarized De-En text, on which the first updates of the IWSLT14 recipe are trained in half precision
#   --out DIR   folder of the results, written as they come (default: results/performance)
#   --quick     tiny sizes, for trying; runs without a GPU too
set -euo pipefail

die() {
    echo "gpu_report.sh: $*" >&2
    exit 1
}

out=results/performance data= quick= root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
while [[ $# -gt 0 ]]; do
    case $1 in
        --out | --data)
            [[ -n ${2-} ]] || die "$1 needs a value (see --help)"
            printf -v "${1#--}" '%s' "$(realpath -m -- "$2")"
            shift ;;
        --quick) quick=--quick ;;
        -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" && exit ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
out=$(realpath -m -- "$out")
cd "$root"
python=python3
"$python" -c 'import fairseq, matplotlib' 2>/dev/null || python=.venv/bin/python3
export PYTHONWARNINGS=ignore

have_gpu=$("$python" -c 'import torch; print(torch.cuda.is_available())') || die "PyTorch is not installed; run make install"
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
    "$python" -m pytest -q -p no:cacheprovider tests/plugin/test_gpu.py 2>&1 | tee "$out/gpu_tests.txt" ||
        die "the tests fail on this GPU; nothing was measured ($out/gpu_tests.txt)"
fi
if [[ -n $data ]]; then
    cpu=()
    [[ $have_gpu == True ]] || cpu=(common.cpu=true common.fp16=false)
    part 120 "$python" benchmarks/fp16_training.py --data "$data" --out "$out" ${quick:+--updates 10 --config configs/multi30k_deen} ${cpu[@]+"${cpu[@]}"}
fi
part 150 "$python" benchmarks/loss.py --out "$out" $quick
part 180 "$python" benchmarks/step.py --out "$out" $quick
exit $failed
