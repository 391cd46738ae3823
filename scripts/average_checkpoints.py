#!/usr/bin/env python3
"""Average the parameters of several checkpoints of one run.

Usage:
  scripts/average_checkpoints.py CHECKPOINTS OUT --last N [--by update|epoch]
  scripts/average_checkpoints.py CHECKPOINTS OUT --best N

  CHECKPOINTS        the folder that fairseq saves to, such as RUN/checkpoints
  OUT                the file to write; it must be new, or an average that this command made
  --last N           average the last N checkpoints
  --by update|epoch  take those that were saved by update, or by epoch (default: by update, if there are any)
  --best N           average the N checkpoints that are best on validation

OUT is a checkpoint to decode with, or to start another training from. It holds no state of the optimizer.
"""

from recipes.start import start

if __name__ == "__main__":
    start(__file__, "evaluation.average", ["fairseq"])
