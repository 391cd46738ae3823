#!/usr/bin/env python3
"""Measure on the validation set how far a model with dropout is from the model without: why R-Drop may work.

Usage: scripts/consistency.py RUN... [--passes K] [--beam N] [--no-bleu] [--out DIR]

  RUN...       run folders of scripts/train.sh, such as those of a baseline and of R-Drop with several seeds
  --passes K   passes with dropout whose probabilities are averaged (default: 10)
  --beam N     beam size for BLEU (default: generation.beam in the run's config, or else 5)
  --no-bleu    do not decode. Decoding with K passes takes the time and the memory of K models
  --out DIR    the folder to write to (default: consistency, beside the folders of the configs)

With dropout a training trains many models. Their average over K passes is "model averaging", and the one model without
dropout that is used at the end is "weight averaging". For the best checkpoint of each run the command prints, by target
token and in bits,

- the symmetric KL divergence of two passes with dropout;
- the negative log-likelihood (NLL) of one pass, of the average of the probabilities of K passes, and of the model
  without dropout; the gap is that without dropout minus that of the average;
- KL(average, without dropout);

and for translation tokenized BLEU on validation, of the average and without dropout, and its gap. The average decodes
as an ensemble of K times the same model with dropout. A mean of runs with several seeds has its standard deviation.

The command writes DIR/table.md, DIR/consistency.json and, if matplotlib is installed, DIR/consistency.png.
"""

from recipes.start import start

if __name__ == "__main__":
    start(__file__, "evaluation.consistency", ["fairseq", "sacremoses", "sacrebleu"])
