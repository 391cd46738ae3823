#!/usr/bin/env bash
# Train a baseline and R-Drop side by side on a small generated German-English corpus, score both and compare.
#
# Usage: scripts/demo.sh [--seed N]
#
#   --seed N     seed of the two runs (default: 1); the corpus stays the same
#
# The data goes to data/demo, the runs to runs/demo, the table and the curves to runs/demo/report<N>. Stopped and started
# again, it goes on where it was; a finished demo only prints its table anew.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seed=1
while [[ $# -gt 0 ]]; do
    case $1 in
        --seed) take seed "$@"; shift ;;
        -h | --help) usage && exit ;;
        *) die "unknown option '$1' (see --help)" ;;
    esac
    shift
done
find_python fairseq sacrebleu matplotlib
cd "$ROOT"
data=data/demo variants=(baseline rdrop)
run_of() { echo "runs/demo/$1/seed$seed"; }

scripts/prepare_demo.sh

# Both runs at once, each with half of the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((($(cores) + 1) / 2))}
pids=()
problems=$(mktemp -d)
trap 'rm -rf "$problems"' EXIT
trap 'kill "${pids[@]}" 2>/dev/null; exit 130' INT TERM HUP
for variant in "${variants[@]}"; do
    RDROP_PARENT=$$ scripts/train.sh "configs/demo/$variant.yaml" --seed "$seed" 2>"$problems/$variant" >/dev/null &
    pids+=($!)
done
last_logged() { # KEY FILE: the value of a key when it was last logged
    { grep -o "\"$1\": \"[0-9.]*\"" "$2" 2>/dev/null || true; } | tail -n 1 | tr -dc '0-9.'
}
while sleep 10 && [[ -n $(jobs -rp) ]]; do
    line=
    for variant in "${variants[@]}"; do
        log=$(run_of "$variant")/train.log
        line+="$variant: update $(last_logged num_updates "$log"), validation BLEU $(last_logged valid_bleu "$log")   "
    done
    echo "$line"
done
for i in "${!variants[@]}"; do
    wait "${pids[i]}" || die "$(tail -n 1 "$problems/${variants[i]}")"
done

for variant in "${variants[@]}"; do
    echo "== $variant"
    scripts/evaluate_translation.sh "$(run_of "$variant")"
done
echo "== Translations of the first test sentences"
for number in 1 2 3 4 5; do
    echo
    printf '%-10s %s\n' source "$(sed -n "${number}p" $data/raw/test.de)" reference "$(sed -n "${number}p" $data/raw/test.en)"
    for variant in "${variants[@]}"; do
        printf '%-10s %s\n' "$variant" "$(sed -n "${number}p" "$(run_of "$variant")/evaluation/best/test.txt")"
    done
done
echo
"$PYTHON" "$SCRIPTS/report.py" --out "runs/demo/report$seed" "$(run_of baseline)" "$(run_of rdrop)"
echo
echo "The curves are in runs/demo/report$seed/curves.png. Remove runs/demo to run the demo anew."
