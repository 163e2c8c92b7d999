# SPDX-License-Identifier: Apache-2.0
"""Key/value memory with one length per layer.

After a cut at layer K the layers below K remember the whole prompt and the others only the kept
rows.  Both lengths are known before the pass starts (the budget fixes them), so everything is
allocated once, decode steps only copy into place, and shapes are the same at every step of one
budget.
"""
from collections.abc import Sequence

from torch import Tensor

from vla_pruner_ros.backends.shared.decoder import DecoderConfig
from vla_pruner_ros.core.errors import BackendError


class KvCache:
    """Preallocated keys and values, batch 1.

    Args:
        config: shape of the decoder.
        capacities: rows that each layer can hold.
        like: tensor whose dtype and device are used.
    """

    def __init__(self, config: DecoderConfig, capacities: Sequence[int], like: Tensor):
        self.capacities = tuple(capacities)
        self._lengths = [0] * len(self.capacities)
        shapes = [(2, 1, config.num_key_value_heads, rows, config.head_dim)
                  for rows in self.capacities]
        self._store: list[Tensor] = [like.new_empty(shape) for shape in shapes]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows held now, per layer."""
        return tuple(self._lengths)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add rows (1, Hkv, n, D) and return views (1, Hkv, length, D) of all rows of the layer.

        Raises:
            BackendError: more rows than were made room for.
        """
        begin, end = self._lengths[layer], self._lengths[layer] + keys.shape[2]
        if end > self.capacities[layer]:
            raise BackendError(f'key/value memory of layer {layer} holds '
                               f'{self.capacities[layer]} rows, {end} are needed')
        store = self._store[layer]
        store[0, :, :, begin:end] = keys
        store[1, :, :, begin:end] = values
        self._lengths[layer] = end
        return store[0, :, :, :end], store[1, :, :, :end]


def capacities(layers: int, cut: int, full: int, short: int, room: int) -> tuple[int, ...]:
    """Rows per layer: ``full + room`` below layer ``cut``, ``short + room`` from it on."""
    return tuple((full if layer < cut else short) + room for layer in range(layers))
