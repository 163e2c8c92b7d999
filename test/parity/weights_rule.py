# SPDX-License-Identifier: Apache-2.0
"""Weights from names: the same small model on both sides of a comparison, without a weight file.

Every tensor is a seeded function of its published name and its shape, so the official
implementations and ours are filled alike although neither sees the other.  ``RandomState`` is used
because NumPy promises that its stream never changes.
"""
from collections.abc import Sequence
import hashlib

import numpy as np

#: Ids that the OpenVLA action tokenizer uses; other rows of the output layer are kept small, so
#: that greedy decoding of a model that never learned anything stays inside the action range.
ACTION_IDS = (31744, 32000)

#: Queries and keys are enlarged: nearly uniform attention would tell no two tokens apart.
ATTENTION_GAIN = 1.6


def _draw(name: str, shape: Sequence[int]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], 'little')
    return np.random.RandomState(seed).standard_normal(tuple(shape))


def _scale(name: str, shape: tuple[int, ...]) -> float:
    if len(shape) == 1:  # biases, norms, layer scales
        return 0.1
    if name.endswith('embed_tokens.weight'):
        return 1.0
    if 'weight' not in name.rsplit('.', 1)[-1]:  # position embeddings, class and register tokens
        return 0.5
    gain = ATTENTION_GAIN if name.endswith(('q_proj.weight', 'k_proj.weight')) else 1.0
    return gain / float(np.prod(shape[1:])) ** 0.5


def tensor(name: str, shape: Sequence[int]) -> np.ndarray:
    """Float32 values of one parameter.

    Args:
        name: its name in the published state dict.
        shape: its shape.
    """
    shape = tuple(int(one) for one in shape)
    values = _draw(name, shape) * _scale(name, shape)
    if len(shape) == 1 and not name.endswith('.bias'):
        values += 1.0
    if name.endswith('lm_head.weight'):
        outside = np.ones(shape[0], dtype=bool)
        outside[slice(*ACTION_IDS)] = False
        values[outside] *= 0.25
    return values.astype(np.float32)
