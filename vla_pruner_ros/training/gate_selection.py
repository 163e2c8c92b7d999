# SPDX-License-Identifier: Apache-2.0
"""Token selections that only the discrimination gate needs.

The gate asks whether the policy can tell a good choice of visual tokens from a bad one at all; its
scores come from a full pass over the SAME frame, which no real pruner has.  Real pruners live in
``core.pruners``.
"""
import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.backends.pocket.pocket_model import PocketVLA
from vla_pruner_ros.backends.shared.attention_rows import attention_rows
from vla_pruner_ros.core.errors import ConfigError

MODES = ('full', 'action', 'text', 'random', 'worst')


@torch.no_grad()
def visual_attention(model: PocketVLA, embeds: Tensor, rows: slice) -> Tensor:
    """Attention from ``rows`` of the sequence to each visual token.

    Args:
        model: the policy.
        embeds: (1, T, hidden) from ``assemble``.
        rows: the asking rows (action queries or words).

    Returns:
        (C * 196,) mean over layers, heads and rows.
    """
    layout = model.layout()
    x, total = embeds, torch.zeros(layout.stop - layout.start)
    positions = torch.arange(x.shape[1])[None]
    cos, sin = model.decoder.rotary(positions, x.dtype)
    for layer in model.decoder.layers:
        q, k, v = layer.self_attn.project(layer.input_layernorm(x), cos, sin)
        weights = attention_rows(q[:, :, rows], k, q.shape[-1] ** -0.5,
                                 slice(layout.start, layout.stop))
        total += weights.mean(dim=(0, 1, 2))
        x = x + layer.self_attn.attend(q, k, v, None, False)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return total / len(model.decoder.layers)


def choose(model: PocketVLA, embeds: Tensor, words: slice, actions: slice, mode: str, kept: float,
           rng: np.random.Generator) -> Tensor | None:
    """Sorted indices of the visual tokens to keep, or None for all.

    Args:
        model: the policy.
        embeds: from ``assemble``, one frame.
        words: rows of the instruction.
        actions: rows of the action queries.
        mode: one of ``MODES``; ``worst`` keeps what the actions look at least.
        kept: share of each camera's tokens that stays, 0..1.
        rng: for ``random``.

    Raises:
        ConfigError: unknown mode or share out of range.
    """
    if mode not in MODES:
        raise ConfigError(f'unknown selection {mode!r}; known: {", ".join(MODES)}')
    if not 0.0 < kept <= 1.0:
        raise ConfigError(f'kept share must be in (0, 1], got {kept!r}')
    if mode == 'full':
        return None
    layout = model.layout()
    tokens, images = layout.tokens_per_image, layout.images
    count = max(1, round(kept * tokens))
    if mode == 'random':
        chosen = [torch.from_numpy(np.sort(rng.choice(tokens, count, replace=False)))
                  for _ in range(images)]
    else:
        scores = visual_attention(model, embeds, words if mode == 'text' else actions)
        chosen = [one.topk(count, largest=mode != 'worst').indices.sort().values
                  for one in scores.chunk(images)]
    return torch.cat([one + number * tokens for number, one in enumerate(chosen)])
