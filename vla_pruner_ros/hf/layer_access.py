# SPDX-License-Identifier: Apache-2.0
"""The only place that knows what a Hugging Face decoder layer looks like inside.

Llama-like: ``input_layernorm`` and ``self_attn`` with ``q_proj``, ``k_proj``, ``head_dim`` and,
where the family has them, per-head ``q_norm`` / ``k_norm``.  Rotation is the model's own function.
Nothing is imported from ``transformers``: whatever brought the model has imported it already.
"""
from collections.abc import Callable
import sys
from typing import Any

import torch
from torch import nn, Tensor

from vla_pruner_ros.core.errors import BackendError

#: Where the decoder hides inside the usual wrappers.
_PATHS = ('', 'model', 'language_model', 'model.language_model', 'model.text_model')


def find_decoder(model: nn.Module) -> nn.Module:
    """Return the submodule with the decoder ``layers``.

    Raises:
        BackendError: there is none, or its layers are not Llama-like.
    """
    for path in _PATHS:
        module: Any = model
        for name in filter(None, path.split('.')):
            module = getattr(module, name, None)
        layers = getattr(module, 'layers', None)
        if isinstance(layers, nn.ModuleList) and len(layers):
            for index, layer in enumerate(layers):
                check_layer(index, layer)
            return module
    looked = ', '.join(f'{path}.layers'.strip('.') for path in _PATHS)
    raise BackendError(f'{type(model).__name__} has no decoder layers at any of: {looked}')


def check_layer(index: int, layer: nn.Module) -> None:
    """Refuse a layer whose attention could not be recomputed.

    Raises:
        BackendError: names the layer and what is missing or unknown.
    """
    def refuse(why: str) -> None:
        raise BackendError(f'decoder layer {index} ({type(layer).__name__}) is not understood: '
                           f'{why}')

    attention = getattr(layer, 'self_attn', None)
    if attention is None or not hasattr(layer, 'input_layernorm'):
        refuse('it has no self_attn or no input_layernorm')
    missing = [name for name in ('q_proj', 'k_proj', 'o_proj', 'head_dim')
               if not hasattr(attention, name)]
    if missing:
        refuse(f'its attention has no {", ".join(missing)}')
    if getattr(attention, 'attn_logit_softcapping', None) is not None:
        refuse('it caps attention scores (attn_logit_softcapping)')
    window = _sliding_window(attention)
    if window is not None:
        refuse(f'it attends within a sliding window ({window} rows), which counts removed rows')
    for name in ('q_norm', 'k_norm'):
        norm = getattr(attention, name, None)
        weight = getattr(norm, 'weight', None)
        if norm is not None and (weight is None or weight.numel() != attention.head_dim):
            refuse(f'{name} is not a norm over one head')
    if _rotation(attention) is None:
        refuse('its module has no apply_rotary_pos_emb')


def _sliding_window(attention: nn.Module) -> int | None:
    """Rows of a layer's window: its own word counts, the configuration's where it says nothing."""
    if hasattr(attention, 'sliding_window'):
        return attention.sliding_window
    config = getattr(attention, 'config', None)
    if not getattr(config, 'use_sliding_window', True):
        return None
    return getattr(config, 'sliding_window', None)


def _rotation(attention: nn.Module) -> Callable[..., Any] | None:
    module = sys.modules.get(type(attention).__module__)
    return getattr(module, 'apply_rotary_pos_emb', None)


