#!/usr/bin/env bash
# Prepare WMT14 for fairseq: the published corpora -> normalized Moses tokens -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_wmt14.sh PAIR [--from DIR] [--bpe N] [--moses DIR] [--out DIR] [--workers N]
#
#   PAIR           en-de (4.5 million pairs) or en-fr (36 million)
#   --from DIR     local folder with the published archives, by their names (default: download them)
#   --bpe N        number of BPE merges (default: 32000)
#   --moses DIR    normalize and tokenize with the Perl scripts of this checkout of Moses, not in Python
#   --out DIR      where the result goes (default: data/wmt14_ende or data/wmt14_enfr in the repository)
#   --workers N    processes (default: one a core)
#
# The steps and archives are those of fairseq's prepare-wmt14en2de.sh --icml17 (Europarl v7, Common Crawl, News
# Commentary v9: the training data of WMT14) and prepare-wmt14en2fr.sh (these, the UN corpus and Giga-FrEn): punctuation
# normalized in training text, tokens split at hyphens too, each 100th (En-De) or 1333rd (En-Fr) pair to valid, pairs of 1
# to 250 subwords and a ratio up to 1.5 kept in train and valid, newstest2014 as test set. The paper's dictionary has
# about 32k entries, hence 32,000 merges; fairseq's scripts learn 40,000. A line that is not UTF-8 is kept, with U+FFFD for
# its bad bytes, and counted.
#
# The result: bin/ (task.data), bpe/, and for valid and test the raw text (raw/) and the tokens (tok/) of the same lines;
# testsets, settings; of the steps before, archives/ (what was downloaded), text/, tokens/ and codes/. Run again, it goes
# on after the last step that is done.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.wmt14 fairseq sacremoses subword_nmt tqdm -- "$@"
