# SPDX-License-Identifier: Apache-2.0
"""Operations that the methods share: budget, top-k, max-min diversity, even grid.

All return exactly as many indices as asked for, ascending, and are deterministic: where two tokens
tie, the lower index wins.  Nothing here knows images, layers or attention.
"""
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.core.errors import BackendError, ConfigError


def token_budget(tokens: int, ratio: float) -> int:
    """Tokens kept when the fraction ``ratio`` of ``tokens`` is pruned: ``round(M * (1 - ratio))``.

    Every method is compared at the same number, so there is only this one function.

    Raises:
        ConfigError: ``ratio`` is outside [0, 1) or leaves not a single token.
    """
    kept = round(tokens * (1.0 - ratio)) if 0.0 <= ratio < 1.0 else 0
    if kept < 1:
        raise ConfigError(f'pruning ratio {ratio!r} of {tokens} tokens keeps none; accepted: a '
                          'number from 0 up to but not including 1 that keeps at least one token')
    return kept


def top_k(score: Tensor, k: int) -> Tensor:
    """Ascending int64 indices (k,) of the ``k`` highest values of ``score`` (M,).

    Raises:
        BackendError: ``score`` holds a NaN (an ordering with NaN keeps arbitrary tokens), is not
            one-dimensional, or has fewer than ``k`` values.
    """
    if score.dim() != 1 or not 0 <= k <= score.numel():
        raise BackendError(f'cannot take the top {k} of a score of shape {tuple(score.shape)}')
    return (_top_k_numpy if score.device.type == 'cpu' else _top_k_torch)(score, k)


def _top_k_numpy(score: Tensor, k: int) -> Tensor:
    wide = score.detach()
    values = (wide if wide.dtype == torch.float64 else wide.float()).numpy()
    _check_ordered(int(np.isnan(values).sum()), len(values))
    return torch.from_numpy(np.sort(np.argsort(-values, kind='stable')[:k]))


def _top_k_torch(score: Tensor, k: int) -> Tensor:
    _check_ordered(int(torch.isnan(score).sum()), len(score))
    return torch.sort(score, descending=True, stable=True).indices[:k].sort().values


def _check_ordered(bad: int, total: int) -> None:
    if bad:
        raise BackendError(f'a token score is NaN in {bad} of {total} places: there is nothing to '
                           'choose the tokens by')


def union(first: Tensor, second: Tensor, tokens: int) -> Tensor:
    """Ascending indices that are in either of two index lists over ``tokens`` tokens."""
    member = torch.zeros(tokens, dtype=torch.bool, device=first.device)
    member[first] = True
    member[second] = True
    return member.nonzero().squeeze(1)


def max_min_diversity(features: Tensor, candidates: Tensor | None, k: int) -> Tensor:
    """Pick ``k`` candidates that are far apart: greedy max-min over cosine distance.

    The first pick is the candidate whose nearest other candidate is farthest; each further pick is
    the candidate with the largest distance (1 - cosine similarity) to its nearest chosen one.

    Args:
        features: (M, D) embeddings; an all-zero row has distance 1 to every other row.
        candidates: (C,) indices into ``features``, or None for all; their order does not matter.
        k: number to pick; with k >= C all candidates are returned.

    Returns:
        (min(k, C),) ascending int64 indices into ``features``.

    Raises:
        BackendError: ``features`` of a candidate are not finite.
    """
    if candidates is None:
        candidates = torch.arange(len(features), device=features.device)
    else:
        candidates = candidates.sort().values
    if k >= len(candidates):
        return candidates
    wide = features.detach().index_select(0, candidates)
    wide = wide if wide.dtype == torch.float64 else wide.float()
    product = wide @ wide.T  # (C, C)
    if product.device.type == 'cpu':
        order = torch.from_numpy(_greedy_numpy(_cosine_numpy(product.numpy()), k))
    else:
        order = _greedy_torch(_cosine_torch(product), k)
    return candidates.index_select(0, order).sort().values


