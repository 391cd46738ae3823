#!/usr/bin/env bash
# Export the model of a trained run for CTranslate2, which translates without fairseq and PyTorch, and faster on a CPU.
#
# Usage: scripts/export.sh RUN OUT [--to ctranslate2] [--quantization TYPE] [--check N] [--average N | --average-best N]
#                          [--checkpoint FILE --data BIN]
#
#   RUN                  a run folder of scripts/train.sh that trains a Transformer
#   OUT                  the folder to make; it must not exist
#   --to ctranslate2     the library that the export is for; there is no other yet
#   --quantization TYPE  how the weights are stored: float32 (default), float16, bfloat16, int16, int8, int8_float32,
#                        int8_float16 or int8_bfloat16
#   --check N            decode the first N lines of the validation set with fairseq and with CTranslate2, and say how
#                        many come out equal (default: 200; 0 checks nothing)
#   --average N          export the average of the last N checkpoints (those saved by update, or else by epoch), not the
#                        checkpoint that is best on validation
#   --average-best N     export the average of the N checkpoints that are best on validation
#   --checkpoint FILE --data BIN
#                        in place of RUN: a checkpoint of fairseq-train, or a folder of checkpoints, and its binarized
#                        data. If no prepare script made the data, OUT takes tokens or subwords, as the data has them
#
# OUT is enough to translate raw text: it holds the model, the vocabularies, the subwords and the settings of the
# preparation, and a README.md with the Python lines that use it. scripts/translate.sh takes OUT in place of RUN. OUT is
# whole or absent. It is not made if fewer than half of the lines of the check come out equal.
#
# A model with parts that CTranslate2 does not know, such as an adaptive softmax, is refused.
source "$(dirname -- "${BASH_SOURCE[0]}")/recipes/start.sh" evaluation.export fairseq ctranslate2 sacremoses subword_nmt -- "$@"
