# SPDX-License-Identifier: Apache-2.0
"""The questions that both sides are asked: sizes, statistics, prompts, images, joints.

Whole numbers only in the images, so that every machine computes the same pixels.
"""
import hashlib
from typing import Any

import numpy as np

#: Sizes of the small model; everything else (names, orders, masks) is as published.  16 decoder
#: layers because the VLA-Pruner code reads layer index 15.
DECODER = {'hidden_size': 64, 'intermediate_size': 160, 'num_hidden_layers': 16,
           'num_attention_heads': 4, 'num_key_value_heads': 4, 'vocab_size': 32064,
           'pad_token_id': 32000, 'rms_norm_eps': 1e-6, 'max_position_embeddings': 2048}
DINO = {'embed_dim': 64, 'depth': 3, 'num_heads': 16, 'mlp_ratio': 4.0}
SIGLIP = {'embed_dim': 96, 'depth': 3, 'num_heads': 16, 'mlp_ratio': 3.0}

#: Token ids of a prompt, shaped as by the Llama tokenizer: BOS, words, no empty token at the end.
PROMPT = [1, 512, 29901, 1724, 3158, 881, 278, 19964, 2125, 304, 1925, 278, 508, 304, 278, 2175,
          310, 278, 3104, 29973, 13, 3744, 29901]

#: Instructions for the comparison of tokenizers.
INSTRUCTIONS = ('Place the can to the left of the pot.', 'pick up the black bowl',
                'Put the  Marker in\tthe pot', 'move 3cm, then open (slowly)!',
                'ramène la tasse à côté du café', '把红色方块放进碗里', 'x')

#: Means and deviations as the processor configuration of the published checkpoint holds them.
NORMALIZE = [{'mean': [0.484375, 0.455078125, 0.40625],
              'std': [0.228515625, 0.2236328125, 0.224609375], 'inplace': False},
             {'mean': [0.5, 0.5, 0.5], 'std': [0.5, 0.5, 0.5], 'inplace': False}]

#: Names of the data sets; a name also says which bounds stand for -1 and 1 (ALOHA: the extremes).
DATA_SETS = ('bridge_orig', 'libero_spatial_no_noops', 'aloha_fold_shirt')

#: (height, width) of single images: larger, smaller and exactly the input size.
IMAGE_SIZES = ((240, 320), (480, 640), (224, 224), (100, 130))


def statistics(dims: int = 7, proprio: int = 8) -> dict[str, Any]:
    """Made-up normalisation statistics under real names; the last action is not normalised."""
    result = {}
    for offset, key in enumerate(DATA_SETS):
        result[key] = {
            'action': _bounds(dims, 0.02 + 0.01 * offset, [True] * (dims - 1) + [False]),
            'proprio': _bounds(proprio, 0.7 + 0.1 * offset, [True] * proprio),
            'num_transitions': 1000, 'num_trajectories': 10}
    return result


def _bounds(dims: int, width: float, mask: list[bool]) -> dict[str, Any]:
    low = [round(-width * (1 + 0.1 * i), 6) for i in range(dims)]
    high = [round(width * (1 + 0.05 * i), 6) for i in range(dims)]
    return {'mean': [0.0] * dims, 'std': [round(width / 2, 6)] * dims,
            'min': [round(1.5 * one, 6) for one in low],
            'max': [round(1.5 * one, 6) for one in high],
            'q01': low, 'q99': high, 'mask': mask}


def _triangle(value: np.ndarray, half: int) -> np.ndarray:
    return np.abs(value % (2 * half) - half) * 255 // half


def image(index: int, height: int = 240, width: int = 320) -> np.ndarray:
    """(height, width, 3) uint8 RGB: gradients, checks and a disc that moves with ``index``."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    picture = np.stack([_triangle(3 * x + 5 * index, 200), _triangle(2 * y + x + 7 * index, 150),
                        _triangle(x * y // 64 + 3 * index, 90)], axis=-1)
    checks = ((x // 24 + y // 24) % 3 == 0)[..., None]
    picture = np.where(checks, picture // 3, picture)
    across, down = width * (2 + index) // 14, height * (8 - index // 2) // 12
    disc = (x - across) ** 2 + (y - down) ** 2 < (height // 8) ** 2
    picture[disc] = (230, 40, 25 * (index % 10))
    return picture.astype(np.uint8)


def proprio(index: int, dims: int = 8) -> np.ndarray:
    """(dims,) joint values, some outside the statistics so that they are clipped."""
    return np.array([((7 * index + 3 * i) % 21 - 10) / 10.0 for i in range(dims)])


def kept(image_index: int, budget: int, tokens: int = 256) -> np.ndarray:
    """Ascending indices that stay when a cut is made by formula instead of by a method."""
    return np.sort((37 * np.arange(budget) + 11 * image_index) % tokens)


def digest(array: np.ndarray) -> str:
    """Short fingerprint of the exact bytes of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
