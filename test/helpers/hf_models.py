# SPDX-License-Identifier: Apache-2.0
"""Tiny random Hugging Face decoders and the same weights in our own decoder."""
import pytest
import torch
from torch import nn

from vla_pruner_ros.backends.shared.decoder import Decoder, DecoderConfig, RMSNorm

SIZES = {'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 5,
         'num_attention_heads': 4, 'num_key_value_heads': 2, 'vocab_size': 64,
         'max_position_embeddings': 256}


class WideRotary(nn.Module):
    """Rotary factors of our decoder; Hugging Face always computes them in float32."""

    def __init__(self, own: Decoder):
        super().__init__()
        self.own = [own]

    def forward(self, x, position_ids):
        return self.own[0].rotary(position_ids, x.dtype)


def hugging_face(family: str, attention: str = 'sdpa', seed: int = 0, **changes):
    """Return a base model (``LlamaModel`` ...), weights large enough that every row matters."""
    import transformers
    if not hasattr(transformers, f'{family}Config'):
        pytest.skip(f'transformers {transformers.__version__} has no {family}')
    torch.manual_seed(seed)
    sizes = {**SIZES, **changes}
    if family in ('Gemma', 'Qwen3', 'Gemma2'):
        sizes['head_dim'] = 8
    config = getattr(transformers, f'{family}Config')(**sizes)
    config._attn_implementation = attention
    model = getattr(transformers, f'{family}Model')(config).eval()
    for one in model.parameters():
        with torch.no_grad():
            one.normal_(0, 0.35) if one.dim() == 2 else one.add_(0.3 * torch.randn_like(one))
    return model


def own_decoder(model, dtype: torch.dtype) -> Decoder:
    """Return our decoder with the weights of ``model``; in float64 both are wide throughout.

    Hugging Face computes norms and rotary factors in float32 whatever the dtype is, which would
    hide errors below 1e-7; for float64 these two are replaced in ``model`` by wide ones.
    """
    c = model.config
    theta = getattr(c, 'rope_theta', None) or c.rope_parameters['rope_theta']
    decoder = Decoder(DecoderConfig(
        hidden_size=c.hidden_size, intermediate_size=c.intermediate_size,
        num_hidden_layers=c.num_hidden_layers, num_attention_heads=c.num_attention_heads,
        num_key_value_heads=c.num_key_value_heads, rope_theta=theta,
        head_dim=c.hidden_size // c.num_attention_heads, rms_norm_eps=c.rms_norm_eps,
        qkv_bias=any(name.endswith('q_proj.bias') for name, _ in model.named_parameters())))
    state = {name: one for name, one in model.state_dict().items() if 'embed_tokens' not in name}
    decoder.load_state_dict(state)
    decoder.to(dtype).eval()
    model.to(dtype)
    if dtype == torch.float64:
        model.rotary_emb = WideRotary(decoder)
        for parent in (model, *model.layers):
            for name, child in list(parent.named_children()):
                if 'norm' in name:
                    wide = RMSNorm(c.hidden_size, c.rms_norm_eps).to(dtype)
                    wide.weight = child.weight
                    setattr(parent, name, wide)
    return decoder


class MaskColumns:
    """Full-length reference on the stock model: additive masks hide dropped columns from K on."""

    def __init__(self, model, remaining, prompt, cut, causal=True):
        self.model, self.cut, self.causal = model, cut, causal
        self.gone = torch.ones(prompt, dtype=torch.bool)
        self.gone[remaining] = False

    def __call__(self, embeds, **more):
        length = embeds.shape[1]
        order = torch.arange(length)
        hidden_columns = torch.zeros(length, dtype=torch.bool)
        hidden_columns[:len(self.gone)] = self.gone
        handles = []
        for index, layer in enumerate(self.model.layers):
            banned = torch.zeros(length, length, dtype=torch.bool)
            if self.causal:
                banned |= order[None, :] > order[:, None]
            if index >= self.cut:
                banned |= hidden_columns[None, :]
            mask = torch.zeros(1, 1, length, length, dtype=embeds.dtype).masked_fill(
                banned, torch.finfo(embeds.dtype).min)
            handles.append(layer.register_forward_pre_hook(
                lambda _m, args, kwargs, mask=mask: (args, {**kwargs, 'attention_mask': mask}),
                with_kwargs=True))
        try:
            with torch.no_grad():
                return self.model(inputs_embeds=embeds, use_cache=False, **more)
        finally:
            for one in handles:
                one.remove()
