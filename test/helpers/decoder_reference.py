# SPDX-License-Identifier: Apache-2.0
"""Tiny decoders, a selector that keeps a given set, and a slow full-length masked reference."""
from collections.abc import Sequence

import torch
from torch import Tensor

from vla_pruner_ros.backends.shared.decoder import Decoder, DecoderConfig, rotate
from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.core.pruners.interface import Needs, Pruner, Signals
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import VisualLayout

#: Accepted relative error per dtype; float32: five times the most that any set of kernels showed.
LIMIT = {torch.float64: 1e-10, torch.float32: 4e-5}
#: The same in float64 against Hugging Face's eager attention, whose softmax runs in float32.
EAGER_LIMIT = 1e-5


def config(layers: int = 5, bias: bool = False, groups: int = 2) -> DecoderConfig:
    """Return a tiny shape with grouped-query attention."""
    return DecoderConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=layers,
                         num_attention_heads=4, num_key_value_heads=4 // groups, head_dim=8,
                         qkv_bias=bias)


def decoder(dtype: torch.dtype, seed: int = 0, **shape) -> Decoder:
    """Return a random decoder with weights large enough that every row matters."""
    torch.manual_seed(seed)
    model = Decoder(config(**shape))
    for name, one in model.named_parameters():
        with torch.no_grad():
            if one.dim() == 2:
                one.normal_(0, 0.35)
            elif 'norm' in name:
                one.uniform_(0.5, 1.5)
            else:
                one.normal_(0, 0.3)
    return model.to(dtype).eval()


def sequence(images: int = 1, actions: int = 3, causal: bool = False,
             rows: int = 3, cols: int = 4) -> SequenceLayout:
    """[BOS] visual [proprio] 4 words [action queries]; causal: the last word is the action row."""
    visual = VisualLayout(start=1, images=images, rows=rows, cols=cols)
    text = slice(visual.stop + 1, visual.stop + 5)
    if causal:
        return SequenceLayout(text.stop, visual, text, slice(text.stop - 1, text.stop))
    return SequenceLayout(text.stop + actions, visual, text, slice(text.stop, text.stop + actions))


NOTHING = Needs()


class KeepThese(Pruner):
    """Keeps a given set per image and remembers what it was shown."""

    name = 'keep_these'

    def __init__(self, kept: Sequence[Sequence[int]], prune_layer: int, needs: Needs = NOTHING):
        super().__init__(prune_layer)
        self.kept = [torch.tensor(sorted(one)) for one in kept]
        self._needs = needs
        self.seen: list[Signals] = []

    @property
    def needs(self) -> Needs:
        return self._needs

    def select(self, signals: Signals, budget: int) -> Tensor:
        self.seen.append(signals)
        return self.kept[signals.image]


def selector(kept: Sequence[Sequence[int]], cut: int, tokens: int = 12,
             needs: Needs = NOTHING) -> TokenSelector:
    """Return a selector that keeps ``kept`` (per image) before layer ``cut``."""
    return TokenSelector(KeepThese(kept, cut, needs), len(kept[0]), tokens)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(1, T, H * D) to (1, H, T, D)."""
    return x.view(1, x.shape[1], heads, -1).transpose(1, 2)


def masked_reference(model: Decoder, embeds: Tensor, remaining: Tensor, cut: int, causal: bool,
                     prompt: int | None = None, weights: list | None = None) -> Tensor:
    """Full-length forward where dropped columns are masked from layer ``cut`` on; all rows.

    Softmax attention written out.  Rows beyond ``prompt`` are decoded tokens (never dropped).
    ``weights`` collects (1, H, T, T) per layer.
    """
    length = embeds.shape[1]
    prompt = length if prompt is None else prompt
    gone = torch.ones(length, dtype=torch.bool)
    gone[remaining] = False
    gone[prompt:] = False
    order = torch.arange(length)
    cos, sin = model.rotary(order[None], embeds.dtype)
    x = embeds
    for index, layer in enumerate(model.layers):
        normed, a = layer.input_layernorm(x), layer.self_attn
        q = rotate(split_heads(a.q_proj(normed), a.heads), cos, sin)
        k = rotate(split_heads(a.k_proj(normed), a.kv_heads), cos, sin)
        v = split_heads(a.v_proj(normed), a.kv_heads)
        k, v = (t.repeat_interleave(a.heads // a.kv_heads, 1) for t in (k, v))
        scores = q @ k.transpose(2, 3) * a.head_dim ** -0.5
        if causal:
            scores = scores.masked_fill(order[None, :] > order[:, None], float('-inf'))
        if index >= cut:
            scores = scores.masked_fill(gone[None, None, None, :], float('-inf'))
        probability = torch.softmax(scores, -1)
        if weights is not None:
            weights.append(probability)
        x = x + a.o_proj((probability @ v).transpose(1, 2).reshape(1, length, -1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return model.norm(x)


def relative(got: Tensor, want: Tensor) -> float:
    """Largest absolute difference over the largest magnitude."""
    return float((got - want).abs().max() / want.abs().max())
