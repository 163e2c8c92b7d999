"""Language model weights in 8 or 4 bits, one layer at a time while they are read.

Only the linear layers inside the decoder: they are nearly all of the weights, and every decoded
token reads each of them once.  Vision towers, projector, embeddings, output layer and heads keep
their precision, and so do all activations.  Rounding and kernels are torchao's; a rounded weight
stays the ``weight`` of its ``nn.Linear``, so nothing else in the project knows about it.

What it does not know: files, how much memory there is, pruning.
"""
from typing import Any, NamedTuple, Optional, Tuple

import torch
from torch import nn

from vla_pruner_ros.backends.decoder import DecoderConfig
from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError

#: Every weight whose name begins so and that belongs to a linear layer is rounded.
LAYERS = 'language_model.model.layers.'
#: Weights that share one scale in int4, best first; torchao's kernel knows these.
GROUPS = (128, 64, 32)
INSTALL = "pip install 'torchao>=0.18'"


class Linear(NamedTuple):
    """Size of a linear layer."""

    rows: int
    columns: int

    @property
    def values(self) -> int:
        """Number of weights."""
        return self.rows * self.columns


def decoder_linears(config: DecoderConfig) -> Tuple[Linear, ...]:
    """Sizes of the linear layers of one decoder layer."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    return (Linear(queries, hidden), Linear(keys, hidden), Linear(keys, hidden),
            Linear(hidden, queries), Linear(inner, hidden), Linear(inner, hidden),
            Linear(hidden, inner))


def group_of(config: DecoderConfig) -> Optional[int]:
    """Largest group that divides every row of the decoder, or None."""
    rows = {one.columns for one in decoder_linears(config)}
    return next((group for group in GROUPS if not any(row % group for row in rows)), None)


def rounded_bytes(config: DecoderConfig, kind: str) -> int:
    """Bytes of all rounded weights with their scales.

    int8: one byte each, and per row a float32 scale and the byte of an offset.  int4: half a byte
    each, a bfloat16 scale and offset per group, rows padded to 1024 values and their number to 8,
    as the kernel wants it.
    """
    total = 0
    for one in decoder_linears(config):
        if kind == 'int8':
            total += one.values + 5 * one.rows
        else:
            columns, rows = -(-one.columns // 1024) * 1024, -(-one.rows // 8) * 8
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
        MissingDependencyError: torchao is missing or too old.
    """

    def __init__(self, kind: str, config: DecoderConfig, device: torch.device,
                 dtype: torch.dtype):
        check_kind(kind, config, device, dtype)
        self.kind = kind
        self._quantize, self._config = _library(kind, group_of(config))

    def loaded(self, name: str, module: nn.Module) -> None:
        """Round ``module`` if ``name``, the parameter that it just got, is a decoder weight."""
        if (name.startswith(LAYERS) and name.endswith('.weight')
                and isinstance(module, nn.Linear)):
            self._quantize(module, self._config)


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
    if device.type != 'cuda':
        raise ConfigError(f"quantization int4 needs a CUDA device, device is '{device}'; set "
                          'quantization to int8')
    if torch.cuda.get_device_capability(device) < (8, 0):
        found = '.'.join(map(str, torch.cuda.get_device_capability(device)))
        raise ConfigError(f'quantization int4 needs a GPU of compute capability 8.0 or newer, '
                          f'{device} has {found}; set quantization to int8')
    if dtype != torch.bfloat16:
        raise ConfigError(f'quantization int4 computes in bfloat16, dtype is {name}; set dtype to '
                          'bfloat16')
    if group_of(config) is None:
        raise ConfigError(f'quantization int4 needs layers whose rows are multiples of '
                          f'{GROUPS[-1]}, this model has {config.hidden_size} and '
                          f'{config.intermediate_size}; set quantization to int8')


def _library(kind: str, group: Optional[int]) -> Tuple[Any, Any]:
    """The library's function and its configuration for ``kind``."""
    try:
        from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise MissingDependencyError(f'quantization {kind} needs torchao: {INSTALL} '
                                     f'({error})') from error
    # Without set_inductor_config it leaves torch.compile's global settings alone.
    try:
        config = (Int8WeightOnlyConfig(set_inductor_config=False) if kind == 'int8' else
                  Int4WeightOnlyConfig(group_size=group, set_inductor_config=False,
                                       int4_packing_format='tile_packed_to_4d'))
    except (TypeError, ValueError) as error:
        raise MissingDependencyError(f'quantization {kind} needs a newer torchao: {INSTALL} '
                                     f'({error})') from error
    return quantize_, config
