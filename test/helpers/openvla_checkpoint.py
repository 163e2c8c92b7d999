# SPDX-License-Identifier: Apache-2.0
"""Small random checkpoints in the exact published layout of OpenVLA and OpenVLA-OFT.

    folder = write_checkpoint(tmp_path)                     # OpenVLA, default sizes and weights
    folder = write_checkpoint(tmp_path, Sizes(llm_layers=8), rule=my_rule)
    folder = write_checkpoint(tmp_path, oft=Oft(film=True)) # with the files of OpenVLA-OFT

``rule(name, shape) -> float32 tensor`` makes every weight from its published name, so another
implementation can be given the same ones.  Head counts are 16 in both towers, as published; widths
must be multiples of 16.  The vocabulary keeps its real size: token ids are part of the format.
"""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
import json
import math
from pathlib import Path
import struct
from typing import Any
import zlib

import numpy as np
import torch
from torch import Tensor

Shape = tuple[int, ...]
Rule = Callable[[str, Shape], Tensor]

ACTION_TOKENS = slice(31744, 32000)
TIMM_IDS = ('vit_large_patch14_reg4_dinov2.lvd142m', 'vit_so400m_patch14_siglip_224')


@dataclass(frozen=True)
class Sizes:
    """Shapes of a small OpenVLA."""

    image: int = 224
    patch: int = 14
    dino_width: int = 32
    dino_depth: int = 4
    dino_inner: int = 64
    siglip_width: int = 48
    siglip_depth: int = 3
    siglip_inner: int = 80
    llm_width: int = 64
    llm_inner: int = 96
    llm_layers: int = 4
    llm_heads: int = 4
    vocab: int = 32064

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2


@dataclass(frozen=True)
class Oft:
    """Extra files of OpenVLA-OFT; ``step`` is the number in the file names."""

    action_dim: int = 7
    proprio_dim: int = 8  # 0 = no proprio projector
    film: bool = False
    film_lora_rank: int = 0  # > 0: vision file with unmerged LoRA, as the training script saves it
    step: str = '150000'
    ddp: bool = True  # names start with 'module.'


def _tower(prefix: str, width: int, depth: int, inner: int, sizes: Sizes,
           dino: bool) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    if dino:
        shapes['cls_token'] = (1, 1, width)
        shapes['reg_token'] = (1, 4, width)
    shapes['pos_embed'] = (1, sizes.patches, width)
    shapes['patch_embed.proj.weight'] = (width, 3, sizes.patch, sizes.patch)
    shapes['patch_embed.proj.bias'] = (width,)
    for index in range(depth):
        block = f'blocks.{index}.'
        for norm in ('norm1', 'norm2'):
            shapes[f'{block}{norm}.weight'] = shapes[f'{block}{norm}.bias'] = (width,)
        if dino:
            shapes[block + 'ls1.scale_factor'] = shapes[block + 'ls2.scale_factor'] = (width,)
        for name, out, into in (('attn.qkv', 3 * width, width), ('attn.proj', width, width),
                                ('mlp.fc1', inner, width), ('mlp.fc2', width, inner)):
            shapes[f'{block}{name}.weight'] = (out, into)
            shapes[f'{block}{name}.bias'] = (out,)
    shapes['norm.weight'] = shapes['norm.bias'] = (width,)
    if not dino:  # attention pooling head: stored, never used
        shapes['attn_pool.latent'] = (1, 1, width)
        for name, out, into in (('q', width, width), ('kv', 2 * width, width),
                                ('proj', width, width), ('mlp.fc1', inner, width),
                                ('mlp.fc2', width, inner)):
            shapes[f'attn_pool.{name}.weight'] = (out, into)
            shapes[f'attn_pool.{name}.bias'] = (out,)
        shapes['attn_pool.norm.weight'] = shapes['attn_pool.norm.bias'] = (width,)
    return {prefix + name: shape for name, shape in shapes.items()}


