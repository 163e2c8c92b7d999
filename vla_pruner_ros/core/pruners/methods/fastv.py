# SPDX-License-Identifier: Apache-2.0
"""`fastv`: what the last prompt token attends to after a few layers.

FastV (arXiv 2403.06764) observes that visual tokens receive little attention in deep layers and
drops those that the last prompt row attends to least at one early layer.  Our deviation: a number
of tokens is kept instead of a ratio dropped, so that all methods keep the same number.
"""
from torch import Tensor

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners.interface import AttentionPruner, Pruner, ScorePruner, Signals


class FastV(AttentionPruner, ScorePruner):
    """Top-k of the last prompt row's attention, heads averaged."""

    name = 'fastv'
    source = 'arXiv 2403.06764'
    reference_layer = 3

    @classmethod
    def build(cls, parameters: Parameters, prune_layer: int, causal: bool) -> Pruner:
        """Read the last row whatever ``semantic_query`` says: that row defines the method."""
        return cls(prune_layer, 'last_token')

    def score(self, signals: Signals) -> Tensor:
        """(M,) attention of the last prompt row."""
        return self.semantic_score(signals)