def _cosine_numpy(product: np.ndarray) -> np.ndarray:
    """Scale inner products (C, C) in place to cosines; 0 for an all-zero row.

    Scaling the small product is cheaper than normalising (C, D) embeddings first.
    """
    squares = product.diagonal().copy()
    _check_finite(int((~np.isfinite(squares)).sum()), len(squares))
    scale = np.zeros_like(squares)
    np.divide(1.0, np.sqrt(squares), out=scale, where=squares > 0)
    product *= scale
    product *= scale[:, None]
    return product


def _cosine_torch(product: Tensor) -> Tensor:
    """Do the same on any device."""
    squares = product.diagonal().clone()
    _check_finite(int((~torch.isfinite(squares)).sum()), len(squares))
    scale = torch.where(squares > 0, squares.rsqrt(), torch.zeros_like(squares))
    product *= scale.unsqueeze(0)
    product *= scale.unsqueeze(1)
    return product


def _check_finite(bad: int, total: int) -> None:
    if bad:
        raise BackendError(f'{bad} of {total} token embeddings are not finite')


def _greedy_numpy(similarity: np.ndarray, k: int) -> np.ndarray:
    """Greedy order (k,) on the CPU; in-place numpy costs 2-3 us per pick, torch about 15."""
    np.fill_diagonal(similarity, -np.inf)
    order = np.zeros(k, dtype=np.int64)
    # Rows and columns: rounding is not symmetric, and would decide between each other's nearest.
    pick = int(np.maximum(similarity.max(axis=1), similarity.max(axis=0)).argmin())
    nearest = similarity[pick].copy()  # (C,) highest similarity to anything chosen
    nearest[pick] = np.inf  # the chosen never come back: inf survives every maximum
    order[0] = pick
    for i in range(1, k):
        pick = nearest.argmin()
        order[i] = pick
        np.maximum(nearest, similarity[pick], out=nearest)
        nearest[pick] = np.inf
    return order


def _greedy_torch(similarity: Tensor, k: int) -> Tensor:
    """Greedy order (k,) on any device; no value travels to the host inside the loop."""
    similarity = similarity.clone()
    similarity.fill_diagonal_(-torch.inf)
    order = torch.empty(k, dtype=torch.int64, device=similarity.device)
    pick = torch.maximum(similarity.amax(dim=1), similarity.amax(dim=0)).argmin().view(1)
    nearest = torch.full_like(similarity[0], -torch.inf)
    for i in range(k):
        if i:
            pick = nearest.argmin().view(1)
        order[i:i + 1] = pick
        nearest = torch.maximum(nearest, similarity.index_select(0, pick)[0])
        nearest.index_fill_(0, pick, torch.inf)
    return order


@lru_cache(maxsize=64)
def _grid_indices(rows: int, cols: int, k: int) -> tuple[int, ...]:
    if not 0 <= k <= rows * cols:
        raise BackendError(f'cannot spread {k} tokens over a {rows} x {cols} grid')
    used = min(rows, max(-(-k // cols), round((k * rows / cols) ** 0.5)), k) if k else 0
    kept = []
    for i in range(used):
        row = (2 * i + 1) * rows // (2 * used)
        here = (i + 1) * k // used - i * k // used
        kept += [row * cols + (2 * j + 1) * cols // (2 * here) for j in range(here)]
    return tuple(kept)


def uniform_grid(rows: int, cols: int, k: int) -> Tensor:
    """Exactly ``k`` ascending indices spread evenly over a ``rows`` x ``cols`` grid (row-major).

    About sqrt(k) evenly spaced rows (scaled by the aspect ratio) share the ``k`` tokens as evenly
    as whole numbers allow; inside a row the columns are evenly spaced.
    """
    return torch.tensor(_grid_indices(rows, cols, k), dtype=torch.int64)


def share(score: Tensor) -> Tensor:
    """Scale a score (M,) to sum to one, so that two scores can be averaged as equals."""
    return score / score.sum().clamp(min=1e-30)
