# SPDX-License-Identifier: Apache-2.0
"""Statistics of success rates, against published and hand-made numbers."""
from itertools import product
from math import comb

import pytest

from vla_pruner_ros.statistics.intervals import (
    difference_interval,
    holm,
    mcnemar,
    Pairs,
    wilson,
)


@pytest.mark.parametrize('solved, total, low, high', [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718)])  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
def test_wilson_gives_the_published_intervals(solved, total, low, high):
    assert wilson(solved, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_the_ends_is_exact_and_mirrored():
    z2 = 1.959963984540054 ** 2
    assert wilson(0, 10) == (0.0, pytest.approx(z2 / (10 + z2)))
    assert wilson(10, 10) == (pytest.approx(10 / (10 + z2)), 1.0)
    for solved in range(11):
        low, high = wilson(solved, 10)
        assert wilson(10 - solved, 10) == pytest.approx((1 - high, 1 - low))
    assert wilson(0, 0) == (0.0, 1.0)


def test_pairs_are_counted_into_four_cells():
    pairs = Pairs.count([(True, True), (True, False), (False, True), (True, False),
                         (False, False)])
    assert pairs == Pairs(both=1, first=2, second=1, neither=1)
    assert pairs.episodes == 5 and pairs.difference == pytest.approx(1 / 5)
    assert Pairs.count([]).difference == 0.0


@pytest.mark.parametrize('first, second, p', [
    (1, 9, 2 * 11 / 1024), (9, 1, 2 * 11 / 1024), (0, 6, 2 / 64), (0, 5, 2 / 32), (5, 5, 1.0),
    (0, 0, 1.0), (2, 3, 1.0), (1, 0, 1.0)])
def test_mcnemar_gives_hand_made_values(first, second, p):
    assert mcnemar(Pairs(30, first, second, 4)) == pytest.approx(p, abs=1e-15)


def test_mcnemar_is_the_probability_of_a_split_at_least_as_uneven():
    for trials, first in ((7, 1), (8, 4), (9, 8), (10, 3)):
        uneven = abs(2 * first - trials)
        count = sum(1 for coins in product((0, 1), repeat=trials)
                    if abs(2 * sum(coins) - trials) >= uneven)
        assert mcnemar(Pairs(0, first, trials - first, 0)) == pytest.approx(count / 2 ** trials)


def test_mcnemar_does_not_overflow():
    assert mcnemar(Pairs(0, 1000, 2000, 0)) < 1e-60
    # The whole tail of 3000 coins, by its largest term: within a factor of two.
    assert mcnemar(Pairs(0, 1000, 2000, 0)) < 4 * 2 * comb(3000, 1000) / 2 ** 3000


def test_the_paired_difference_has_the_published_interval():
    # Newcombe 1998, Statistics in Medicine 17:2635, table II, method 10
    assert difference_interval(Pairs(36, 12, 2, 0)) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_the_paired_difference_changes_sign_with_the_order_and_narrows_with_agreement():
    low, high = difference_interval(Pairs(20, 12, 2, 16))
    assert difference_interval(Pairs(20, 2, 12, 16)) == pytest.approx((-high, -low))
    assert low < 0.2 < high
    agreeing = difference_interval(Pairs(100, 0, 0, 100))
    opposed = difference_interval(Pairs(0, 100, 100, 0))
    assert agreeing[1] < 0.1 < opposed[1] and agreeing[0] == pytest.approx(-agreeing[1])
    assert difference_interval(Pairs(0, 0, 0, 0)) == (-1.0, 1.0)
    assert difference_interval(Pairs(0, 5, 0, 0))[1] == 1.0


def test_holm_gives_hand_made_values_in_the_given_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
