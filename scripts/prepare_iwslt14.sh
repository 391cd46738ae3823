#!/usr/bin/env bash
# Prepare IWSLT14 for fairseq: TED talks -> Moses tokens, lower-cased -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_iwslt14.sh PAIR [--from FILE] [--cased] [--bpe N] [--moses DIR] [--out DIR] [--both-ways]
#            [--workers N]
#
#   PAIR           de-en, en-de, es-en or en-es; both directions share one result
#   --from FILE    the archive of the pair (de-en.tgz) or of the year (2014-01.tgz, from wit3.fbk.eu/2014-01), or a
#                  folder that holds one of them (default: the archive of the pair is downloaded)
#   --cased        keep case (default: lower-case the tokens)
#   --bpe N        number of BPE merges (default: 10000)
#   --moses DIR    tokenize and lower-case with the Perl scripts of this checkout of Moses, not in Python
#   --out DIR      where the result goes (default: data/iwslt14_deen or data/iwslt14_esen in the repository)
#   --both-ways    also binarize the pairs in both directions, to both/: for Bi-SimCut
#   --workers N    processes (default: one for each core)
#
# De-En is what fairseq's prepare-iwslt14.sh makes of the same archive. Lines with <url>, <talkid> or <keywords> are
# left out. Pairs of 1 to 175 tokens with a ratio of at most 1.5 are kept. Each 23rd of them goes to valid. The test set
# is dev2010, TEDX.dev2012, tst2010, tst2011 and tst2012, in this order. Es-En follows the same rules, because the paper
# says "IWSLT, the same". Its release has no TEDX set, so its test set is dev2010, tst2010, tst2011 and tst2012.
#
# The result: bin/ (task.data), and raw/ (text), tok/ (tokens) and bpe/ (subwords), whose lines belong together;
# settings.json says how it was made and names the test sets. text/ and tokens/ were made by earlier steps. If the script
# is run again, it goes on after the last step that is done.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.iwslt14 fairseq sacremoses subword_nmt tqdm -- "$@"
