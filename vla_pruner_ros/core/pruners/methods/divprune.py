# SPDX-License-Identifier: Apache-2.0
"""`divprune`: the most diverse subset, by greedy max-min distance.

DivPrune (arXiv 2503.02175) treats pruning as a max-min diversity problem over the visual
embeddings and solves it greedily before the language model runs.  It looks at no attention at all.
"""
from torch import Tensor

from vla_pruner_ros.core.pruners.interface import Pruner, Signals
from vla_pruner_ros.core.pruners.shared.token_ops import max_min_diversity


class DivPrune(Pruner):
    """Greedy max-min cosine diversity over all projector embeddings."""

    name = 'divprune'
    source = 'arXiv 2503.02175'

    def select(self, signals: Signals, budget: int) -> Tensor:
        """Pick ``budget`` tokens that are far apart."""
        return max_min_diversity(signals.features, None, budget)
