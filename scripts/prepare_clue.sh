#!/usr/bin/env bash
# Prepare a Chinese task of CLUE for fairseq: texts and classes -> characters -> binarized data.
#
# Usage: scripts/prepare_clue.sh TASK --from FILE_OR_DIR [--out DIR] [--workers N]
#
#   TASK         iflytek (descriptions of apps, 119 classes) or tnews (headlines, 15 classes)
#   --from       iflytek_public.zip or tnews_public.zip of CLUE, or folder with it, or with train.json and dev.json
#   --out DIR    where the result goes (default: data/iflytek or data/tnews in the repository)
#   --workers N  processes (default: one for each core)
#
# The result: raw/ (texts and labels), bpe/ (characters) and bin/ (task.data); settings.json says how it was made. If
# the script is run again, it goes on after the last step that is done. CLUE's dev set is bin's valid. CLUE keeps the
# labels of its test sets, so they are left out. A line of another form, an unknown label or an empty text is an error.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.clue fairseq tqdm -- "$@"
