#!/usr/bin/env python3
"""Average the parameters of checkpoints of one run.

average_checkpoints.py CHECKPOINTS OUT --last N [--by update|epoch]   of the last N, saved by update or by epoch
average_checkpoints.py CHECKPOINTS OUT --best N                       of the N best on validation

CHECKPOINTS is the folder that fairseq saves to. OUT is a checkpoint to decode with or to start another training from;
it holds no state of the optimizer. It must be a new file, or one that this made.
"""

from recipes.start import start

if __name__ == "__main__":
    start(__file__, "evaluation.average", ["fairseq"])
