# SPDX-License-Identifier: Apache-2.0
"""config.json and tensor headers -> the shape of the model, or the reason why it cannot be built.

The published config.json does not say how wide or deep the towers are; their tensors do.  Only the
number of attention heads is in neither, so it comes from a table by the tower's published name.
"""
from collections.abc import Mapping
from dataclasses import dataclass
import re
from typing import Any

from vla_pruner_ros.backends.openvla.checkpoint_files import whole_number
from vla_pruner_ros.backends.openvla.prismatic_model import ModelShape
from vla_pruner_ros.backends.openvla.vision_towers import TowerShape
from vla_pruner_ros.backends.shared.decoder import DecoderConfig
from vla_pruner_ros.core.errors import BackendError, ConfigError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class KnownTower:
    """What a published tower's tensors do not say, and what they must say at its real width."""

    heads: int
    width: int
    depth: int


TOWERS = {
    'vit_large_patch14_reg4_dinov2.lvd142m': KnownTower(heads=16, width=1024, depth=24),
    'vit_so400m_patch14_siglip_224': KnownTower(heads=16, width=1152, depth=27),
    'vit_so400m_patch14_siglip_384': KnownTower(heads=16, width=1152, depth=27),
}
FEATURIZERS = ('vision_backbone.featurizer.', 'vision_backbone.fused_featurizer.')
#: Defaults of ``transformers.LlamaConfig``, which a saved text_config leaves out.
LLAMA_DEFAULTS: dict[str, Any] = {
    'hidden_size': 4096, 'intermediate_size': 11008, 'num_hidden_layers': 32,
    'num_attention_heads': 32, 'rms_norm_eps': 1e-6, 'rope_theta': 10000.0,
    'attention_bias': False, 'vocab_size': 32000}


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse what this code would compute wrongly.

    Raises:
        ConfigError: another model type, a single tower, other activations or image handling.
    """
    accepted = {'model_type': ('openvla',), 'use_fused_vision_backbone': (True,),
                'image_resize_strategy': ('resize-naive',),
                'timm_override_act_layers': ([None, None], None)}
    for key, values in accepted.items():
        if config.get(key) not in values:
            raise ConfigError(f'config.json has {key} = {config.get(key)!r}; this backend reads '
                              f'{" or ".join(repr(one) for one in values)}')
    text = config.get('text_config') or {}
    if not isinstance(text, dict):
        raise ConfigError(f'config.json has text_config = {text!r}; it must be an object')
    for key, wanted in (('model_type', 'llama'), ('hidden_act', 'silu'), ('rope_scaling', None),
                        ('tie_word_embeddings', False)):
        if text.get(key, wanted) != wanted:
            raise ConfigError(f'config.json has text_config.{key} = {text[key]!r}; this backend '
                              f'reads {wanted!r}')


def decoder_config(config: Mapping[str, Any]) -> DecoderConfig:
    """Shape of the language model, with the defaults that a saved configuration leaves out.

    Raises:
        ConfigError: sizes that do not divide.
    """
    text = {**LLAMA_DEFAULTS, **(config.get('text_config') or {})}
    heads = whole_number(text, 'num_attention_heads', 1)
    hidden = whole_number(text, 'hidden_size', 1)
    if hidden % heads:
        raise ConfigError(f'text_config has hidden_size {hidden}, which is not a multiple of '
                          f'num_attention_heads {heads}')
    return DecoderConfig(
        hidden_size=hidden, intermediate_size=whole_number(text, 'intermediate_size', 1),
        num_hidden_layers=whole_number(text, 'num_hidden_layers', 1), num_attention_heads=heads,
        num_key_value_heads=whole_number(text, 'num_key_value_heads', heads),
        head_dim=whole_number(text, 'head_dim', hidden // heads),
        rope_theta=float(text['rope_theta']), rms_norm_eps=float(text['rms_norm_eps']),
        qkv_bias=bool(text['attention_bias']))


def tower_shape(shapes: Shapes, prefix: str, timm_id: str, image_size: int) -> TowerShape:
    """Shape of one tower, read from its tensors.

    Args:
        shapes: all tensor names (LoRA factors folded) and shapes.
        prefix: of this tower's names.
        timm_id: its published name.
        image_size: pixels per side.

    Raises:
        ConfigError: an unknown tower.
        BackendError: tensors are missing, or contradict each other or the published depth.
    """
    known = TOWERS.get(timm_id)
    if known is None:
        raise ConfigError(f'config.json names the vision tower {timm_id!r}; known: '
                          f'{", ".join(TOWERS)}')
    own = {name[len(prefix):]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    film = any('.block.' in name for name in own)
    block = 'blocks.0.block.' if film else 'blocks.0.'
    needed = ['patch_embed.proj.weight', 'pos_embed', block + 'mlp.fc1.weight']
    needed += ['blocks.0.scale.weight'] if film else []
    missing = [prefix + name for name in needed if name not in own]
    if missing:
        raise BackendError(f'missing tensors: {", ".join(missing)}')
    wrong = [f'{prefix}{name} is {own[name]}' for name, dimensions in (
        ('patch_embed.proj.weight', 4), ('pos_embed', 3), (block + 'mlp.fc1.weight', 2),
        ('reg_token', 3)) if len(own.get(name, ())) not in (0, dimensions)]
    if wrong:
        raise BackendError(f'misshaped tensors: {", ".join(wrong)}')
    width, _, patch, _ = own['patch_embed.proj.weight']
    grid, rest = divmod(image_size, patch)
    if rest or own['pos_embed'] != (1, grid * grid, width):
        raise BackendError(f'{prefix}pos_embed is {own["pos_embed"]}, which does not fit images '
                           f'of {image_size} pixels in patches of {patch} ({grid * grid} tokens '
                           f'of {width})')
    depth = 1 + max(int(found.group(1)) for found in
                    (re.match(r'blocks\.(\d+)\.', name) for name in own) if found)
    if width == known.width and depth != known.depth or depth < 2:
        raise BackendError(f'{prefix}blocks has {depth} blocks, {timm_id} has {known.depth}: '
                           'tensors are missing or belong to another model')
    if width % known.heads:
        raise BackendError(f'{prefix} is {width} wide, not a multiple of its {known.heads} heads')
    registers = own.get('reg_token', (0, 0, 0))[1] or None
    return TowerShape(
        width=width, blocks=depth - 1, heads=known.heads, inner=own[block + 'mlp.fc1.weight'][0],
        patch=patch, grid=grid, registers=registers,
        layer_scale=block + 'ls1.scale_factor' in own,
        language=own['blocks.0.scale.weight'][1] if film else None)


def model_shape(config: Mapping[str, Any], shapes: Shapes, lm_head: bool) -> ModelShape:
    """Shape of the whole model.

    Args:
        config: content of config.json.
        shapes: all tensor names (LoRA factors folded) and shapes, the towers' from wherever they
            will be loaded.
        lm_head: build the output layer.

    Raises:
        ConfigError: a configuration this backend does not read.
        BackendError: tensors are missing or contradict each other.
    """
    check_config(config)
    try:
        return _model_shape(config, shapes, lm_head)
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError('config.json holds values of the wrong kind: '
                          f'{type(error).__name__}: {error}') from error


def _model_shape(config: Mapping[str, Any], shapes: Shapes, lm_head: bool) -> ModelShape:
    ids, sizes = config.get('timm_model_ids') or (), config.get('image_sizes') or ()
    if len(ids) != 2 or len(sizes) != 2 or sizes[0] != sizes[1]:
        raise ConfigError(f'config.json has timm_model_ids {list(ids)} and image_sizes '
                          f'{list(sizes)}; two towers of one image size are needed')
    first, second = (tower_shape(shapes, prefix, str(timm_id), int(size))
                     for prefix, timm_id, size in zip(FEATURIZERS, ids, sizes))
    layers, stored = decoder_config(config).num_hidden_layers, _layers(shapes)
    if layers != stored:
        raise BackendError(f'config.json has num_hidden_layers {layers}, {stored} are stored')
    if first.grid != second.grid:
        raise BackendError(f'the towers see {first.grid} and {second.grid} patches per side')
    text = {**LLAMA_DEFAULTS, **(config.get('text_config') or {})}
    return ModelShape((first, second), decoder_config(config),
                      whole_number(text, 'vocab_size', 1), lm_head)


def _layers(shapes: Shapes) -> int:
    """Number of stored decoder layers, by the highest index."""
    found = (re.match(r'language_model\.model\.layers\.(\d+)\.self_attn', name) for name in shapes)
    return max((1 + int(one.group(1)) for one in found if one), default=0)


def unused(name: str, shape: ModelShape) -> bool:
    """Say whether a stored tensor is published but never used by this model.

    Features are taken before the last block, so that block, the norm behind it and SigLIP's
    pooling are dead weight; rotary frequencies are recomputed; OFT needs no output layer; with a
    FiLM file the plain towers are replaced.
    """
    for prefix, tower in zip(FEATURIZERS, shape.towers):
        if name.startswith(prefix):
            rest = name[len(prefix):]
            return rest.startswith((f'blocks.{tower.blocks}.', 'norm.', 'attn_pool.'))
    return name.endswith('rotary_emb.inv_freq') or (
        name == 'language_model.lm_head.weight' and not shape.lm_head)
