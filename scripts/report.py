#!/usr/bin/env python3
"""Make a table of scores and curves of training for finished runs of one data set.

Usage: scripts/report.py --out DIR [--evaluation NAME] RUN...

  RUN...             run folders of scripts/train.sh that scripts/evaluate_translation.sh, evaluate_summarization.sh,
                     evaluate_lm.sh or evaluate_glue.sh has scored
  --out DIR          the folder to write to
  --evaluation NAME  report the scores in RUN/evaluation/NAME (default: best)

The command prints the table, and writes DIR/table.md, DIR/runs.json (scores, curves and versions of each run) and, if
matplotlib is installed, DIR/curves.png.

The minutes in the table are those of the updates only. The time of validation does not count. If a run was killed,
what it did after the checkpoint from which it went on does not count either, and neither does the time in which its
processes were stopped, if the log shows it.
"""

from recipes.start import start

if __name__ == "__main__":
    start(__file__, "evaluation.report", ["omegaconf", "sacrebleu", "sacremoses"])
