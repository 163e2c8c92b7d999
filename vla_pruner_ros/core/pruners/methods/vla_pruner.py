# SPDX-License-Identifier: Apache-2.0
"""`vla_pruner`: keep what prompt or hand look at, then thin out near-copies.

VLA-Pruner (arXiv 2511.16449) builds two pools of full budget, the top tokens by semantic score
(what the prompt attends to before the cut) and by action score (what the action tokens attended to
over the last steps), and thins their union to the budget by max-min diversity of the projector
embeddings.  Relevance plays no part in the thinning and no token is protected.  Our deviations are
the semantic rows (last token on causal models), the carried score of dropped tokens and the
optional refresh step; see docs/algorithms.md.  This file does not know how attention is obtained.
"""

from torch import Tensor

from vla_pruner_ros.core.pruners.interface import Signals
from vla_pruner_ros.core.pruners.shared.action_attention_base import ActionAttentionPruner
from vla_pruner_ros.core.pruners.shared.token_ops import max_min_diversity, top_k, union


class VlaPruner(ActionAttentionPruner):
    """Combine two pools, then filter their union to the budget."""

    name = 'vla_pruner'
    source = 'arXiv 2511.16449'

    def pools(self, signals: Signals, budget: int) -> tuple[Tensor, Tensor]:
        """Return the semantic and the action pool, (budget,) ascending indices each."""
        return (top_k(self.semantic_score(signals), budget),
                top_k(self.action_score(signals), budget))

    def select(self, signals: Signals, budget: int) -> Tensor:
        """Combine, then filter; the union C has ``budget <= |C| <= 2 * budget`` tokens."""
        semantic, action = self.pools(signals, budget)
        combined = union(semantic, action, len(signals.features))
        return max_min_diversity(signals.features, combined, budget)
