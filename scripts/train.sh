#!/usr/bin/env bash
# Train one configuration into one run folder; run again, it goes on from the last checkpoint.
#
# Usage: scripts/train.sh CONFIG [--seed N] [--out RUN] [key=value ...]
#
#   CONFIG       a fairseq-hydra-train config, e.g. configs/multi30k_deen/rdrop.yaml
#   --seed N     seed of the run (default: 1)
#   --out RUN    run folder (default: runs/<folder and name of the config>/seed<N>, under the repository)
#   key=value    other values for the config, e.g. optimization.max_update=1000
#
# RUN holds train.yaml (the whole config), train.log, checkpoints/, tensorboard/ and versions.txt. A folder that holds a
# run of another config is refused. Relative paths in a config start at the repository.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

config= seed=1 out= overrides=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --seed) take seed "$@"; shift ;;
        --out) take out "$@"; out=$(realpath -m -- "$out"); shift ;;
        -h | --help) usage && exit ;;
        -*) die "unknown option $1 (see --help)" ;;
        *=*) overrides+=("$1") ;;
        *) [[ -z $config ]] || die "two configs: $config and $1"
           config=$1 ;;
    esac
    shift
done
[[ -n $config ]] || die "no config given (see --help)"
[[ $seed =~ ^[0-9]+$ ]] || die "--seed must be an integer >= 0, not '$seed'"
[[ -f $config ]] || die "there is no config $config; there are: $(cd "$ROOT" && echo configs/*/*.yaml)"
config=$(realpath -- "$config")
find_python fairseq tensorboard

name=${config%.yaml}
[[ -n $out ]] || out=$ROOT/runs/$(basename "$(dirname "$name")")/$(basename "$name")/seed$seed
run=${out#"$ROOT/"}
cd "$ROOT"
"$PYTHON" "$SCRIPTS/make_run.py" --seed "$seed" "$config" "$run" ${overrides[@]+"${overrides[@]}"}

# glibc gives every large tensor back to the system at once and pays for its pages anew: keep them (CPU training).
export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-268435456} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-8589934592}
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-4294967296}
export PYTHONWARNINGS=${PYTHONWARNINGS:-ignore} # fairseq's own, of deprecated calls
echo "Training $run (log: $run/train.log)"
"$PYTHON" -c 'from fairseq_cli.hydra_train import cli_main; cli_main()' --config-dir "$run" --config-name train \
    2>&1 | tee -a "$run/train.log" || die "training failed; the log is $run/train.log"
echo "Done. Next: scripts/evaluate_translation.sh $run"
