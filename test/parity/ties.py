# SPDX-License-Identifier: Apache-2.0
"""Compares decisions: sets that differ only where two kernels round differently are equal.

A kept set follows from scores.  Where a score is known to a tolerance only, so is the set: some
tokens are certainly in, some possibly.  A set of the published code is accepted if it is one that
the same rule gives for scores within the tolerance, and then it is exactly as right as ours.
"""
import numpy as np


def top_k_bounds(low: np.ndarray, high: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens are among the ``k`` highest if score ``i`` lies in ``low[i] .. high[i]``.

    Args:
        low: (M,) least value of each score.
        high: (M,) largest value.
        k: how many are taken; equal scores may fall either way.

    Returns:
        (M,) bool, those that are taken whatever the scores are; (M,) bool, those that may be.
    """
    at_least = (high[None, :] >= low[:, None]).sum(1)  # counts the token itself
    surely_above = (low[None, :] > high[:, None]).sum(1)
    return at_least <= k, surely_above < k


def is_top_k(kept: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether ``kept``, distinct indices, may be the top of scores within their bounds."""
    sure, possible = top_k_bounds(low, high, len(kept))
    member = np.isin(np.arange(len(low)), kept)
    return bool((member >= sure).all() and (member <= possible).all())


def cosines(features: np.ndarray) -> np.ndarray:
    """(M, M) float64 cosine similarities of the rows of ``features`` (M, D)."""
    wide = features.astype(np.float64)
    wide = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return wide @ wide.T


def is_max_min(kept: np.ndarray, similarity: np.ndarray, sure: np.ndarray, possible: np.ndarray,
               tolerance: float) -> bool:
    """Whether ``kept`` may be what greedy max-min diversity takes from a set of candidates.

    Each pick must be as far from the chosen ones as the farthest candidate, up to ``tolerance``.

    Args:
        kept: distinct indices, in any order.
        similarity: (M, M) cosines.
        sure: (M,) bool, certain candidates.
        possible: (M,) bool, all that may be candidates; ``sure`` is among them.
        tolerance: by which a cosine may be off.
    """
    if not possible[kept].all():
        return False
    apart = similarity.copy()
    np.fill_diagonal(apart, -np.inf)
    # The first pick has the farthest nearest neighbour; who are neighbours is known to bounds too.
    nearest_least = apart[:, sure].max(1)
    farthest = apart[np.ix_(sure, possible)].max(1).min()
    starts = [one for one in kept if nearest_least[one] <= farthest + tolerance]
    return any(_follows(one, kept, apart, sure, tolerance) for one in starts)


def _follows(start: int, kept: np.ndarray, apart: np.ndarray, sure: np.ndarray,
             tolerance: float) -> bool:
    left = [int(one) for one in kept if one != start]
    waiting = sure.copy()
    waiting[start] = False
    nearest = apart[start].copy()
    while left:
        pick = min(left, key=nearest.__getitem__)
        if waiting.any() and nearest[pick] > nearest[waiting].min() + tolerance:
            return False
        left.remove(pick)
        waiting[pick] = False
        nearest = np.maximum(nearest, apart[pick])
    return True
