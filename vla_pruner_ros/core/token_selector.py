# SPDX-License-Identifier: Apache-2.0
"""Between backend and pruner: one selector per control step.

It owns the questions that are the same for every method: is this step pruned at all, what is the
budget, and are the returned indices sane.  Backends call ``choose`` at the cut and ``feedback`` at
the end; they never see the pruner.
"""
from collections.abc import Sequence
import time

import numpy as np
from torch import Tensor

from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.pruners.interface import Feedback, Needs, Pruner, Signals


class TokenSelector:
    """Token selection of one policy call.

    Args:
        pruner: the method, or None to keep everything.
        budget: visual tokens to keep per image; 0 or >= M keeps all.
        tokens_per_image: M.
        step: policy calls since the last reset.
    """

    def __init__(self, pruner: Pruner | None, budget: int, tokens_per_image: int,
                 step: int = 0):
        self._pruner = pruner
        self.budget = budget if 0 < budget < tokens_per_image else tokens_per_image
        self.tokens_per_image = tokens_per_image
        self.step = step
        self.select_ms = 0.0
        if pruner is None or pruner.name == 'none':
            self.unpruned_reason = 'none'
        elif self.budget == tokens_per_image:
            self.unpruned_reason = 'budget_all'
        else:
            self.unpruned_reason = pruner.hold_reason()

    @property
    def cut_layer(self) -> int | None:
        """Decoder layer before which tokens are dropped; None = no cut in this step."""
        return None if self.unpruned_reason or self._pruner is None else self._pruner.prune_layer

    @property
    def needs(self) -> Needs:
        """Signals to capture now: cut signals only when cutting, action rows whenever wanted."""
        if self._pruner is None:
            return Needs()
        needs = self._pruner.needs
        return needs if self.cut_layer is not None else Needs(action_rows=needs.action_rows)

    def choose(self, signals: Sequence[Signals]) -> list[Tensor]:
        """Ask the pruner for every image; per image ``budget`` sorted indices.

        Raises:
            BackendError: the pruner returned another number of tokens than the budget, or indices
                that are not ascending or not of this image.
        """
        if self._pruner is None:
            raise BackendError('choose() was called on a selector without a pruner')
        begin = time.perf_counter()
        kept = [self._pruner.select(one, self.budget) for one in signals]
        self.select_ms = (time.perf_counter() - begin) * 1e3
        for one in kept:
            self._check(self._pruner.name, one.detach().cpu().numpy())
        return kept

    def _check(self, name: str, kept: np.ndarray) -> None:
        # A wrong index would gather a wrong row silently: everything still runs, on garbage.
        if len(kept) != self.budget:
            raise BackendError(f'pruner {name!r} kept {len(kept)} visual tokens, the budget is '
                               f'{self.budget}')
        if kept[0] < 0 or kept[-1] >= self.tokens_per_image or (kept[1:] <= kept[:-1]).any():
            raise BackendError(f'pruner {name!r} answered indices that are not ascending within '
                               f'0 .. {self.tokens_per_image - 1}: {kept.tolist()}')

    def feedback(self, feedbacks: Sequence[Feedback]) -> None:
        """Show the pruner what the action tokens attended to, then close the step."""
        if self._pruner is not None:
            for one in feedbacks:
                self._pruner.observe(one)
            self._pruner.end_step()
