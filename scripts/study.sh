#!/usr/bin/env bash
# Run a study: train and score all its entries with several seeds, and write a table and a figure.
#
# Usage: scripts/study.sh NAME CONFIG [--entries ENTRY,...] [--seeds N,...] [--seeds-of ENTRY=N,...] [--jobs N]
#                         [--runs DIR] [--out DIR] [--with FILE] [key=value ...]
#
#   NAME                   a study of configs/studies, e.g. alpha, or a file of your own like them, as PATH.yaml
#   CONFIG                 the config with R-Drop that the study changes, e.g. configs/multi30k_deen/rdrop.yaml. The
#                          baseline is baseline.yaml beside it, or as the study says
#   --entries ENTRY,...    only these entries, the baseline, and those whose models they start from
#   --seeds N,...          the seeds of each entry (default: 1,2,3)
#   --seeds-of ENTRY=N,... other seeds of one entry; may be given several times
#   --jobs N               how many runs are at work at once (default: one for each GPU, or for each core if there is no
#                          GPU). CUDA_VISIBLE_DEVICES says which GPUs may be used
#   --runs DIR             where the runs are: DIR/ENTRY/seedN (default: runs/studies/<folder of the config>,
#                          with /<name of the config> in a folder without baseline.yaml)
#   --out DIR              where table.md, study.json and figure.png go
#                          (default: results/studies/<folder of the config>/NAME, likewise)
#   --with FILE            the study.json of any study of CONFIG, from another machine or from an earlier time. Its runs
#                          of the chosen entries count, with whatever seeds; its others do not. They are not trained
#                          here, unless a run that is still to be trained starts from them. A run whose folder is here
#                          counts instead. May be given several times; of a run that several files hold, that of the
#                          first counts
#   key=value              other values for the config of all entries, e.g. optimization.max_update=1000. Those of
#                          criterion.rdrop_... are only for entries with R-Drop
#
# All settings are checked before the first run. Each run is one of scripts/train.sh and is scored by
# scripts/evaluate_translation.sh, evaluate_summarization.sh, evaluate_lm.sh or evaluate_glue.sh. A run that is finished
# and scored is left as it is, and one that was killed goes on: so the same command continues a study, also with more
# seeds. All runs start from random weights, or from the run that their entry names. Entries of the same name are the
# same run in all studies of a data set, and a folder that holds a run with another config is refused. If a run fails,
# the others go on; at the end it is named with its log, and the command exits with 1. ^C ends all runs.
#
# The table has mean, standard deviation and number of runs of each entry, and the p-value of its difference to the
# baseline. The test is named: an exact permutation test over the seeds, or Welch's t-test where so few runs allow no
# p-value below 0.05. The figure needs matplotlib.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" studies.command fairseq sacremoses sacrebleu scipy -- "$@"
