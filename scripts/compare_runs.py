#!/usr/bin/env python3
"""Compare two groups of runs that scripts/evaluate_translation.sh has scored: A against B.

compare_runs.py [--evaluation NAME] A... -- B...

A and B are run folders that differ in their seeds, e.g. runs/X/baseline/seed* -- runs/X/rdrop/seed*. For each test set
two tables are printed, in Markdown:

- each score, mean and standard deviation over the seeds of A and of B, and the difference B - A; over the seeds that
  both have, the two-sided Wilcoxon signed-rank test (exact) and Cohen's d (pooled standard deviation), as a report on
  R-Drop with one-way KL gives them. With n seeds no p-value can be below 2^(1-n): 0.25 with 3, 0.03 with 6.
- for each seed that both have (one run in each group is a pair whatever its seeds), p-values of sacreBLEU's paired
  bootstrap (1,000 resamples) and approximate randomization (10,000 trials; two-sided). They say whether the difference
  of these two runs could come from the choice of the test sentences, not whether it would be there with other seeds.

--evaluation NAME compares RUN/evaluation/NAME (default: best).
"""

from recipes.start import start

if __name__ == "__main__":
    start(__file__, "evaluation.significance", ["numpy", "omegaconf", "sacrebleu", "sacremoses", "scipy"])
