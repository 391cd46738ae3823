#!/usr/bin/env python3
"""Compare two groups of runs, A and B, that were scored.

Usage: scripts/compare_runs.py [--evaluation NAME] A... -- B...

  A..., B...         run folders that scripts/evaluate_translation.sh, evaluate_summarization.sh or evaluate_glue.sh
                     has scored; within a group they differ in their seeds
  --evaluation NAME  compare the scores in RUN/evaluation/NAME (default: best)

Example: scripts/compare_runs.py runs/X/baseline/seed* -- runs/X/rdrop/seed*

The command prints two Markdown tables for each test set. Of runs that evaluate_glue.sh has scored it prints the first
one alone.

The first table has, for each score, the mean and the standard deviation over the seeds of A and of B, and the
difference B - A. For the seeds that are in both groups it has the p-value of the two-sided, exact Wilcoxon signed-rank
test, and Cohen's d with the pooled standard deviation. With n seeds no p-value can be below 2^(1-n), which is 0.25 for
3 seeds and 0.03 for 6.

The second table has, for each seed that is in both groups, p-values of sacreBLEU's paired bootstrap (1,000 resamples)
and of its paired approximate randomization (10,000 trials, two-sided), of BLEU and chrF or of ROUGE. If each group is
one run, the two are compared whatever their seeds are. These p-values say whether the difference between two runs could
come from the choice of the test sentences. They do not say whether other seeds would give the same difference.
"""

from recipes.start import start

if __name__ == "__main__":
    start(__file__, "evaluation.significance", ["numpy", "omegaconf", "sacrebleu", "sacremoses", "scipy"])
