# SPDX-License-Identifier: Apache-2.0
"""Statistics of success rates: intervals, and tests on paired episodes.

Every method runs the same seeds, so two methods are compared episode by episode: what counts is
how often one solves what the other does not.  Nothing here knows methods, tasks or files.
"""
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math

Z95 = 1.959963984540054  # two-sided 95 % point of the normal distribution


def wilson(successes: float, episodes: float, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a success rate (Wilson 1927); (0, 1) without episodes.

    Counts need not be whole: an effective sample size may be smaller than the real one.
    """
    if not episodes:
        return 0.0, 1.0
    rate, share = successes / episodes, z * z / episodes
    centre = (rate + share / 2) / (1 + share)
    spread = z / (1 + share) * math.sqrt(rate * (1 - rate) / episodes + share / (4 * episodes))
    # At the ends the interval touches 0 or 1 exactly; rounding must not move it off.
    low = 0.0 if successes == 0 else max(0.0, centre - spread)
    return low, 1.0 if successes == episodes else min(1.0, centre + spread)


@dataclass(frozen=True)
class Pairs:
    """Outcomes of two methods on the same episodes.

    Attributes:
        both: solved by both.
        first: solved by the first method only.
        second: solved by the second method only.
        neither: solved by none.
    """

    both: int
    first: int
    second: int
    neither: int

    @classmethod
    def count(cls, outcomes: Iterable[tuple[bool, bool]]) -> 'Pairs':
        """Count (first solved, second solved) pairs."""
        cells = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
        for first, second in outcomes:
            cells[bool(first), bool(second)] += 1
        return cls(*cells.values())

    @property
    def episodes(self) -> int:
        """Number of pairs."""
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> float:
        """Success rate of the first minus that of the second; 0 without pairs."""
        return (self.first - self.second) / self.episodes if self.episodes else 0.0


def mcnemar(pairs: Pairs) -> float:
    """Two-sided exact McNemar p-value (McNemar 1947): a sign test on the discordant pairs."""
    trials, fewer = pairs.first + pairs.second, min(pairs.first, pairs.second)
    tail = sum(math.comb(trials, k) for k in range(fewer + 1))
    whole: int = 2 ** trials  # whole numbers: exact for any number of trials
    return min(1.0, 2 * tail / whole)


def difference_interval(pairs: Pairs, z: float = Z95) -> tuple[float, float]:
    """Interval of the paired difference first - second (Newcombe 1998, method 10).

    Made of the two Wilson intervals and the correlation of the outcomes, so it stays inside
    [-1, 1] and has a width even where no pair is discordant.
    """
    total = pairs.episodes
    if not total:
        return -1.0, 1.0
    rates, below, above = [], [], []
    for solved in (pairs.both + pairs.first, pairs.both + pairs.second):
        low, high = wilson(solved, total, z)
        rates.append(solved / total)
        below.append(solved / total - low)
        above.append(high - solved / total)
    phi = _correlation(pairs)
    down = below[0] ** 2 - 2 * phi * below[0] * above[1] + above[1] ** 2
    up = above[0] ** 2 - 2 * phi * above[0] * below[1] + below[1] ** 2
    # max: a perfect correlation leaves a rounding error where zero is meant
    return (max(-1.0, pairs.difference - math.sqrt(max(0.0, down))),
            min(1.0, pairs.difference + math.sqrt(max(0.0, up))))


def _correlation(pairs: Pairs) -> float:
    """Continuity-corrected phi coefficient; 0 where a margin is empty."""
    product = ((pairs.both + pairs.first) * (pairs.second + pairs.neither)
               * (pairs.both + pairs.second) * (pairs.first + pairs.neither))
    if not product:
        return 0.0
    numerator: float = pairs.both * pairs.neither - pairs.first * pairs.second
    if numerator > 0:
        numerator = max(0.0, numerator - pairs.episodes / 2)
    return numerator / math.sqrt(product)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979), in the given order: safe for many comparisons."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
