"""Test whether two groups of runs differ: an exact permutation test, or Welch's t-test where that cannot tell."""

import math
from collections.abc import Sequence
from typing import Any

import numpy
from scipy.stats import permutation_test, ttest_ind

LEVEL = 0.05  # a difference is called one if its p-value is below
MOST = 200_000  # ways to divide the runs into two groups that are all tried
PERMUTATION, WELCH = "permutation", "Welch"


def test_of(of_a: int, of_b: int) -> str:
    """Return the test for two groups of these sizes, "" if there is none. Their scores have no part in the choice.

    It is the exact permutation test, if that can give a p-value below LEVEL and all ways to divide the runs can be
    tried; otherwise it is Welch's. Of two groups of 3 no permutation gives less than 0.1.
    """
    if of_a < 2 or of_b < 2:
        return ""
    return PERMUTATION if smallest_p(of_a, of_b) < LEVEL and math.comb(of_a + of_b, of_a) <= MOST else WELCH


def smallest_p(of_a: int, of_b: int) -> float:
    """Return the smallest two-sided p-value that the permutation test can give for groups of these sizes.

    Of two groups of one size the division and its mirror image have the same difference.
    """
    return (2 if of_a == of_b else 1) / math.comb(of_a + of_b, of_a)


def permutation_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p-value of the exact permutation test of the difference of the means.

    It is the share of all divisions of the runs into groups of these sizes whose means differ at least as much.
    """

    def gap(one: Any, other: Any, axis: int) -> Any:
        return numpy.round(abs(one.mean(axis) - other.mean(axis)), 9)  # rounding errors make no difference

    found = permutation_test((a, b), gap, vectorized=True, n_resamples=MOST, alternative="greater")
    return float(found.pvalue)


def welch_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the two-sided p-value of Welch's t-test, NaN if all scores of both groups are equal."""
    if len({*a}) == len({*b}) == 1:
        return math.nan
    return float(ttest_ind(a, b, equal_var=False).pvalue)


def p_value(a: Sequence[float], b: Sequence[float]) -> tuple[float, str]:
    """Return the p-value of the difference between two groups of scores, and the test; NaN and "" if there is none."""
    test = test_of(len(a), len(b))
    if not test:
        return math.nan, ""
    return (permutation_p if test == PERMUTATION else welch_p)(a, b), test
