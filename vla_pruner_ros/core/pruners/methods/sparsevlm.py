# SPDX-License-Identifier: Apache-2.0
"""`sparsevlm`: what the text tokens attend to that have something to do with the image.

SparseVLM (arXiv 2410.04417) lets only some text tokens, the raters, judge the visual tokens: those
that are more similar to the image than text tokens are on average.  Our deviations: similarity is
the mean cosine of hidden states, so that a few outlier channels with huge values do not decide;
the cut happens once; dropped tokens are not merged into recycled ones.
"""
import torch
from torch import Tensor
import torch.nn.functional as F

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners.interface import (
    AttentionPruner,
    Needs,
    Pruner,
    required,
    ScorePruner,
    Signals,
)


class SparseVLM(AttentionPruner, ScorePruner):
    """Top-k of the mean attention from the raters."""

    name = 'sparsevlm'
    source = 'arXiv 2410.04417'
    reference_layer = 3

    @classmethod
    def build(cls, parameters: Parameters, prune_layer: int, causal: bool) -> Pruner:
        """Read the text rows whatever ``semantic_query`` says: raters are text tokens."""
        return cls(prune_layer, 'text')

    @property
    def needs(self) -> Needs:
        """Attention and hidden states of the text rows, hidden states of the visual rows."""
        return Needs(prefill_rows='text', text_states=True)

    def raters(self, signals: Signals) -> Tensor:
        """(R,) bool: text rows whose mean similarity to the image is above the average."""
        text = required(signals.text_states, 'text_states', self.name)
        visual = required(signals.visual_states, 'visual_states', self.name)
        image = F.normalize(visual.float(), dim=-1).mean(dim=0)
        similarity = F.normalize(text.float(), dim=-1) @ image
        above = similarity > similarity.mean()
        # Equal rows (or a single one) are all average: then everybody rates.
        return torch.where(above.any(), above, torch.ones_like(above))

    def score(self, signals: Signals) -> Tensor:
        """(M,) mean attention of the raters."""
        attention = required(signals.prefill_attention, 'prefill_attention', self.name)
        weight = self.raters(signals).to(attention.dtype)
        return (weight @ attention) / weight.sum()
