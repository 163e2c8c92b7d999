# SPDX-License-Identifier: Apache-2.0
"""Our side of the comparisons: a checkpoint by the rule, loaded by our own backends."""
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from openvla_checkpoint import Oft, Sizes, write_checkpoint
from parity import cases, weights_rule
import torch
from torch import Tensor

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import Observation

GOLDEN = Path(__file__).parent / 'golden'
SIZES = Sizes(
    dino_width=cases.DINO['embed_dim'], dino_depth=cases.DINO['depth'],
    dino_inner=int(cases.DINO['embed_dim'] * cases.DINO['mlp_ratio']),
    siglip_width=cases.SIGLIP['embed_dim'], siglip_depth=cases.SIGLIP['depth'],
    siglip_inner=int(cases.SIGLIP['embed_dim'] * cases.SIGLIP['mlp_ratio']),
    llm_width=cases.DECODER['hidden_size'], llm_inner=cases.DECODER['intermediate_size'],
    llm_layers=cases.DECODER['num_hidden_layers'], llm_heads=cases.DECODER['num_attention_heads'])
#: What two sets of kernels may differ by: about five times the most that any two were seen to
#: (docs/parity.md).  Visual tokens, hidden states, logits and chunks: as a share of the largest
#: value; attention scores: as a share of each; cosines: as they are.
TOLERANCE = {'visual': 6e-6, 'hidden': 1e-5, 'logits': 1.5e-5, 'chunk': 5e-5, 'scores': 1.5e-4,
             'cosines': 1e-5}


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    """Arrays of one golden file."""
    with np.load(GOLDEN / f'{name}.npz') as archive:
        return {key: archive[key] for key in archive.files}


@lru_cache(maxsize=2048)
def rule(name: str, shape: tuple[int, ...]) -> Tensor:
    """The rule, as tensors (shared: nobody writes into them)."""
    return torch.from_numpy(weights_rule.tensor(name, shape))


class FixedPrompt:
    """Answers every instruction with the token ids that the golden files were made with."""

    max_tokens = 512

    def encode(self, instruction: str) -> list[int]:
        """Token ids from BOS to the empty token."""
        return [*cases.PROMPT, 29871]


def checkpoint(folder: Path, oft: Oft | None = None) -> Path:
    """Write the small checkpoint, with the extra files of OFT if asked for."""
    dims, proprio = (oft.action_dim, oft.proprio_dim or 8) if oft else (7, 8)
    return write_checkpoint(folder, SIZES, rule, oft=oft,
                            norm_stats=cases.statistics(dims, proprio))


def parameters(backend: str, folder: Path, key: str, **others: Any) -> Parameters:
    """Parameters of a float32 backend on the CPU."""
    return Parameters().changed({'backend': backend, 'checkpoint': str(folder), 'unnorm_key': key,
                                 'dtype': 'float32', **others})


def observation(pictures: dict[str, np.ndarray], state: Sequence[float] = ()) -> Observation:
    """One moment; the words do not matter (see ``FixedPrompt``)."""
    return Observation(images=pictures, state=np.asarray(state, np.float64), instruction='move',
                       stamp_ns=0)


def largest(ours: Any, theirs: Any) -> float:
    """Largest absolute difference of two arrays of one shape."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def apart(ours: Any, theirs: Any) -> float:
    """Largest difference of two arrays of one shape, as a share of the largest value of theirs."""
    return largest(ours, theirs) / float(np.abs(np.asarray(theirs)).max())


def relative(ours: Any, theirs: Any) -> float:
    """Largest relative difference; a value that is zero on one side only differs infinitely."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = np.abs(ours - theirs) / np.abs(theirs)
    return float(np.where(ours == theirs, 0.0, ratio).max())
