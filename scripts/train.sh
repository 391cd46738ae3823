#!/usr/bin/env bash
# Train one configuration into one run folder; run again, it goes on from the last checkpoint.
#
# Usage: scripts/train.sh CONFIG [--seed N] [--out RUN] [--gpus N | --cpu-processes N]
#                         [--nodes N --node-rank R --master HOST:PORT] [key=value ...]
#
#   CONFIG              a fairseq-hydra-train config, e.g. configs/multi30k_deen/rdrop.yaml
#   --seed N            seed of the run (default: 1)
#   --out RUN           run folder (default: runs/<folder and name of the config>/seed<N>, under the repository)
#   --gpus N            GPUs of this machine (default: as many as can share the batch; without any, the CPU)
#   --cpu-processes N   train on the CPU, with N processes
#   --nodes N           machines that train together. Run the same command on each, in a folder that all share, with
#   --node-rank R       0, 1, ... N-1, and
#   --master HOST:PORT  a free port of machine 0
#   key=value           other values for the config, e.g. optimization.max_update=1000
#
# The batch of an update stays the recipe's: distributed_world_size (GPUs) x update_freq x max_tokens of the config.
# On another number of GPUs, or with another dataset.max_tokens=N for GPUs with less memory, update_freq is set so.
# Who gives optimization.update_freq=[N] as well trains with another batch.
#
# On several machines it also works as `srun scripts/train.sh ...`, with a task for each machine or each GPU, and as
# `torchrun ... --no-python scripts/train.sh ...`: the number of processes is theirs then.
#
# RUN holds train.yaml (the whole config), train.log, checkpoints/, tensorboard/ (where tensorboard is installed),
# versions.txt, dictionaries.txt (checksums of the data's dictionaries) and, at the end, finished.yaml. A finished run is
# left as it is; with a larger optimization.max_update, max_epoch, stop_time_hours or checkpoint.patience it goes on. A
# folder that holds a run of another config is refused once the run has saved a checkpoint; another number of GPUs, those
# limits and what is logged or kept are no other config. Relative paths in a config start at the repository.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# [0-9] means more than ten digits in some languages.
is_natural() { [[ $1 =~ ^[0123456789]+$ ]]; }

config= seed=1 out= options=() overrides=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --seed) take seed "$@"; shift ;;
        --out) take out "$@"; out=$(realpath -m -- "$out"); shift ;;
        --gpus | --cpu-processes | --nodes) take_positive value "$@"; options+=("$1" "$value"); shift ;;
        --node-rank) take value "$@"; options+=("$1=$value"); shift
            is_natural "$value" || die "--node-rank must be an integer >= 0, not '$value'" ;;
        --master) take value "$@"; options+=("$1" "$value"); shift ;;
        -h | --help) usage && exit ;;
        -*) die "unknown option $1 (see --help)" ;;
        *=*) if [[ -z $config && -f $1 ]]; then config=$1; else overrides+=("$1"); fi ;;
        *) [[ -z $config ]] || die "two configs: $config and $1"
           config=$1 ;;
    esac
    shift
done
[[ -n $config ]] || die "no config given (see --help)"
is_natural "$seed" || die "--seed must be an integer >= 0, not '$seed'"
[[ -f $config ]] || die "there is no config $config; there are: $(cd "$ROOT" && echo configs/*/*.yaml)"
config=$(realpath -- "$config")
find_python fairseq

name=${config%.yaml}
[[ -n $out ]] || out=$ROOT/runs/$(basename "$(dirname "$name")")/$(basename "$name")/seed$seed
cd "$ROOT"

keep_pages
export PYTHONWARNINGS=${PYTHONWARNINGS:-ignore} # fairseq's own, of deprecated calls
exec "$PYTHON" "$SCRIPTS/recipes/tool.py" launch --seed "$seed" ${options[@]+"${options[@]}"} \
    "$config" "${out#"$ROOT/"}" ${overrides[@]+"${overrides[@]}"}
