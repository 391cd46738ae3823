#!/usr/bin/env bash
# Prepare IWSLT17 for fairseq: TED talks -> tokens, lower-cased -> BPE -> binarized data.
#
# Usage: scripts/prepare_iwslt17.sh PAIR [--from FILE] [--cased] [--bpe N] [--moses DIR] [--out DIR] [--both-ways]
#            [--workers N]
#
#   PAIR           fr-en, en-fr, zh-en or en-zh; both directions share one result
#   --from FILE    the archive of the pair (fr-en.tgz) or of the year (2017-01-trnted.tgz, from wit3.fbk.eu/2017-01-b),
#                  or a folder that holds one of them (default: the archive of the pair is downloaded)
#   --cased        keep case (default: lower-case the tokens)
#   --bpe N        number of BPE merges; for Chinese, that of each language (default: 10000)
#   --moses DIR    tokenize and lower-case with the Perl scripts of this checkout of Moses, not in Python
#   --out DIR      where the result goes (default: data/iwslt17_fren or data/iwslt17_zhen in the repository)
#   --both-ways    also binarize the pairs in both directions, to both/: for Bi-SimCut
#   --workers N    processes (default: one for each core)
#
# The rules are those of scripts/prepare_iwslt14.sh, which the paper follows for all of IWSLT. Lines of train.tags that
# name a speaker, reviewer or translator are left out too. Fr-En has one BPE and one dictionary for both languages.
# Zh-En has one for each language, as in the paper, and jieba splits Chinese into words. The paper names no test set.
# The test set "test" is made of dev2010 and tst2010 to tst2012, as for IWSLT14; tst2013, tst2014 and tst2015 are test
# sets by themselves, to compare with work that uses one of them.
#
# The result has the form that scripts/prepare_iwslt14.sh describes.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.iwslt17 fairseq sacremoses subword_nmt tqdm -- "$@"