def tensor_shapes(sizes: Sizes) -> dict[str, Shape]:
    """Published names and shapes, the unused tensors (last blocks, norms, pooling) included."""
    shapes = _tower('vision_backbone.featurizer.', sizes.dino_width, sizes.dino_depth,
                    sizes.dino_inner, sizes, dino=True)
    shapes.update(_tower('vision_backbone.fused_featurizer.', sizes.siglip_width,
                         sizes.siglip_depth, sizes.siglip_inner, sizes, dino=False))
    vision, d = sizes.dino_width + sizes.siglip_width, sizes.llm_width
    for name, out, into in (('fc1', 4 * vision, vision), ('fc2', d, 4 * vision), ('fc3', d, d)):
        shapes[f'projector.{name}.weight'], shapes[f'projector.{name}.bias'] = (out, into), (out,)
    model = 'language_model.model.'
    shapes[model + 'embed_tokens.weight'] = (sizes.vocab, d)
    for index in range(sizes.llm_layers):
        layer = f'{model}layers.{index}.'
        for name in ('q_proj', 'k_proj', 'v_proj', 'o_proj'):
            shapes[f'{layer}self_attn.{name}.weight'] = (d, d)
        for name in ('gate_proj', 'up_proj'):
            shapes[f'{layer}mlp.{name}.weight'] = (sizes.llm_inner, d)
        shapes[layer + 'mlp.down_proj.weight'] = (d, sizes.llm_inner)
        shapes[layer + 'input_layernorm.weight'] = (d,)
        shapes[layer + 'post_attention_layernorm.weight'] = (d,)
    shapes[model + 'norm.weight'] = (d,)
    shapes['language_model.lm_head.weight'] = (sizes.vocab, d)
    return shapes


def oft_shapes(sizes: Sizes, oft: Oft) -> dict[str, dict[str, Shape]]:
    """File stem (``action_head`` ...) -> names and shapes, without the ``module.`` prefix."""
    d, wide = sizes.llm_width, sizes.llm_width * oft.action_dim
    head: dict[str, Shape] = {
        'model.layer_norm1.weight': (wide,), 'model.layer_norm1.bias': (wide,),
        'model.fc1.weight': (d, wide), 'model.fc1.bias': (d,)}
    for index in range(2):
        block = f'model.mlp_resnet_blocks.{index}.ffn.'
        head.update({block + '0.weight': (d,), block + '0.bias': (d,),
                     block + '1.weight': (d, d), block + '1.bias': (d,)})
    head.update({'model.layer_norm2.weight': (d,), 'model.layer_norm2.bias': (d,),
                 'model.fc2.weight': (oft.action_dim, d), 'model.fc2.bias': (oft.action_dim,)})
    files = {'action_head': head}
    if oft.proprio_dim:
        files['proprio_projector'] = {
            'fc1.weight': (d, oft.proprio_dim), 'fc1.bias': (d,),
            'fc2.weight': (d, d), 'fc2.bias': (d,)}
    if oft.film:
        files['vision_backbone'] = _film_shapes(sizes, oft.film_lora_rank)
    return files


def _film_shapes(sizes: Sizes, rank: int) -> dict[str, Shape]:
    """Both towers inside FiLM blocks; with ``rank``, every linear layer carries LoRA factors."""
    shapes: dict[str, Shape] = {}
    for name, shape in tensor_shapes(sizes).items():
        if not name.startswith('vision_backbone.'):
            continue
        tower, rest = name[len('vision_backbone.'):].split('.', 1)
        name = f'vision_backbone.{tower}.{rest}'
        if rest.startswith('blocks.'):
            _, index, inner = rest.split('.', 2)
            name = f'vision_backbone.{tower}.blocks.{index}.block.{inner}'
            if inner == 'norm1.weight':
                for part in ('scale', 'shift'):
                    where = f'vision_backbone.{tower}.blocks.{index}.{part}'
                    shapes[where + '.weight'] = (shape[0], sizes.llm_width)
                    shapes[where + '.bias'] = (shape[0],)
        stem, _, kind = name.rpartition('.')
        is_linear = len(shape) == 2 or (kind == 'bias' and stem.rpartition('.')[2] in (
            'qkv', 'proj', 'fc1', 'fc2', 'q', 'kv') and 'patch_embed' not in stem)
        if rank and is_linear:
            shapes[f'{stem}.base_layer.{kind}'] = shape
            if kind == 'weight':
                shapes[f'{stem}.lora_A.default.weight'] = (rank, shape[1])
                shapes[f'{stem}.lora_B.default.weight'] = (shape[0], rank)
        else:
            shapes[name] = shape
    return shapes


