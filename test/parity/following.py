# SPDX-License-Identifier: Apache-2.0
"""Runs our pruners beside a recorded episode whose every decision feeds the next.

Where the published code kept another set that differs by ties only, it is as right as ours, and
the episode goes on with it, so that the later frames still compare.
"""
from collections.abc import Callable
from typing import Any

import numpy as np
from parity.ours import TOLERANCE
from parity.ties import cosines, is_max_min, is_top_k, top_k_bounds
import torch
from torch import Tensor

from vla_pruner_ros.core.attention_memory import ActionMemory
from vla_pruner_ros.core.pruners.interface import Feedback, Pruner, Signals

Bounds = tuple[np.ndarray, np.ndarray]


def score_bounds(score: Tensor, rounded: bool = False) -> Bounds:
    """Least and largest value (M,) that other kernels may find for a score of ours.

    ``rounded``: after rounding to bfloat16, as the published code does with its history.
    """
    low, high = score * (1 - TOLERANCE['scores']), score * (1 + TOLERANCE['scores'])
    if rounded:
        low, high = low.bfloat16().float(), high.bfloat16().float()
    return low.numpy(), high.numpy()


def history(memory: ActionMemory) -> Tensor:
    """The smoothed action score (M,) as the published code ranks it: scaled to sum one."""
    smoothed = memory.smoothed(0)
    return smoothed / smoothed.sum()


class Follower:
    """Reads what passes between the selector and a pruner, and follows a recorded episode.

    Args:
        pruner: ours; its ``select`` and ``observe`` are replaced.
        kept: (F, M) what the published code kept in each frame, filled up with -1.
        is_right: whether a set (budget,) could be the pruner's answer to these signals.
    """

    def __init__(self, pruner: Pruner, kept: np.ndarray,
                 is_right: Callable[[Signals, np.ndarray], bool]):
        self.frame = 0
        self.ties: list[int] = []  # frames where a tie was decided the other way
        self.other: list[int] = []  # frames that no tie explains
        self.semantic, self.seen = torch.empty(0), torch.empty(0)
        self._pruner: Any = pruner
        self._kept, self._is_right = kept, is_right
        self._select, self._observe = pruner.select, pruner.observe
        self._pruner.select, self._pruner.observe = self.select, self.observe

    def select(self, signals: Signals, budget: int) -> Tensor:
        """Ours, or theirs where it is as right as ours."""
        self.semantic = self._pruner.semantic_score(signals)
        ours, theirs = self._select(signals, budget), self._kept[self.frame]
        theirs = theirs[theirs >= 0].astype(np.int64)
        if ours.tolist() == theirs.tolist():
            return ours
        if len(theirs) != budget or not self._is_right(signals, theirs):
            self.other.append(self.frame)
            return ours
        self.ties.append(self.frame)
        return torch.from_numpy(theirs)

    def observe(self, feedback: Feedback) -> None:
        """Pass on, and remember the attention of all tokens, zero where one was not seen."""
        self._observe(feedback)
        self.seen = torch.zeros(feedback.tokens)
        self.seen[feedback.kept] = feedback.action_attention.float()


def by_fastv(pruner: Any) -> Callable[[Signals, np.ndarray], bool]:
    """What FastV may keep: the tokens with the highest score."""
    return lambda signals, kept: is_top_k(kept, *score_bounds(pruner.score(signals)))


def by_vla_pruner(pruner: Any, rounded: bool = False) -> Callable[[Signals, np.ndarray], bool]:
    """What VLA-Pruner may keep: a diverse part of two pools, the history ``rounded`` or not."""
    def is_right(signals: Signals, kept: np.ndarray) -> bool:
        semantic = top_k_bounds(*score_bounds(pruner.semantic_score(signals)), len(kept))
        action = top_k_bounds(*score_bounds(history(pruner.memory), rounded), len(kept))
        sure, possible = (one | other for one, other in zip(semantic, action))
        return is_max_min(kept, cosines(signals.features.numpy()), sure, possible,
                          TOLERANCE['cosines'])
    return is_right
