#!/usr/bin/env bash
# Prepare a task of GLUE for fairseq: published tables -> sentences and labels -> subwords -> binarized data.
#
# Usage: scripts/prepare_glue.sh TASK (--roberta DIR | --bpe N) [--from FILE_OR_DIR] [--out DIR] [--workers N]
#
#   TASK           CoLA, MRPC, QNLI, QQP, RTE, SST-2, MNLI or STS-B, in upper or lower case
#   --roberta DIR  for RoBERTa: the folder that holds GPT-2's encoder.json and vocab.bpe, and RoBERTa's dict.txt
#   --bpe N        for an encoder that is trained from nothing: Moses' tokens in lower case, and at most N merges of BPE
#                  that are learned from the training text
#   --from         local .zip, or folder with it, with train.tsv and dev.tsv, or with such a folder named after the task
#                  (default: the archive is downloaded). For MRPC also a folder with msr_paraphrase_train.txt and
#                  dev_ids.tsv, of which train.tsv and dev.tsv are made as GLUE's own script does it
#   --out DIR      where the result goes (default: data/glue/rte in the repository, named after the task, or with --bpe
#                  data/glue_small/rte)
#   --workers N    processes (default: one for each core)
#
# The result: raw/ (sentences and labels as text), bpe/ (subwords) and bin/ (task.data); settings.json says how it was
# made. If the script is run again, it goes on after the last step that is done. GLUE's dev set is bin's valid; of MNLI
# the matched one is, and the mismatched one is bin's test. GLUE keeps the labels of its test sets, so they are left out.
# The numbers of STS-B, from 0 to 5, are divided by 5 in bin/, as in fairseq's recipe. A row with another number of
# columns, an unknown label or an empty sentence is an error; only of QQP, as in that recipe, rows with another number
# of columns are left out, and empty questions stay.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.glue fairseq sacremoses subword_nmt tqdm -- "$@"
