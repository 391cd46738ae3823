#!/usr/bin/env bash
# Prepare WikiText-103 for fairseq: the published tokens -> binarized data, word by word as in fairseq's own recipe.
#
# Usage: scripts/prepare_wikitext103.sh [--from PATH] [--train-lines N] [--out DIR] [--workers N]
#
#   --from PATH      the published wikitext-103-v1.zip, or a folder that holds it, or a folder with wiki.train.tokens,
#                    wiki.valid.tokens and wiki.test.tokens, or the same as train.txt, valid.txt and test.txt (default:
#                    the archive is downloaded)
#   --train-lines N  use the first N lines of the training text (default: all)
#   --out DIR        where the result goes (default: data/wikitext103 in the repository)
#   --workers N      processes (default: one for each core)
#
# The result: raw/ (the texts) and bin/ (task.data); settings.json says how it was made. The vocabulary is that of the
# training text, with the <unk> that the published texts hold already. If the script is run again, it goes on after the
# last step that is done.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.wikitext fairseq tqdm -- wikitext-103 "$@"