def default_rule(name: str, shape: Shape) -> Tensor:
    """Random weights fixed by the name; action tokens always win the greedy decoding.

    Rows of the output layer outside the action tokens are zero, so the largest of 256 random
    logits beats them.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    noise = torch.randn(shape, generator=generator)
    if 'norm' in name and name.endswith('weight'):
        return 1 + 0.2 * noise
    if name.endswith('bias') or len(shape) < 2:
        return 0.1 * noise if 'scale_factor' not in name else 0.5 + 0.2 * noise
    if name.endswith('lm_head.weight'):
        out = torch.zeros(shape)
        out[ACTION_TOKENS] = noise[ACTION_TOKENS]
        return out
    if len(shape) == 3 or 'embed_tokens' in name:
        return noise
    if name.endswith(('scale.weight', 'shift.weight')):
        return 0.3 * noise / math.sqrt(shape[-1])
    return noise * (1.5 / math.sqrt(math.prod(shape[1:])))


def statistics(dim: int = 7, shift: float = 0.0, proprio_dim: int = 8) -> dict[str, Any]:
    """Normalisation statistics of one data set, quantiles inside the extremes."""
    def block(size: int, scale: float) -> dict[str, list[float]]:
        low = (-scale * (1 + np.arange(size) / 10) + shift).tolist()
        high = (scale * (1.5 + np.arange(size) / 20) + shift).tolist()
        return {'mean': [0.0] * size, 'std': [scale] * size, 'min': [1.5 * one for one in low],
                'max': [1.5 * one for one in high], 'q01': low, 'q99': high}

    action: dict[str, Any] = block(dim, 0.02)
    if dim == 7:
        action.update(mask=[True] * 6 + [False])
    result: dict[str, Any] = {'action': action, 'num_trajectories': 10, 'num_transitions': 1000}
    if proprio_dim:
        result['proprio'] = block(proprio_dim, 1.0)
    return result


def small_tokenizer() -> Any:
    """A tokenizer of the Llama kind: BOS, bytes 3..258, single characters from 29871 on."""
    from tokenizers import decoders, models, normalizers, processors, Tokenizer
    vocab = {'<unk>': 0, '<s>': 1, '</s>': 2}
    vocab.update({f'<0x{byte:02X}>': 3 + byte for byte in range(256)})
    letters = '▁etaoinsrhldcumpgfywbvkxjqzIOWS?:.,\'"-0123456789'
    vocab.update({letter: 29871 + index for index, letter in enumerate(letters)})
    merges = [('o', 'b'), ('▁', 't')]
    vocab.update({left + right: 259 + index for index, (left, right) in enumerate(merges)})
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token='<unk>', fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    tokenizer.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback()])
    tokenizer.add_special_tokens(['<unk>', '<s>', '</s>'])
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<s> $A', pair='<s> $A <s> $B', special_tokens=[('<s>', 1)])
    return tokenizer


def _config(sizes: Sizes, norm_stats: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    name = str(dtype).rpartition('.')[2]
    return {
        'architectures': ['OpenVLAForActionPrediction'], 'model_type': 'openvla',
        'auto_map': {'AutoConfig': 'configuration_prismatic.OpenVLAConfig'},
        'arch_specifier': 'no-align+fused-gelu-mlp', 'hf_llm_id': 'meta-llama/Llama-2-7b-hf',
        'image_resize_strategy': 'resize-naive', 'image_sizes': [sizes.image] * 2,
        'llm_backbone_id': 'llama2-7b-pure', 'llm_max_length': 2048, 'n_action_bins': 256,
        'norm_stats': dict(norm_stats), 'output_projector_states': False, 'pad_to_multiple_of': 64,
        'pad_token_id': 32000, 'timm_model_ids': list(TIMM_IDS),
        'timm_override_act_layers': [None, None], 'torch_dtype': name,
        'transformers_version': '4.40.1', 'use_fused_vision_backbone': True,
        'vision_backbone_id': 'dinosiglip-vit-so-224px',
        'text_config': {
            'model_type': 'llama', 'hidden_size': sizes.llm_width,
            'intermediate_size': sizes.llm_inner, 'num_hidden_layers': sizes.llm_layers,
            'num_attention_heads': sizes.llm_heads, 'num_key_value_heads': sizes.llm_heads,
            'pad_token_id': 32000, 'torch_dtype': name, 'vocab_size': sizes.vocab}}


def _processor(sizes: Sizes) -> dict[str, Any]:
    """The published processor's fields; its means were rounded to bfloat16 when it was saved."""
    side = [sizes.image, sizes.image]
    means = [[0.484375, 0.455078125, 0.40625], [0.5, 0.5, 0.5]]
    stds = [[0.228515625, 0.2236328125, 0.224609375], [0.5, 0.5, 0.5]]
    return {
        'image_processor_type': 'PrismaticImageProcessor', 'image_resize_strategy': 'resize-naive',
        'input_sizes': [[3, *side]] * 2, 'interpolations': ['bicubic'] * 2,
        'means': [[0.485, 0.456, 0.406], [0.5] * 3], 'stds': [[0.229, 0.224, 0.225], [0.5] * 3],
        'processor_class': 'PrismaticProcessor', 'tvf_crop_params': [{'output_size': side}] * 2,
        'tvf_do_letterbox': False, 'tvf_letterbox_fill': None,
        'tvf_normalize_params': [{'inplace': False, 'mean': mean, 'std': std}
                                 for mean, std in zip(means, stds)],
        'tvf_resize_params': [{'antialias': True, 'interpolation': 3, 'max_size': None,
                               'size': side}] * 2,
        'use_fused_vision_backbone': True}


