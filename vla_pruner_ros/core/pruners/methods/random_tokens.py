# SPDX-License-Identifier: Apache-2.0
"""`random`: a seeded sample, the floor under every method.

The sample depends on seed, step and image only, so a replay repeats it; at the same step a larger
budget contains the smaller one, which makes comparisons over budgets paired.
"""
import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners.interface import Pruner, Signals


class RandomTokens(Pruner):
    """Uniformly random tokens, other ones at every step."""

    name = 'random'
    source = 'baseline'

    def __init__(self, prune_layer: int = 0, seed: int = 0):
        """Draw from ``seed``."""
        super().__init__(prune_layer)
        self.seed = seed

    @classmethod
    def build(cls, parameters: Parameters, prune_layer: int, causal: bool) -> Pruner:
        """Use the ``seed`` parameter."""
        return cls(prune_layer, parameters.seed)

    def select(self, signals: Signals, budget: int) -> Tensor:
        """First ``budget`` entries of a permutation drawn for (seed, step, image)."""
        random = np.random.default_rng((self.seed, signals.step, signals.image))
        chosen = np.sort(random.permutation(len(signals.features))[:budget])
        return torch.from_numpy(chosen).to(signals.features.device)
