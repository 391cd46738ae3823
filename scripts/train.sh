#!/usr/bin/env bash
# Train one configuration into one run folder. The same command later goes on from the last checkpoint.
#
# Usage: scripts/train.sh CONFIG [--seed N] [--out RUN] [--from RUN | --from CHECKPOINT]
#                         [--gpus N | --cpu-processes N] [--nodes N --node-rank R --master HOST:PORT] [key=value ...]
#
#   CONFIG              a fairseq-hydra-train config, e.g. configs/multi30k_deen/rdrop.yaml
#   --seed N            seed of the run (default: 1)
#   --out RUN           run folder (default: runs/<folder and name of the config>/seed<N>, under the repository)
#   --from RUN          start with the parameters of a trained model: the best checkpoint of another run, or a
#                       checkpoint. It must have the architecture of the config and the dictionaries of the data.
#                       Optimizer, learning rate and data start from the beginning. A run that goes on does not need the
#                       model any more
#   --gpus N            GPUs of this machine (default: as many as can share the batch, and the CPU if there is none)
#   --cpu-processes N   train on the CPU, with N processes
#   --nodes N           machines that train together. Run the same command on each, in a folder that all share, with
#   --node-rank R       0, 1, ... N-1, and
#   --master HOST:PORT  a free port of machine 0
#   key=value           other values for the config, e.g. optimization.max_update=1000
#
# The batch of an update stays the recipe's: distributed_world_size (GPUs) x update_freq x max_tokens of the config.
# train.sh sets update_freq so that this holds on another number of GPUs, or with another dataset.max_tokens=N for GPUs
# with less memory. To train with another batch, give optimization.update_freq=[N] as well.
#
# On several machines `srun scripts/train.sh ...` works too, with one task for each machine or for each GPU, and so does
# `torchrun ... --no-python scripts/train.sh ...`. Then srun or torchrun decides the number of processes.
#
# RUN holds train.yaml (the whole config), train.log, checkpoints/, tensorboard/ (if tensorboard is installed),
# versions.txt, dictionaries.txt (checksums of the data's dictionaries), prepared/ (what translate.sh needs of the
# data), with --from start.pt and started_from.txt (the parameters of the start, and of which checkpoint they are) and,
# at the end, finished.yaml. A finished run stays as it is. It goes on with a larger optimization.max_update, max_epoch,
# stop_time_hours or checkpoint.patience. Once a run has saved a checkpoint, another config is refused in its folder.
# The number of GPUs, those limits, and what is logged or kept may change. Relative paths in a config start at the
# repository.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" training.launch fairseq -- "$@"