def write_hollow_weights(path: Path, shapes: Mapping[str, Shape]) -> None:
    """A bfloat16 safetensors file full of holes: right header, right length, no data."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with path.open('wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        file.truncate(8 + len(text) + offset)


def write_checkpoint(folder: Path, sizes: Sizes | None = None, rule: Rule = default_rule, *,
                     dtype: torch.dtype = torch.float32, shards: int = 3,
                     norm_stats: Mapping[str, Any] | None = None,
                     dataset_statistics: Mapping[str, Any] | None = None,
                     oft: Oft | None = None, tokenizer: Path | None = None) -> Path:
    """Write a checkpoint directory and return it.

    Args:
        folder: made if it is missing.
        sizes: shapes; small ones by default.
        rule: (name, shape) -> float32 tensor.
        dtype: of the safetensors files.
        shards: number of them; 1 writes ``model.safetensors`` without an index.
        norm_stats: of config.json; by default one data set, ``bridge_orig``.
        dataset_statistics: content of ``dataset_statistics.json``; None = no such file.
        oft: write the extra files of OpenVLA-OFT too.
        tokenizer: a real ``tokenizer.json`` to copy; None = a small own one.
    """
    from safetensors.torch import save_file
    sizes = sizes or Sizes()
    folder.mkdir(parents=True, exist_ok=True)
    if norm_stats is None:
        norm_stats = {'bridge_orig': statistics(oft.action_dim if oft else 7)}
    tensors = {name: rule(name, shape).to(dtype) for name, shape in tensor_shapes(sizes).items()}
    names = list(tensors)
    if shards == 1:
        save_file(tensors, str(folder / 'model.safetensors'), metadata={'format': 'pt'})
    else:
        weight_map = {}
        for number in range(shards):
            part = names[number * len(names) // shards:(number + 1) * len(names) // shards]
            file = f'model-{number + 1:05d}-of-{shards:05d}.safetensors'
            save_file({name: tensors[name] for name in part}, str(folder / file),
                      metadata={'format': 'pt'})
            weight_map.update({name: file for name in part})
        total = sum(one.numel() * one.element_size() for one in tensors.values())
        _write(folder / 'model.safetensors.index.json',
               {'metadata': {'total_size': total}, 'weight_map': weight_map})
    if oft is not None:
        for stem, shapes in oft_shapes(sizes, oft).items():
            prefix = 'module.' if oft.ddp and stem != 'vision_backbone' else ''
            stored = {prefix + name: rule(f'{stem}.{name}', shape).to(dtype)
                      for name, shape in shapes.items()}
            torch.save(stored, folder / f'{stem}--{oft.step}_checkpoint.pt')
    _write(folder / 'config.json', _config(sizes, norm_stats, dtype))
    _write(folder / 'preprocessor_config.json', _processor(sizes))
    if dataset_statistics is not None:
        _write(folder / 'dataset_statistics.json', dataset_statistics)
    if tokenizer is None:
        small_tokenizer().save(str(folder / 'tokenizer.json'))
    else:
        (folder / 'tokenizer.json').write_bytes(tokenizer.read_bytes())
    return folder


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + '\n')
