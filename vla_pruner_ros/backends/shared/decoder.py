# SPDX-License-Identifier: Apache-2.0
"""A thin Llama-type decoder with Hugging Face state-dict names.

What it knows: RMSNorm, rotary positions, grouped-query attention, gated MLP, and how to run them
over an embedded sequence.  What it does not know: tokens, images, pruners, heads or checkpoints.

Layer weights are named as in ``transformers`` (``layers.0.self_attn.q_proj.weight`` ...), so a
real Llama, Qwen2 or SmolLM2 ``state_dict`` loads with ``load_state_dict`` unchanged.
"""
from dataclasses import dataclass

import torch
from torch import nn, Tensor
import torch.nn.functional as F


@dataclass(frozen=True)
class DecoderConfig:
    """Shape of a Llama-type decoder (names follow ``transformers.LlamaConfig``)."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6
    qkv_bias: bool = False


class RMSNorm(nn.Module):
    """Root-mean-square norm, statistics in float32 (float64 stays float64)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        wide = x if x.dtype == torch.float64 else x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embedding; ``x`` (B, H, T, D), ``cos``/``sin`` (B, T, D)."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return x * cos.unsqueeze(1) + turned * sin.unsqueeze(1)


class Attention(nn.Module):
    """Grouped-query self-attention; the output path is always SDPA."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        hidden, bias = config.hidden_size, config.qkv_bias
        self.q_proj = nn.Linear(hidden, self.heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(self.heads * self.head_dim, hidden, bias=False)

    def queries(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return rotated queries (B, H, T, D)."""
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        return rotate(q, cos, sin)

    def keys_values(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Return rotated keys and values, each (B, Hkv, T, D)."""
        batch, length, _ = x.shape
        k = self.k_proj(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        return rotate(k, cos, sin), v

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries (B, H, T, D), rotated keys and values (B, Hkv, T, D)."""
        return (self.queries(x, cos, sin), *self.keys_values(x, cos, sin))

    def attend(self, q: Tensor, k: Tensor, v: Tensor,
               mask: Tensor | None, causal: bool) -> Tensor:
        """Attention output (B, T, hidden); ``causal`` only applies where ``mask`` is None."""
        batch, _, length, _ = q.shape
        groups = self.heads // self.kv_heads
        if groups > 1:  # torch < 2.5 has no enable_gqa
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal and mask is None and length > 1)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class GatedMLP(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., hidden) to the same shape."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Pre-norm attention and feed-forward, both residual."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = GatedMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Decoder(nn.Module):
    """Layers and final norm; embeddings and heads belong to the caller."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        exponent = torch.arange(0, config.head_dim, 2).float() / config.head_dim
        self.register_buffer('inv_freq', 1.0 / config.rope_theta ** exponent, persistent=False)

    def rotary(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B, T, head_dim) of integer ``positions`` (B, T)."""
        angles = positions[..., None].to(self.inv_freq.dtype) * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def forward(self, x: Tensor, positions: Tensor | None = None,
                mask: Tensor | None = None, causal: bool = True) -> Tensor:
        """Unpruned pass without a cache (training, references).

        Args:
            x: embeddings (B, T, hidden).
            positions: integer positions (B, T); 0..T-1 when None.
            mask: SDPA mask, True or 0 where a query may look; overrides ``causal``.
            causal: causal mask when ``mask`` is None; False = parallel decoding.

        Returns:
            Normed hidden states (B, T, hidden).
        """
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)[None]
        cos, sin = self.rotary(positions, x.dtype)
        for layer in self.layers:
            q, k, v = layer.self_attn.project(layer.input_layernorm(x), cos, sin)
            x = x + layer.self_attn.attend(q, k, v, mask, causal)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.norm(x)
