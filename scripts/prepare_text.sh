#!/usr/bin/env bash
# Prepare your own parallel text for fairseq: raw text -> Moses tokens -> joint subwords -> binarized data.
#
# Usage: scripts/prepare_text.sh --from DIR --pair S-T --out DIR [--train-lines N] [--drop-empty] [--no-test]
#            [--tokenized | --moses DIR] [--lowercase] [--subwords KIND] [--bpe N] [--both-ways] [--workers N]
#
#   --from DIR       folder with train, valid and at least one test* (test, test_news, ...), each as NAME.S and NAME.T,
#                    a sentence a line in UTF-8, plain or as .gz
#   --pair S-T       source and target language; both are the endings of the files, and select the rules of Moses
#   --out DIR        where the result goes
#   --train-lines N  use the first N training pairs (default: all)
#   --drop-empty     leave out the pairs that have a line without text on a side, in every file, and say how many
#   --no-test        prepare train and valid alone: there is then no test set to evaluate on
#   --tokenized      the text is tokens already, which stay as they are, with Moses' escapes such as &apos; if they hold
#                    them; for scores the tokens become plain text
#   --moses DIR      a checkout of Moses, whose Perl scripts make the tokens
#   --lowercase      lower-case the tokens, as Moses' lowercase.perl does (raw/ keeps case)
#   --subwords KIND  subword-nmt: BPE of the tokens (default); sentencepiece: a unigram model of SentencePiece, which
#                    splits the text itself; tok/ is then for tokenized BLEU alone
#   --bpe N          number of BPE merges, or the size of SentencePiece's vocabulary, learned from both sides together
#                    (default: 10000)
#   --both-ways      also binarize the pairs in both directions, to both/: for Bi-SimCut
#   --workers N      processes (default: one for each core)
#
# The result has the form that scripts/prepare_multi30k.sh describes. It is an error if the sides differ in length, or
# if a line has no text and --drop-empty is not given. A byte order mark at the start of a file is left out. Chinese is
# segmented by jieba and Japanese by MeCab. Text of other languages without spaces, such as Thai, must be segmented and
# given with --tokenized, or needs --subwords sentencepiece. A warning counts the lines that look tokenized already.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" data.own_text fairseq sacremoses subword_nmt tqdm -- "$@"
