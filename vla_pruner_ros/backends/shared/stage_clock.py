# SPDX-License-Identifier: Apache-2.0
"""Milliseconds of the stages of one policy call."""
import time

import torch


class StageClock:
    """Laps; a CUDA device's queue is drained at each, so work is charged where it is done.

    Args:
        device: where the policy runs.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self.stages: dict[str, float] = {}
        self._last = self._now()

    def _now(self) -> float:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def lap(self, name: str) -> None:
        """Close a stage."""
        now = self._now()
        self.stages[name], self._last = (now - self._last) * 1e3, now
