#!/usr/bin/env python3
"""Compare finished runs of one dataset: a table of scores and the curves of training.

report.py --out DIR [--evaluation NAME] RUN... takes run folders of scripts/train.sh (.../CONFIG/seedN) that
scripts/evaluate_translation.sh or evaluate_lm.sh has scored, and writes DIR/table.md, DIR/curves.png (where matplotlib
is installed) and DIR/runs.json (scores, curves, versions of every run). The scores are those in RUN/evaluation/NAME
(default: best).

The minutes are those of the updates alone: without validation, without what a killed run did after the checkpoint that
it went on from, and without the time in which its processes were stopped, where the log shows that.
"""

from recipes.start import start

if __name__ == "__main__":
    start(__file__, "evaluation.report", ["omegaconf", "sacrebleu", "sacremoses"])
