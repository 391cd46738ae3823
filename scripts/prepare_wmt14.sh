#!/usr/bin/env bash
# Prepare WMT14 for fairseq: the published corpora -> normalized Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_wmt14.sh PAIR [--from DIR] [--bpe N] [--moses DIR] [--out DIR] [--workers N]
#
#   PAIR           en-de (4.5 million pairs) or en-fr (36 million)
#   --from DIR     local folder with the published archives, by their names (default: they are downloaded)
#   --bpe N        number of BPE merges (default: 32000)
#   --moses DIR    normalize and tokenize with the Perl scripts of this checkout of Moses, not in Python
#   --out DIR      where the result goes (default: data/wmt14_ende or data/wmt14_enfr in the repository)
#   --workers N    processes (default: one for each core)
#
# The steps and archives are those of fairseq's prepare-wmt14en2de.sh --icml17 (Europarl v7, Common Crawl, News
# Commentary v9: the training data of WMT14) and of prepare-wmt14en2fr.sh (these, the UN corpus and Giga-FrEn).
# Punctuation is normalized in the training text, and tokens are also split at hyphens. Each 100th (En-De) or 1333rd
# (En-Fr) pair goes to valid. In train and valid, pairs of 1 to 250 subwords with a ratio of at most 1.5 are kept. The
# test set is newstest2014. The paper's dictionary has about 32k entries, hence 32,000 merges; fairseq's scripts learn
# 40,000. A line that is not UTF-8 is kept, with U+FFFD for its bad bytes, and counted.
#
# The result: bin/ (task.data), bpe/ (subwords), and for valid and test raw/ (text) and tok/ (tokens) of the same lines;
# settings.json says how it was made and names the test set. archives/ (what was downloaded), text/, tokens/ and codes/
# are of the steps before. If the script is run again, it goes on after the last step that is done.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.wmt14 fairseq sacremoses subword_nmt tqdm -- "$@"
