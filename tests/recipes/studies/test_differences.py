"""The tests of differences between groups of runs, against numbers by hand, loops, and the definition of Welch's."""

import math
from itertools import combinations
from statistics import mean, variance

import pytest
from recipes.studies import differences
from scipy.stats import t


def by_loops(a, b):
    """Return the share of all divisions whose means differ at least as much as those of a and b."""
    both = [*a, *b]
    observed, extreme, total = abs(mean(a) - mean(b)), 0, 0
    for chosen in combinations(range(len(both)), len(a)):
        one = [both[i] for i in chosen]
        other = [both[i] for i in range(len(both)) if i not in chosen]
        extreme += abs(mean(one) - mean(other)) >= observed - 1e-9
        total += 1
    return extreme / total


BY_HAND = [
    ([1, 2], [3, 4], 2 / 6),  # {1, 2} and {3, 4}, of 6 divisions
    ([1, 4], [2, 3], 1),  # both means are equal
    ([1, 2, 3], [4, 5, 6], 2 / 20),
    ([10, 11, 12, 13, 14, 15], [20, 21, 22], 1 / 84),  # 3 of 9; no other 3 lie as far from the rest
    ([1, 2, 3, 4, 5, 6], [7, 8, 9], 2 / 84),  # 1, 2, 3 lie as far from the rest as 7, 8, 9
    ([1, 1, 1, 1], [1, 1, 1, 1], 1),
]


@pytest.mark.parametrize("a, b, p", BY_HAND)
def test_permutation_by_hand(a, b, p):
    assert differences.permutation_p(a, b) == pytest.approx(p, abs=1e-12)
    assert by_loops(a, b) == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize(
    "a, b",
    [
        ([33.71, 33.52, 33.9, 33.6, 34.0], [35.1, 33.55, 34.7]),
        ([0.1, 0.2, 0.3, 0.4], [0.15, 0.25, 0.35, 0.1]),  # sums that are equal but for rounding
    ],
)
def test_permutation_equals_loops_whatever_the_order_of_the_groups(a, b):
    assert differences.permutation_p(a, b) == pytest.approx(by_loops(a, b), abs=1e-12)
    assert differences.permutation_p(b, a) == pytest.approx(by_loops(a, b), abs=1e-12)


def test_welch_by_its_definition():
    a, b = [33.7, 33.2, 34.1], [35.2, 36.0, 35.1, 34.9]
    of_a, of_b = variance(a) / 3, variance(b) / 4
    freedom = (of_a + of_b) ** 2 / (of_a**2 / 2 + of_b**2 / 3)
    expected = 2 * t.sf(abs(mean(a) - mean(b)) / math.sqrt(of_a + of_b), freedom)
    assert differences.welch_p(a, b) == pytest.approx(expected, rel=1e-12)
    assert math.isnan(differences.welch_p([1, 1], [2, 2]))


@pytest.mark.parametrize(
    "of_a, of_b, test",
    [
        *[(1, 6, ""), (6, 1, ""), (2, 2, "Welch"), (3, 3, "Welch")],  # 1 / 3 and 1 / 10 at least
        *[(4, 4, "permutation"), (6, 3, "permutation"), (3, 6, "permutation")],  # 2 / 70, 1 / 84
        *[(9, 9, "permutation"), (20, 20, "Welch")],  # 48,620 divisions, and more than can be tried
    ],
)
def test_the_test_depends_on_the_number_of_runs_alone(of_a, of_b, test):
    assert differences.test_of(of_a, of_b) == test
    values = list(range(of_a)), [0.5 + number for number in range(of_b)]
    p, named = differences.p_value(*values)
    assert named == test and math.isnan(p) == (test == "")
