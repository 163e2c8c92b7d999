# SPDX-License-Identifier: Apache-2.0
"""`uniform`: an even grid; looks at nothing, yet is hard to beat where objects are large."""
from torch import Tensor

from vla_pruner_ros.core.pruners.interface import Pruner, Signals
from vla_pruner_ros.core.pruners.shared.token_ops import uniform_grid


class Uniform(Pruner):
    """The same evenly spaced patches at every step."""

    name = 'uniform'
    source = 'baseline'

    def select(self, signals: Signals, budget: int) -> Tensor:
        """Even grid of exactly ``budget`` patches."""
        return uniform_grid(*signals.grid, budget).to(signals.features.device)
