#!/usr/bin/env bash
# Prepare IWSLT14 for fairseq: TED talks -> Moses tokens, lower-cased -> joint BPE -> binarized data.
#
# Usage: scripts/prepare_iwslt14.sh PAIR [--from FILE] [--cased] [--bpe N] [--moses DIR] [--out DIR] [--workers N]
#
#   PAIR           de-en, en-de, es-en or en-es; both directions share one result
#   --from FILE    the pair's archive (de-en.tgz) or the year's (2014-01.tgz, from wit3.fbk.eu/2014-01), or a folder that
#                  holds it (default: download the pair's)
#   --cased        keep case (default: lower-case the tokens)
#   --bpe N        number of BPE merges (default: 10000)
#   --moses DIR    tokenize and lower-case with the Perl scripts of this checkout of Moses, not in Python
#   --out DIR      where the result goes (default: data/iwslt14_deen or data/iwslt14_esen in the repository)
#   --workers N    processes (default: one a core)
#
# De-En is what fairseq's prepare-iwslt14.sh makes of the same archive: lines with <url>, <talkid> or <keywords> are left
# out, pairs of 1 to 175 tokens and a ratio up to 1.5 stay, each 23rd of them is valid, and the test set is dev2010,
# TEDX.dev2012, tst2010, tst2011 and tst2012, in this order. Es-En follows the same rules ("IWSLT, the same", says the
# paper); its release has no TEDX set, so its test set is dev2010, tst2010, tst2011 and tst2012.
#
# The result: bin/ (task.data), raw/ (text), tok/ (tokens) and bpe/, whose lines belong together, testsets, settings; of
# the steps before, text/ and tokens/. Run again, it goes on after the last step that is done.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.iwslt14 fairseq sacremoses subword_nmt tqdm -- "$@"
