# SPDX-License-Identifier: Apache-2.0
"""Language model weights in 8 or 4 bits, one layer at a time while they are read.

Only the linear layers inside the decoder: they are nearly all of the weights, and every decoded
token reads each of them once.  Vision towers, projector, embeddings, output layer and heads keep
their precision, and so do all activations.  Rounding is torchao's, the kernels are torch's; a
rounded weight stays the ``weight`` of its ``nn.Linear``, so nothing else in the project knows
about it.  ``int4`` is the same rounding on a CPU and on a GPU, packed as each one's kernel reads
it.

What it does not know: files, how much memory there is, pruning.
"""
from collections.abc import Iterator
from contextlib import contextmanager
import logging
from typing import Any, NamedTuple

import torch
from torch import nn

from vla_pruner_ros.backends.shared.decoder import DecoderConfig
from vla_pruner_ros.core.errors import BackendError, ConfigError, MissingDependencyError

#: Every weight whose name begins so and that belongs to a linear layer is rounded.
LAYERS = 'language_model.model.layers.'
#: Weights that share a scale and an offset in int4, smallest model first; the kernels know these.
GROUPS = (128, 64, 32)
#: The int4 kernel of a CPU writes so many rows of a layer at once.
CPU_ROWS = 16
INSTALL = "pip install 'torchao>=0.18'"
#: torchao keeps the CPU's int4 packing among its prototypes, whose names may change.
INSTALL_CPU_INT4 = "pip install 'torchao==0.18.*'"
#: Loggers that report, on import, extensions for other GPUs and compilers; none is used here.
NOISY = ('torchao', 'torch.utils._pytree')


class Linear(NamedTuple):
    """Size of a linear layer."""

    rows: int
    columns: int

    @property
    def values(self) -> int:
        """Number of weights."""
        return self.rows * self.columns


