# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds of a decoder pass, counted as the VLA-Pruner paper counts them (arXiv 2511.16449).

Per layer ``C(n) = 4 n d^2 + 2 n^2 d + 3 n d m``: four projections, attention scores and their use,
and a gated feed-forward network; n tokens, d hidden size, m feed-forward width.  A multiply-add
counts as one.  These are counts, not times: a short pass is bound by memory and kernel launches
instead.
"""


def layer_flops(tokens: int, hidden: int, width: int) -> float:
    """Multiply-adds of one decoder layer over ``tokens`` tokens."""
    return (4.0 * tokens * hidden ** 2 + 2.0 * tokens ** 2 * hidden
            + 3.0 * tokens * hidden * width)


def decoder_flops(layers: int, hidden: int, width: int, tokens: int,
                  prune_layer: int | None = None, kept: int | None = None) -> float:
    """Multiply-adds of one pass.

    Args:
        layers: decoder layers.
        hidden: hidden size (d).
        width: feed-forward width (m).
        tokens: sequence length before the cut, text included.
        prune_layer: layers 0 .. prune_layer - 1 see all tokens; None = no cut.
        kept: sequence length after the cut, text included.
    """
    full = layers if prune_layer is None or kept is None else min(prune_layer, layers)
    short = 0.0 if kept is None else (layers - full) * layer_flops(kept, hidden, width)
    return full * layer_flops(tokens, hidden, width) + short
