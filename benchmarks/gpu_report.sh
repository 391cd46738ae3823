#!/usr/bin/env bash
# Measure on one GPU in at most nine minutes: first check that the results are right, then measure time and memory.
#
# Usage: benchmarks/gpu_report.sh [--out DIR] [--data BIN] [--quick]
#
#   --data BIN  binarized De-En text, on which the first updates of the IWSLT14 recipe are trained in half precision
#   --out DIR   folder of the results; each is written as soon as it is measured (default: results/performance)
#   --quick     tiny sizes, for trying; it runs without a GPU too
set -euo pipefail
unset CDPATH # with it, cd would print where it went

die() {
    echo "gpu_report.sh: $*" >&2
    exit 1
}

out=results/performance data= quick= failed=0
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
cd "$(dirname -- "${BASH_SOURCE[0]}")/.."
python=python3
"$python" -c 'import fairseq, matplotlib' 2>/dev/null || python=.venv/bin/python3
export PYTHONWARNINGS=ignore
have_gpu=$("$python" -c 'import torch; print(torch.cuda.is_available())') || die "PyTorch is not installed; run make install"
[[ $have_gpu == True || -n $quick ]] || die "PyTorch sees no GPU here"
mkdir -p "$out"

# Run a part within its share of the nine minutes. What it has written stays if the next one fails.
part() { # SECONDS COMMAND...
    echo "== ${*:2}"
    timeout "$@" || { echo "failed or out of time: ${*:2}" >&2; failed=1; }
}
if [[ $have_gpu == True ]]; then
    echo "== is it right?"
    "$python" -m pytest -q -p no:cacheprovider tests/plugin/test_gpu.py 2>&1 | tee "$out/gpu_tests.txt" ||
        die "the tests fail on this GPU; nothing was measured ($out/gpu_tests.txt)"
fi
[[ $have_gpu == True ]] && cpu=() || cpu=(common.cpu=true common.fp16=false)
[[ -z $data ]] || part 120 "$python" benchmarks/fp16_training.py --data "$data" --out "$out" \
    ${quick:+--updates 10 --config configs/multi30k_deen} ${cpu[@]+"${cpu[@]}"}
part 150 "$python" benchmarks/loss.py --out "$out" $quick
part 180 "$python" benchmarks/step.py --out "$out" $quick
exit $failed
