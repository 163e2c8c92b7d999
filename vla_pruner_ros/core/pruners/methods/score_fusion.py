# SPDX-License-Identifier: Apache-2.0
"""`score_fusion`: one score from both halves (an ablation of arXiv 2511.16449).

The two scores are averaged instead of pooled.  Each is first scaled to sum to one over the image:
prefill attention and smoothed action attention put different shares of their mass on the image,
and without this the larger one would decide alone.
"""
from torch import Tensor

from vla_pruner_ros.core.pruners.interface import ScorePruner, Signals
from vla_pruner_ros.core.pruners.shared.action_attention_base import ActionAttentionPruner
from vla_pruner_ros.core.pruners.shared.token_ops import share


class ScoreFusion(ActionAttentionPruner, ScorePruner):
    """Top-k of the mean of the two scores, each scaled to sum to one."""

    name = 'score_fusion'
    source = 'arXiv 2511.16449, ablation'

    def score(self, signals: Signals) -> Tensor:
        """(M,) fused score."""
        return 0.5 * (share(self.semantic_score(signals)) + share(self.action_score(signals)))
