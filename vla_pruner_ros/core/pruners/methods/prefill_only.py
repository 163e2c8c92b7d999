# SPDX-License-Identifier: Apache-2.0
"""`prefill_only`: VLA-Pruner without the action half (an ablation of arXiv 2511.16449)."""
from torch import Tensor

from vla_pruner_ros.core.pruners.interface import AttentionPruner, ScorePruner, Signals


class PrefillOnly(AttentionPruner, ScorePruner):
    """Top-k of the semantic score alone; needs no memory and no warm-up."""

    name = 'prefill_only'
    source = 'arXiv 2511.16449, ablation'
    reference_layer = 3

    def score(self, signals: Signals) -> Tensor:
        """(M,) semantic score."""
        return self.semantic_score(signals)
