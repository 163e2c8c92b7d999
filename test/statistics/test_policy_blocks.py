# SPDX-License-Identifier: Apache-2.0
"""Several policies on the same placements: by hand, against slow references, and at k = 1."""
from itertools import product
from math import sqrt
import random

import numpy as np
import pytest

from vla_pruner_ros.statistics.intervals import (
    difference_interval,
    mcnemar,
    Pairs,
    wilson,
)
from vla_pruner_ros.statistics.policy_blocks import (
    Blocks,
    design_effect,
    over_policies,
    rate_interval,
    sign_flip,
    student95,
)

CELLS = {'both': (1, 1), 'first': (1, 0), 'second': (0, 1), 'neither': (0, 0)}


def policy(start=0, **counts):
    """Placement -> (first, second), so many of each kind."""
    kinds = [CELLS[name] for name, count in counts.items() for _ in range(count)]
    return {('task', start + number): kind for number, kind in enumerate(kinds)}


def test_one_policy_is_newcombe_wilson_and_mcnemar():
    blocks = Blocks({'one': policy(both=36, first=12, second=2)})
    pairs = Pairs(36, 12, 2, 0)
    assert blocks.pairs == pairs and blocks.episodes == 50
    assert blocks.interval() == pytest.approx(difference_interval(pairs), abs=1e-12)
    assert blocks.p() == mcnemar(pairs) and blocks.difference == pytest.approx(0.2)
    assert rate_interval({'one': {n: n < 81 for n in range(263)}}) == wilson(81, 263)


def test_the_difference_pools_all_pairs_and_counts_the_policies_of_its_sign():
    blocks = Blocks({'s1': policy(first=4, both=6), 's2': policy(first=1, both=9),
                     's3': policy(second=2, both=8), 's4': policy(both=10)})
    assert blocks.difference == pytest.approx(3 / 40)
    assert blocks.spread == pytest.approx({'s1': 0.4, 's2': 0.1, 's3': -0.2, 's4': 0.0})
    assert blocks.same_sign == 2
    assert Blocks({}).difference == 0.0 and Blocks({}).interval() == (-1.0, 1.0)
    assert Blocks({}).p() == 1.0


def test_policies_that_copy_each_other_tell_hardly_more_than_one():
    one = policy(both=40, first=30, second=10, neither=20)
    low, high = Blocks({'s1': one}).interval()
    copies = Blocks({name: one for name in ('s1', 's2', 's3')})
    # Halves: as wide as those of one policy, not narrower by the root of three.
    assert copies.interval() == pytest.approx((low, high), abs=1e-9)
    assert copies.p() == pytest.approx(Blocks({'s1': one}).p())
    # Negative control: other placements are other evidence.
    apart = Blocks({'s1': one, 's2': policy(start=100, both=40, first=30, second=10, neither=20),
                    's3': policy(start=200, both=40, first=30, second=10, neither=20)})
    assert apart.interval()[1] - apart.interval()[0] < 0.65 * (high - low)
    assert apart.p() < 0.01 * copies.p()


def test_how_good_a_policy_is_does_not_widen_the_interval():
    level = Blocks({'good': policy(both=30, first=10), 'poor': policy(neither=30, first=10)})
    assert level.difference == pytest.approx(0.25) and level.same_sign == 2
    assert level.interval()[0] > 0.1


def test_the_design_effect_by_hand():
    shared = {'s1': {1: 1.0, 2: 0.0}, 's2': {1: 1.0, 2: 0.0}}
    # Residuals +-0.5: placements 1 and -1, together 2; single 4 * 0.25 = 1; the added one 4 and 2.
    assert design_effect(shared) == pytest.approx((2 + 4) / (1 + 2))
    opposed = {'s1': {1: 1.0, 2: 0.0}, 's2': {1: 0.0, 2: 1.0}}
    assert design_effect(opposed) == pytest.approx((0 + 4) / (1 + 2))
    assert design_effect({'s1': {1: 1.0, 2: 0.0}}) == 1.0
    # Nothing happened: no evidence that the policies are independent.
    assert design_effect({name: {1: 1.0, 2: 1.0} for name in 'abc'}) == 3.0


def test_a_rate_without_failures_counts_placements_not_runs():
    solved = {name: dict.fromkeys(range(50), True) for name in 'abc'}
    assert rate_interval(solved) == (pytest.approx(wilson(50, 50)[0]), 1.0)
    assert rate_interval({}) == (0.0, 1.0)


@pytest.mark.parametrize('sums', [[1, 1, -1, 0], [2, -1, 1, 1], [3, 3, -2, 1, 0, 1], [2, 2, 2],
                                  [], [0, 0], [3, -3]])
def test_sign_flips_against_every_combination_of_signs(sums):
    reached = [abs(sum(sign * one for sign, one in zip(signs, sums))) >= abs(sum(sums))
               for signs in product((-1, 1), repeat=len(sums))]
    assert sign_flip(sums) == pytest.approx(np.mean(reached))


def test_sign_flips_of_single_outcomes_are_mcnemar_also_for_many():
    for first, second in ((1, 9), (5, 5), (0, 0), (400, 300)):
        sums = [1] * first + [-1] * second + [0] * 7
        assert sign_flip(sums) == pytest.approx(mcnemar(Pairs(3, first, second, 4)), rel=1e-9)


def test_the_interval_covers_the_truth_when_policies_share_hard_placements():
    """Wanted is 95 %; pairs taken as independent (negative control) reach 77 % here."""
    chance = random.Random(1)
    covered = naive = 0
    for _ in range(400):
        of = {name: {} for name in 'abc'}
        for placement in range(60):
            first, second = chance.random() < 0.7, chance.random() < 0.5
            for one in of.values():  # what the placement decides, with one outcome in 20 flipped
                one[placement] = (first ^ (chance.random() < 0.05),
                                  second ^ (chance.random() < 0.05))
        blocks = Blocks(of)
        low, high = blocks.interval()
        covered += low <= 0.18 <= high
        low, high = difference_interval(blocks.pairs)
        naive += low <= 0.18 <= high
    assert covered / 400 > 0.90 and naive / 400 < 0.85


def test_means_of_shares_have_a_students_interval_over_placements():
    values = [0.1, 0.3, 0.2, 0.4, 0.0, 0.2]
    blocks = Blocks({'one': {n: (0.5 + value, 0.5) for n, value in enumerate(values)}})
    half = 2.5706 * np.std(values, ddof=1) / sqrt(6)
    assert blocks.mean_interval() == pytest.approx((0.2 - half, 0.2 + half), abs=2e-3)
    copies = Blocks({name: blocks.of['one'] for name in 'abc'})
    assert copies.mean_interval() == pytest.approx(blocks.mean_interval())
    assert Blocks({'one': dict(list(blocks.of['one'].items())[:4])}).mean_interval() == (-1, 1)


@pytest.mark.parametrize('freedom, point', [(4, 2.776), (7, 2.365), (20, 2.086), (1000, 1.962)])
def test_points_of_students_distribution(freedom, point):
    assert student95(freedom) == pytest.approx(point, rel=0.01)


def test_spread_over_policies():
    assert over_policies([0.5, 0.7, None]) == pytest.approx(
        {'policies': 2, 'mean': 0.6, 'sd': sqrt(0.02), 'lowest': 0.5, 'highest': 0.7})
    assert over_policies([0.5]) is None and over_policies([None, 0.5]) is None
