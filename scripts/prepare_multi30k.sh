#!/usr/bin/env bash
# Prepare Multi30k for fairseq: raw captions -> Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_multi30k.sh [--from DIR] [--pair de-en] [--train-lines N] [--bpe N] [--out DIR] [--both-ways]
#            [--workers N]
#
#   --from DIR       local folder with the published files, as .gz or uncompressed (default: they are downloaded)
#   --pair S-T       source and target language, two of de, en and fr (default: de-en)
#   --train-lines N  use the first N training pairs (default: all 29,000)
#   --bpe N          number of BPE merges, learned from both sides together (default: 10000)
#   --out DIR        where the result goes (default: data/multi30k_deen in the repository, named after the pair)
#   --both-ways      also binarize the pairs in both directions, to both/: for Bi-SimCut
#   --workers N      processes (default: one for each core)
#
# The result: raw/ (text), tok/ (tokens), bpe/ (subwords) and bin/ (task.data); settings.json says how it was made and
# names bin's test, test1, ... If the script is run again, it goes on after the last step that is done. Tokens keep case
# and punctuation and are not escaped: detokenized, they give the raw text. A line without text is an error, because the
# published files have none.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.multi30k fairseq sacremoses subword_nmt tqdm -- "$@"
