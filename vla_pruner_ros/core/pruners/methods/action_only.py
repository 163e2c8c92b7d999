# SPDX-License-Identifier: Apache-2.0
"""`action_only`: VLA-Pruner without the semantic half (an ablation of arXiv 2511.16449)."""
from torch import Tensor

from vla_pruner_ros.core.pruners.interface import Needs, ScorePruner, Signals
from vla_pruner_ros.core.pruners.shared.action_attention_base import ActionAttentionPruner


class ActionOnly(ActionAttentionPruner, ScorePruner):
    """Top-k of the smoothed action score alone."""

    name = 'action_only'
    source = 'arXiv 2511.16449, ablation'
    reads_decoder = False

    @property
    def needs(self) -> Needs:
        """Action attention only, so this one may cut before the first layer."""
        return self.action_needs

    def score(self, signals: Signals) -> Tensor:
        """(M,) smoothed action score."""
        return self.action_score(signals)
