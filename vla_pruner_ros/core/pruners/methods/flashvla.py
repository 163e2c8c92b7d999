# SPDX-License-Identifier: Apache-2.0
"""`flashvla`: tokens whose attention output carries the most information.

FlashVLA (arXiv 2505.21200) decomposes the attention output of the visual rows, X = U S V^T (N x
d), and scores token x by ``C(x) = sum_{i <= r} |u_xi * s_i|`` over the r leading directions.  No
attention weights are needed.  U S comes from the eigenvectors of the N x N matrix X X^T, which is
far cheaper than an SVD of N x d.  The paper does not define r; ours is the effective rank
``ceil(exp(H(p)))``, H the entropy of ``p_i = s_i / sum(s)`` (Roy and Vetterli, 2007).
"""
import torch
from torch import Tensor

from vla_pruner_ros.core.pruners.interface import Needs, required, ScorePruner, Signals


class FlashVLA(ScorePruner):
    """Top-k of the information contribution."""

    name = 'flashvla'
    source = 'arXiv 2505.21200'
    reference_layer = 2
    reads_decoder = True

    @property
    def needs(self) -> Needs:
        """Attention output of the visual rows."""
        return Needs(attention_output=True)

    def score(self, signals: Signals) -> Tensor:
        """(M,) information contribution."""
        return contribution(required(signals.attention_output, 'attention_output', self.name))


def effective_rank(singular_values: Tensor) -> Tensor:
    """Effective rank ``ceil(exp(H(s / sum s)))`` as a 0-d tensor (0 for all zeros).

    A value that is a whole number up to rounding is not rounded up to the next.
    """
    share = singular_values / singular_values.sum().clamp(min=1e-300)
    entropy = torch.special.entr(share).sum()
    rank = (torch.exp(entropy) * (1.0 - 1e-9)).ceil()
    return torch.where(singular_values.sum() > 0, rank, torch.zeros_like(rank))


def contribution(x: Tensor) -> Tensor:
    """Information contribution (N,) of the rows of ``x`` (N, d).

    float64 because forming X X^T squares the condition number; the eigen-decomposition of the
    smaller of X X^T and X^T X is taken.
    """
    wide = x.to(torch.float64)
    tall = wide.shape[0] > wide.shape[1]
    gram = wide.T @ wide if tall else wide @ wide.T
    squared, vectors = torch.linalg.eigh(gram)  # ascending
    squared, vectors = squared.flip(0), vectors.flip(1)
    # Eigenvalues below the rounding error of the product are noise, also negative: no direction.
    noise = squared[:1].clamp(min=0.0) * gram.shape[0] * torch.finfo(torch.float64).eps
    singular = torch.where(squared > noise, squared, torch.zeros_like(squared)).sqrt()
    scaled = wide @ vectors if tall else vectors * singular  # (N, min(N, d)) = U S
    leading = torch.arange(len(singular), device=x.device) < effective_rank(singular)
    score: Tensor = (scaled.abs() * leading).sum(dim=1)
    return score
