# SPDX-License-Identifier: Apache-2.0
"""Memory of where the action tokens looked in the last control steps.

The action score of this step cannot be known before the step is computed, but a robot's attention
moves slowly, so the scores of the last ``window`` steps, newest weighing most, stand in for it
(VLA-Pruner, arXiv 2511.16449): ``S_hat(t) = sum_i gamma^i S(t-i) / sum_i gamma^i, i = 1..w``.
Tokens that were dropped were not looked at.  With ``unseen='zero'`` (the reference) they score
zero and can come back only through the semantic pool; with ``'carry'`` (ours) they keep their last
score, decayed once per step.  This file knows nothing about models, budgets or images.
"""
from collections import deque

import torch
from torch import Tensor

from vla_pruner_ros.core.errors import BackendError


def smoothing_weights(window: int, decay: float) -> tuple[float, ...]:
    """Weights ``gamma^i / sum(gamma^i)`` of the steps ``i = window .. 1`` ago, oldest first."""
    powers = [decay ** i for i in range(window, 0, -1)]
    return tuple(one / sum(powers) for one in powers)


class ActionMemory:
    """The last ``window`` action scores of every image.

    Args:
        window: control steps that are smoothed over (w).
        decay: weight ratio of one step to the next newer one (gamma), 0 < gamma <= 1.
        carry: keep the decayed last known score of tokens that were not visible; else zero.
        refresh_period: every so many model runs one should see all tokens; 0 = never.
        reversed_decay: give the OLDEST step the largest weight, as the published OpenVLA code does
            by mistake; only for comparing with that code.
    """

    def __init__(self, window: int = 3, decay: float = 0.8, carry: bool = True,
                 refresh_period: int = 0, reversed_decay: bool = False):
        self.window, self.decay, self.carry = window, decay, carry
        self.refresh_period = refresh_period
        #: Weight per step, oldest first; they sum to one.
        self.weights = smoothing_weights(window, decay)
        if reversed_decay:
            self.weights = self.weights[::-1]
        self._scores: dict[int, deque[Tensor]] = {}  # image -> (M,) scores, oldest first
        self._runs_since_full_view = 0
        self._full_view = True

    def hold_reason(self) -> str:
        """``'warm_up'`` until every window is full, ``'refresh'`` when due, else ``''``."""
        if not self._scores or any(len(one) < self.window for one in self._scores.values()):
            return 'warm_up'
        due = self.refresh_period and self._runs_since_full_view >= self.refresh_period - 1
        return 'refresh' if due else ''

    def observe(self, image: int, kept: Tensor, attention: Tensor, tokens: int) -> None:
        """Take in one image's action attention.

        Args:
            image: index of the image.
            kept: (n,) indices of the tokens that were visible.
            attention: (n,) what they received.
            tokens: M.

        Raises:
            BackendError: the two lengths differ.
        """
        if kept.shape != attention.shape or kept.dim() != 1:
            raise BackendError(f'action attention has shape {tuple(attention.shape)} for '
                               f'{tuple(kept.shape)} visible tokens')
        past = self._scores.get(image)
        if past is None or (past and len(past[-1]) != tokens):
            past = self._scores[image] = deque(maxlen=self.window)
        wide = attention if attention.dtype == torch.float64 else attention.float()
        if self.carry and past:
            score = past[-1] * self.decay
        else:
            score = torch.zeros(tokens, dtype=wide.dtype, device=wide.device)
        score[kept] = wide
        past.append(score)
        self._full_view = self._full_view and len(kept) == tokens

    def end_step(self) -> None:
        """Close a model run, after all its images were observed."""
        self._runs_since_full_view = 0 if self._full_view else self._runs_since_full_view + 1
        self._full_view = True

    def smoothed(self, image: int) -> Tensor:
        """(M,) smoothed action score of one image.

        Raises:
            BackendError: the window of this image is not full.
        """
        past = self._scores.get(image, deque())
        if len(past) < self.window:
            raise BackendError(f'image {image} has {len(past)} of {self.window} action scores; '
                               'the steps before that must run unpruned')
        total = torch.zeros_like(past[0])
        for weight, score in zip(self.weights, past):
            total += weight * score
        return total

    def adopt(self, other: 'ActionMemory') -> None:
        """Take over another memory's scores; a longer window then warms up for what is missing."""
        self._scores = {image: deque(past, maxlen=self.window)
                        for image, past in other._scores.items()}
        self._runs_since_full_view = other._runs_since_full_view

    def clear(self) -> None:
        """Forget everything (new episode, instruction or camera)."""
        self._scores.clear()
        self._runs_since_full_view = 0
        self._full_view = True