def rotary_factors(kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Cosines and sines (1, T, D) that a layer was called with.

    Raises:
        BackendError: the model hands its layers something else.
    """
    factors = kwargs.get('position_embeddings')
    if not isinstance(factors, tuple) or len(factors) != 2 or any(
            not isinstance(one, Tensor) or one.dim() != 3 for one in factors):
        raise BackendError('the decoder does not hand (cos, sin) of shape (1, T, D) to its layers')
    return factors


def _rotated(layer: nn.Module, name: str, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Norm, project, norm per head, rotate: (1, T, hidden) to (1, heads, T, D)."""
    attention = layer.self_attn
    flat = getattr(attention, f'{name}_proj')(layer.input_layernorm(hidden))
    heads = flat.view(*flat.shape[:2], -1, attention.head_dim)
    norm = getattr(attention, f'{name}_norm', None)
    heads = (heads if norm is None else norm(heads)).transpose(1, 2)
    rotate = _rotation(attention)
    assert rotate is not None  # checked by check_layer
    return rotate(heads, heads, cos, sin)[0]


def queries(layer: nn.Module, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotated queries (1, H, T, D) of hidden states entering the layer."""
    return _rotated(layer, 'q', hidden, cos, sin)


def keys(layer: nn.Module, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotated keys (1, Hkv, T, D) of hidden states entering the layer."""
    return _rotated(layer, 'k', hidden, cos, sin)


def scale(layer: nn.Module) -> float:
    """Factor on the dot products."""
    attention = layer.self_attn
    return float(getattr(attention, 'scaling', None) or attention.head_dim ** -0.5)


def is_causal(layer: nn.Module) -> bool:
    """Tell whether a call without a mask is causal."""
    return bool(getattr(layer.self_attn, 'is_causal', True))


def layer_cache(kwargs: dict[str, Any]) -> Any:
    """Cache that a layer was called with, or None (the argument changed its name once)."""
    found = kwargs.get('past_key_values')
    return kwargs.get('past_key_value') if found is None else found


def check_cache(cache: Any) -> None:
    """Refuse a cache whose rows are not simply the tensors that its layers were given.

    Raises:
        BackendError: a static, quantised, offloaded ... cache.
    """
    if cache is not None and type(cache).__name__ != 'DynamicCache':
        raise BackendError(f'the cache is a {type(cache).__name__}; only a plain DynamicCache can '
                           'hold layers of different lengths')


def arguments(args: tuple[Any, ...],
              kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """Hidden states and a copy of the other arguments of a layer call.

    Raises:
        BackendError: more positional arguments than the hidden states.
    """
    kwargs = dict(kwargs)
    hidden = args[0] if args else kwargs.pop('hidden_states', None)
    if len(args) > 1 or not isinstance(hidden, Tensor):
        raise BackendError('the decoder calls its layers with positional arguments that are not '
                           'understood')
    return hidden, kwargs


def cut_rows(kwargs: dict[str, Any], rows: Tensor) -> None:
    """Re-slice, in place, every argument that has one entry per row of the prompt."""
    cos, sin = rotary_factors(kwargs)
    kwargs['position_embeddings'] = (cos[:, rows], sin[:, rows])
    for name in ('position_ids', 'cache_position'):
        if kwargs.get(name) is not None:
            kwargs[name] = kwargs[name][..., rows]
    mask = kwargs.get('attention_mask')
    if mask is not None:
        mask = mask[:, :, rows] if mask.shape[2] > 1 else mask
        kwargs['attention_mask'] = mask[..., rows]


def cut_columns(mask: Tensor | None, rows: Tensor, prompt: int) -> Tensor | None:
    """Keep columns ``rows`` of the first ``prompt`` columns, and all later ones."""
    if mask is None or mask.shape[-1] < prompt:
        return mask
    later = torch.arange(prompt, mask.shape[-1], device=mask.device)
    return mask[..., torch.cat((rows.to(mask.device), later))]


def fits(mask: Tensor | None, length: int) -> bool:
    """Tell whether a mask is for ``length`` keys; old versions add one column and ignore it."""
    return mask is None or mask.shape[-1] in (length, length + 1)


def cached_keys(cache: Any, index: int) -> Tensor:
    """Keys (1, Hkv, L, D) that a cache holds for a layer, in either layout of ``DynamicCache``.

    Raises:
        BackendError: another kind of cache, or no cache.
    """
    found: Any = None
    if hasattr(cache, 'layers') and index < len(cache.layers):
        found = getattr(cache.layers[index], 'keys', None)
    elif hasattr(cache, 'key_cache') and index < len(cache.key_cache):
        found = cache.key_cache[index]
    if not isinstance(found, Tensor):
        raise BackendError(f'layer {index}: the cache ({type(cache).__name__}) is not a plain '
                           'dynamic cache')
    return found

