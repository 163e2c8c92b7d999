# SPDX-License-Identifier: Apache-2.0
"""Statistics of episodes that several policies (training seeds) ran on the same placements.

A policy is a fixed block: methods are compared within it only, and how good it is counts for
nothing.  A placement (task, seed) is shared by all policies, so its outcomes are not independent;
the intervals are widened by how much they agree (Kish 1965, design effect) and the test swaps the
methods of a whole placement at once.  With one policy everything is what ``intervals`` has:
Wilson, Newcombe, exact McNemar.  What is said holds for these policies; ``spread`` shows how much
another training seed may differ.  Nothing here knows methods, tasks or files.
"""
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
import math

import numpy as np

from vla_pruner_ros.statistics.intervals import (
    difference_interval,
    mcnemar,
    Pairs,
    wilson,
    Z95,
)

Values = Mapping[str, Mapping[Hashable, float]]  # policy -> placement -> value
FEWEST = 5  # placements below which a mean has no useful interval


@dataclass(frozen=True)
class Blocks:
    """Outcomes of two methods on the episodes that both have, by policy.

    Attributes:
        of: policy -> placement -> (first, second); policies without such an episode are left out.
    """

    of: Mapping[str, Mapping[Hashable, tuple[float, float]]]

    @property
    def episodes(self) -> int:
        """Number of pairs."""
        return sum(len(one) for one in self.of.values())

    @property
    def each(self) -> dict[str, Pairs]:
        """Counts of every policy, of outcomes that are successes."""
        return {name: Pairs.count((bool(first), bool(second)) for first, second in one.values())
                for name, one in self.of.items()}

    @property
    def pairs(self) -> Pairs:
        """Counts of all policies together."""
        return Pairs.count((bool(first), bool(second)) for one in self.of.values()
                           for first, second in one.values())

    @property
    def differences(self) -> dict[str, dict[Hashable, float]]:
        """Policy -> placement -> first minus second."""
        return {name: {key: first - second for key, (first, second) in one.items()}
                for name, one in self.of.items()}

    @property
    def spread(self) -> dict[str, float]:
        """Policy -> mean difference."""
        return {name: float(np.mean([first - second for first, second in one.values()]))
                for name, one in self.of.items()}

    @property
    def difference(self) -> float:
        """Mean difference over all pairs; 0 without pairs."""
        return (sum(first - second for one in self.of.values() for first, second in one.values())
                / self.episodes if self.episodes else 0.0)

    @property
    def same_sign(self) -> int:
        """Policies whose difference has the sign of the whole."""
        return sum(np.sign(one) == np.sign(self.difference) for one in self.spread.values())

    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference of success rates.

        Newcombe's interval of every policy, combined as those of a weighted mean are (Zou and
        Donner 2008) and widened by the design effect.
        """
        total, middle = self.episodes, self.difference
        if not total:
            return -1.0, 1.0
        below = above = 0.0
        for pairs in self.each.values():
            low, high = difference_interval(pairs)
            below += (pairs.episodes / total * (pairs.difference - low)) ** 2
            above += (pairs.episodes / total * (high - pairs.difference)) ** 2
        wider = math.sqrt(design_effect(self.differences))
        return (max(-1.0, middle - wider * math.sqrt(below)),
                min(1.0, middle + wider * math.sqrt(above)))

    def mean_interval(self) -> tuple[float, float]:
        """95 % interval of the difference of means, for shares that are no successes."""
        placements: dict[Hashable, float] = {}
        for one in self.differences.values():
            middle = float(np.mean(list(one.values())))
            for key, value in one.items():
                placements[key] = placements.get(key, 0.0) + value - middle
        count = len(placements)
        if count < FEWEST:
            return -1.0, 1.0
        error = math.sqrt(sum(one * one for one in placements.values()) * count / (count - 1))
        half = student95(count - 1) * error / self.episodes
        return max(-1.0, self.difference - half), min(1.0, self.difference + half)

    def p(self) -> float:
        """Two-sided exact p-value of no difference, for successes."""
        if len(self.of) <= 1:
            return mcnemar(self.pairs)
        placements: dict[Hashable, int] = {}
        for one in self.of.values():
            for key, (first, second) in one.items():
                placements[key] = placements.get(key, 0) + bool(first) - bool(second)
        return sign_flip(list(placements.values()))


def design_effect(values: Values) -> float:
    """How much wider than independent ones the outcomes of shared placements spread, >= 1.

    The variance of the mean with placements as clusters, over that with all outcomes independent;
    policies have their own mean.  One placement on which all policies agree is added, so that few
    events do not look independent; without any event it is the number of policies.
    """
    if len(values) <= 1:
        return 1.0
    clusters: dict[Hashable, float] = {}
    single = float(len(values))
    for one in values.values():
        middle = sum(one.values()) / len(one) if one else 0.0
        for key, value in one.items():
            clusters[key] = clusters.get(key, 0.0) + value - middle
            single += (value - middle) ** 2
    together = len(values) ** 2 + sum(one * one for one in clusters.values())
    return max(1.0, together / single)


def rate_interval(solved: Values) -> tuple[float, float]:
    """Wilson interval of the success rate over all policies, with the effective sample size."""
    total = sum(len(one) for one in solved.values())
    effect = design_effect({name: one for name, one in solved.items() if one})
    return wilson(sum(sum(one.values()) for one in solved.values()) / effect, total / effect)


def sign_flip(sums: Sequence[int]) -> float:
    """Two-sided exact p-value of ``sum(sums)`` when every sign is a fair coin.

    With sums of -1, 0 and 1 this is McNemar's exact test.
    """
    spread = np.ones(1)
    for size in sorted({abs(one) for one in sums} - {0}):
        coins = sum(abs(one) == size for one in sums)
        steps = np.zeros(2 * size * coins + 1)
        steps[::2 * size] = [math.comb(coins, heads) / 2 ** coins for heads in range(coins + 1)]
        spread = np.convolve(spread, steps)
    values = np.arange(len(spread)) - len(spread) // 2
    return min(1.0, float(spread[np.abs(values) >= abs(sum(sums))].sum()))


def student95(freedom: int) -> float:
    """Two-sided 95 % point of Student's t (expansion, 1 % right from 4 degrees of freedom on)."""
    z, n = Z95, freedom
    return (z + (z ** 3 + z) / (4 * n) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * n ** 2)
            + (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * n ** 3))


def over_policies(rates: Sequence[float | None]) -> dict[str, float] | None:
    """Mean, standard deviation and ends of one number per policy; None below two."""
    known: list[float] = [one for one in rates if one is not None]
    if len(known) < 2:
        return None
    return {'policies': len(known), 'mean': float(np.mean(known)),
            'sd': float(np.std(known, ddof=1)), 'lowest': min(known), 'highest': max(known)}
