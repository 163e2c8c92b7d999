# SPDX-License-Identifier: Apache-2.0
"""`none`: keep every visual token; the reference that all others are compared with."""
import torch
from torch import Tensor

from vla_pruner_ros.core.pruners.interface import Pruner, Signals


class KeepAll(Pruner):
    """No pruning; the selector never cuts with it, so ``select`` answers only direct callers."""

    name = 'none'
    source = 'baseline'

    def select(self, signals: Signals, budget: int) -> Tensor:
        """All indices, whatever the budget."""
        return torch.arange(len(signals.features), device=signals.features.device)
