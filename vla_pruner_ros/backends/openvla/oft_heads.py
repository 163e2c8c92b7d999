# SPDX-License-Identifier: Apache-2.0
"""The parts that OpenVLA-OFT adds to OpenVLA: L1 regression head and proprioception projector.

Names are those of the published ``action_head--*`` and ``proprio_projector--*`` files
(arXiv 2502.19645).
"""
from collections.abc import Mapping

from torch import nn, Tensor
import torch.nn.functional as F

from vla_pruner_ros.core.errors import BackendError, ConfigError


class ResidualBlock(nn.Module):
    """Norm, linear, ReLU, residual."""

    def __init__(self, width: int):
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return x + self.ffn(x)


class ResidualMLP(nn.Module):
    """Norm, linear and ReLU into ``hidden``, residual blocks, norm and linear out."""

    def __init__(self, inputs: int, hidden: int, outputs: int, blocks: int):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(inputs)
        self.fc1 = nn.Linear(inputs, hidden)
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(hidden) for _ in range(blocks))
        self.layer_norm2 = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        x = F.relu(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        return self.fc2(self.layer_norm2(x))


class ActionHead(nn.Module):
    """One action per step of the chunk, from the hidden states of its ``dimensions`` rows."""

    def __init__(self, width: int, dimensions: int, blocks: int = 2):
        super().__init__()
        self.dimensions = dimensions
        self.model = ResidualMLP(width * dimensions, width, dimensions, blocks)

    def forward(self, rows: Tensor) -> Tensor:
        """Map normed hidden rows (B, chunk * D, width) to normalised actions (B, chunk, D)."""
        batch, count, width = rows.shape
        wide = rows.reshape(batch, count // self.dimensions, self.dimensions * width)
        return self.model(wide)


class ProprioProjector(nn.Module):
    """Proprioception to one token of the language model."""

    def __init__(self, width: int, dimensions: int):
        super().__init__()
        self.fc1 = nn.Linear(dimensions, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, state: Tensor) -> Tensor:
        """Map normalised proprioception (B, D) to (B, width)."""
        return self.fc2(F.gelu(self.fc1(state)))


def head_sizes(tensors: Mapping[str, Tensor], width: int) -> tuple[int, int]:
    """(action dimensions, residual blocks) of a stored action head.

    Raises:
        ConfigError: it is not an L1 regression head.
        BackendError: it was made for a language model of another width.
    """
    last, first = tensors.get('model.fc2.weight'), tensors.get('model.fc1.weight')
    if last is None or first is None:
        raise ConfigError('the action head is not an L1 regression head (model.fc1 and model.fc2 '
                          'are missing); diffusion heads are not supported')
    dimensions = last.shape[0]
    if first.shape[1] != dimensions * width:
        raise BackendError(f'the action head reads {first.shape[1]} values per step; '
                           f'{dimensions} rows of this model have {dimensions * width}')
    blocks = {name.split('.')[2] for name in tensors if name.startswith('model.mlp_resnet_blocks')}
    return dimensions, len(blocks)