def decoder_linears(config: DecoderConfig) -> tuple[Linear, ...]:
    """Sizes of the linear layers of one decoder layer."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    return (Linear(queries, hidden), Linear(keys, hidden), Linear(keys, hidden),
            Linear(hidden, queries), Linear(inner, hidden), Linear(inner, hidden),
            Linear(hidden, inner))


def group_of(config: DecoderConfig) -> int | None:
    """Largest group that divides every row of the decoder, or None."""
    rows = {one.columns for one in decoder_linears(config)}
    return next((group for group in GROUPS if not any(row % group for row in rows)), None)


def rounded_bytes(config: DecoderConfig, kind: str, device: str = 'cpu') -> int:
    """Bytes of all rounded weights with their scales.

    int8: one byte each, and per row a float32 scale and the byte of an offset.  int4: half a byte
    each, a bfloat16 scale and offset per group; on ``'cuda'`` rows are padded to 1024 values and
    their number to 8, as the kernel wants it.
    """
    total = 0
    for one in decoder_linears(config):
        if kind == 'int8':
            total += one.values + 5 * one.rows
            continue
        rows, columns = one.rows, one.columns
        if device == 'cuda':
            rows, columns = -(-rows // 8) * 8, -(-columns // 1024) * 1024
        total += rows * columns // 2 + 4 * rows * columns // (group_of(config) or GROUPS[-1])
    return total * config.num_hidden_layers


class WeightQuantizer:
    """Rounds each linear layer of the decoder as soon as it is loaded.

    Args:
        kind: ``'int8'`` or ``'int4'``.
        config: the decoder's shape.
        device: where the weights are.
        dtype: of the weights before, and of all activations.

    Raises:
        ConfigError: this kind does not work on that device, in that precision or at these sizes.
        MissingDependencyError: torchao is missing, too old, or too new for int4 on a CPU.
    """

    def __init__(self, kind: str, config: DecoderConfig, device: torch.device,
                 dtype: torch.dtype):
        check_kind(kind, config, device, dtype)
        self.kind = kind
        self._quantize, self._config = _library(kind, device, group_of(config))

    def loaded(self, name: str, module: nn.Module) -> None:
        """Round ``module`` if ``name``, the parameter that it just got, is a decoder weight.

        Raises:
            BackendError: the library left the weight as it was (it skips what it cannot round).
        """
        if (name.startswith(LAYERS) and name.endswith('.weight')
                and isinstance(module, nn.Linear)):
            self._quantize(module, self._config)
            if not is_rounded(module.weight):
                raise BackendError(f'{name} {tuple(module.weight.shape)} was not rounded to '
                                   f'{self.kind} by torchao; set quantization to none')


def is_rounded(weight: torch.Tensor) -> bool:
    """Say whether a weight is kept in fewer bits: it is then a tensor made of tensors."""
    return hasattr(weight, '__tensor_flatten__')


def check_kind(kind: str, config: DecoderConfig, device: torch.device,
               dtype: torch.dtype) -> None:
    """Refuse what would fail, or go wrong silently, later.

    Raises:
        ConfigError: says what to set instead.
    """
    name = str(dtype).rpartition('.')[2]
    if kind == 'int8' and dtype == torch.float16:
        # Sums are made before they are scaled: 127 times the largest activation of a Llama leaves
        # float16's range, silently.
        raise ConfigError('quantization int8 overflows in float16; set dtype to bfloat16 or '
                          'float32')
    if kind != 'int4':
        return
    if device.type not in ('cpu', 'cuda'):
        raise ConfigError(f"quantization int4 runs on cpu and cuda, device is '{device}'; set "
                          'quantization to none')
    if device.type == 'cuda' and torch.cuda.get_device_capability(device) < (8, 0):
        found = '.'.join(map(str, torch.cuda.get_device_capability(device)))
        raise ConfigError(f'quantization int4 needs a GPU of compute capability 8.0 or newer, '
                          f'{device} has {found}; set quantization to int8')
    if dtype != torch.bfloat16:
        # On a GPU there is no other kernel; on a CPU the others are references, 40 times slower.
        raise ConfigError(f'quantization int4 computes in bfloat16, dtype is {name}; set dtype to '
                          'bfloat16')
    _check_sizes(config, device)


def _check_sizes(config: DecoderConfig, device: torch.device) -> None:
    """Refuse layers that the int4 kernels cannot hold, by their sizes."""
    linears = decoder_linears(config)
    odd = sorted({one.columns for one in linears if one.columns % GROUPS[-1]})
    if odd:
        raise ConfigError(f'quantization int4 needs layers whose rows are multiples of '
                          f'{GROUPS[-1]}, this model has {_listed(odd)}; set quantization to int8')
    odd = sorted({one.rows for one in linears if one.rows % CPU_ROWS})
    if odd and device.type == 'cpu':
        raise ConfigError(f'quantization int4 on a CPU needs layers with a multiple of {CPU_ROWS} '
                          f'rows, this model has {_listed(odd)}; set quantization to int8')


def _listed(sizes: 'list[int]') -> str:
    return ' and '.join(map(str, sizes))


def _library(kind: str, device: torch.device, group: int | None) -> tuple[Any, Any]:
    """The library's function and its configuration for ``kind``."""
    install = INSTALL_CPU_INT4 if kind == 'int4' and device.type == 'cpu' else INSTALL
    # Without set_inductor_config it leaves torch.compile's global settings alone.
    try:
        with _quiet():
            from torchao.quantization import quantize_
            if kind == 'int8':
                from torchao.quantization import Int8WeightOnlyConfig
                return quantize_, Int8WeightOnlyConfig(set_inductor_config=False)
            if device.type == 'cuda':
                from torchao.quantization import Int4WeightOnlyConfig
                return quantize_, Int4WeightOnlyConfig(
                    group_size=group, set_inductor_config=False,
                    int4_packing_format='tile_packed_to_4d')
            from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
            return quantize_, PrototypeInt4WeightOnlyConfig(group_size=group,
                                                            set_inductor_config=False)
    except (ImportError, TypeError, ValueError) as error:
        raise MissingDependencyError(f'quantization {kind} on {device.type} needs torchao: '
                                     f'{install} ({error})') from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop warnings of the library's import; its errors still come through."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels):
            one.setLevel(level)
