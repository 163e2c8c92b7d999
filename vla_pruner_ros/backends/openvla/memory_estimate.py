# SPDX-License-Identifier: Apache-2.0
"""How much memory a model needs and how much there is, known before the first tensor is read.

Running out of memory half-way through loading takes the whole robot computer with it, so it is
refused beforehand, by name.
"""
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from vla_pruner_ros.backends.openvla.prismatic_model import ModelShape
from vla_pruner_ros.backends.openvla.weight_quantization import (
    decoder_linears,
    is_rounded,
    rounded_bytes,
)
from vla_pruner_ros.core.errors import BackendError, ConfigError

GIB = 2.0 ** 30
#: Bytes per value of the precisions a model may be loaded in.
PRECISIONS: Mapping[str, torch.dtype] = {
    'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
#: Bytes per weight that rounding one layer takes beside it (copies in float32 or int32; measured
#: with torchao 0.18 on a CPU: int8 8.0, int4 6.1).
ROUNDING = 9


class NotEnoughMemoryError(BackendError):
    """The model does not fit into the memory of its device."""


class Need(NamedTuple):
    """Bytes by purpose."""

    weights: int
    cache: int
    workspace: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.workspace


def dtype_of(name: str, stored: str) -> torch.dtype:
    """Precision by parameter value; ``'auto'`` is the checkpoint's own (``torch_dtype``).

    Raises:
        ConfigError: unknown.
    """
    wanted = stored if name == 'auto' else name
    if wanted not in PRECISIONS:
        raise ConfigError(f'dtype is {wanted!r}; accepted: auto, {", ".join(PRECISIONS)}')
    return PRECISIONS[wanted]


def estimate(values: int, shape: ModelShape, dtype: torch.dtype, rows: int,
             cached: bool = True, quantization: str = 'none',
             device: str = 'cpu') -> Need:
    """Bytes needed to hold and run a model.

    Args:
        values: number of weights held.
        shape: of the model.
        dtype: of weights and activations.
        rows: longest sequence.
        cached: keys and values are kept (autoregressive decoding).
        quantization: of the linear layers of the decoder: ``'none'``, ``'int8'`` or ``'int4'``.
        device: ``'cpu'`` or ``'cuda'``; int4 is packed differently on a GPU.
    """
    size, decoder = dtype.itemsize if hasattr(dtype, 'itemsize') else _size(dtype), shape.decoder
    kept = 2 * decoder.num_hidden_layers * decoder.num_key_value_heads * decoder.head_dim
    # Widest moment of a layer: gate, up and product of the feed-forward network, beside the
    # residual stream; attention weights are never materialised.  The towers need less.
    layer = rows * (3 * decoder.intermediate_size + 6 * decoder.hidden_size)
    weights, workspace = values * size, layer * size + shape.vocab * 4 * 2
    if quantization != 'none':
        linears = decoder_linears(decoder)
        rounded = decoder.num_hidden_layers * sum(one.values for one in linears)
        weights += rounded_bytes(decoder, quantization, device) - rounded * size
        # The largest layer: being rounded while loading, or widened again while it is used.
        largest = max(one.values for one in linears)
        workspace = max(workspace + largest * size, largest * (ROUNDING + size))
    return Need(weights, kept * rows * size if cached else 0, workspace)


def _size(dtype: torch.dtype) -> int:
    return torch.empty((), dtype=dtype).element_size()  # torch 2.0 has no dtype.itemsize


def available(device: torch.device) -> int | None:
    """Free bytes of a device; None where that cannot be known."""
    if device.type == 'cuda':
        return int(torch.cuda.mem_get_info(device)[0])
    free = [one for one in (_meminfo(), _control_group()) if one is not None]
    return min(free) if free else None


def _meminfo(path: Path = Path('/proc/meminfo')) -> int | None:
    try:
        for line in path.read_text().splitlines():
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _control_group(folder: Path = Path('/sys/fs/cgroup')) -> int | None:
    """What the container's limit leaves; file pages that can be dropped count as free."""
    try:
        limit = (folder / 'memory.max').read_text().strip()
        if limit == 'max':
            return None
        used = int((folder / 'memory.current').read_text())
        for line in (folder / 'memory.stat').read_text().splitlines():
            if line.startswith('inactive_file '):
                used -= int(line.split()[1])
        return int(limit) - used
    except (OSError, ValueError, IndexError):
        return None


def check_memory(need: Need, device: torch.device, dtype: torch.dtype, free: int | None,
                 quantization: str = 'none') -> None:
    """Refuse a model that does not fit.

    Raises:
        NotEnoughMemoryError: with needed and available amounts.
    """
    if free is not None and need.total > free:
        raise NotEnoughMemoryError(f'the model {needs(need, device, dtype, quantization)}, '
                                   f'{amount(free)} are available; use '
                                   f'{_smaller(dtype, quantization)} or another device')


def _smaller(dtype: torch.dtype, quantization: str) -> str:
    """Settings that need less memory than these; int8 and int4 do not run in every precision."""
    half = dtype == torch.bfloat16
    ways = [] if dtype != torch.float32 or quantization == 'int4' else ['dtype bfloat16']
    if quantization == 'none':
        ways.append('quantization int8' + ' with dtype bfloat16' * (dtype == torch.float16))
    if quantization != 'int4':
        ways.append('quantization int4' + ' with dtype bfloat16' * (not half))
    return ', '.join(ways) or 'a smaller model'


def needs(need: Need, device: torch.device, dtype: torch.dtype, quantization: str) -> str:
    """Say what is needed, and for what."""
    name = str(dtype).rpartition('.')[2]
    name += '' if quantization == 'none' else f' and {quantization}'
    return (f'needs {amount(need.total)} on {device} in {name} (weights {amount(need.weights)}, '
            f'keys and values {amount(need.cache)}, workspace {amount(need.workspace)})')


def held(modules: Iterable[nn.Module], quantization: str) -> 'Counter[str]':
    """Bytes that the parameters of ``modules`` really take, by precision."""
    found: Counter[str] = Counter()
    for module in modules:
        for one in module.parameters():
            if not is_rounded(one):
                found[str(one.dtype).rpartition('.')[2]] += one.numel() * one.element_size()
                continue
            whole: Any = one  # the method is not part of torch's public types
            parts = [getattr(one, name) for name in whole.__tensor_flatten__()[0]]
            found[quantization] += sum(part.numel() * part.element_size() for part in parts)
    return found


def amount(count: int) -> str:
    """Bytes in words."""
    return f'{count / GIB:.2f} GiB' if count >= GIB / 10 else f'{count / 2 ** 20:.1f} MiB'
