# SPDX-License-Identifier: Apache-2.0
"""Attention weights of a few query rows, beside SDPA.

A token-selection method wants the weights of one row, or of some twenty text rows, to the visual
columns.  SDPA returns no weights, and eager attention would materialise all of them.  So: scores
of the wanted rows against ALL keys (the normaliser needs them), one log-sum-exp per row, and the
exponential only at the wanted columns.  Exact, and cheap beside the layer itself.
"""

import torch
from torch import Tensor


def causal_mask(row_positions: Tensor, key_positions: Tensor) -> Tensor:
    """Return (R, L) bool, True where a key is not after the row."""
    return key_positions[None, :] <= row_positions[:, None]


def attention_rows(queries: Tensor, keys: Tensor, scale: float, columns: slice,
                   mask: Tensor | None = None) -> Tensor:
    """Softmax attention of ``queries`` over all ``keys``, returned at ``columns`` only.

    Args:
        queries: (B, H, R, D), rotated.
        keys: (B, Hkv, L, D), rotated; grouped heads are not copied.
        scale: factor on the dot products, usually ``D ** -0.5``.
        columns: span of key columns wanted, C of them.
        mask: None, or broadcastable to (B, H, R, L): bool (True = may look) or additive.

    Returns:
        (B, H, R, C) weights in float32 (float64 for float64 inputs); a row sums to 1 over all L.
    """
    batch, heads, rows, size = queries.shape
    kv_heads, length = keys.shape[1], keys.shape[2]
    grouped = queries.reshape(batch, kv_heads, (heads // kv_heads) * rows, size)
    scores = torch.matmul(grouped, keys.transpose(2, 3))
    if scores.dtype != torch.float64:
        scores = scores.float()
    scores = (scores * scale).view(batch, heads, rows, length)
    if mask is not None:
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, float('-inf'))
        else:
            scores = scores + mask.to(scores.dtype)
    return torch.exp(scores[..., columns] - torch.logsumexp(scores, dim=-1, keepdim=True))
