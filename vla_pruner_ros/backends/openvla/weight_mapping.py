# SPDX-License-Identifier: Apache-2.0
"""Tensors into a module that was built without memory, one at a time.

The module is built on the ``meta`` device, where a 7B model costs nothing.  Every stored tensor
is then read, cast and moved on its own, and becomes the parameter; beside the finished weights
there is never more than one stored tensor in memory.  All names and shapes are compared before
the first is read.
"""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor

from vla_pruner_ros.backends.openvla.checkpoint_files import listed, Stored
from vla_pruner_ros.core.errors import BackendError


@dataclass(frozen=True)
class Held:
    """A tensor of a component file, optionally with low-rank factors to be folded in.

    ``W + scale * B A``, the sum in float32.
    """

    tensor: Tensor
    lora: tuple[Tensor, Tensor, float] | None = None  # A (r, in), B (out, r), scale

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter."""
        return tuple(self.tensor.shape)

    def read(self) -> Tensor:
        """Return the parameter's value."""
        if self.lora is None:
            return self.tensor
        down, up, scale = self.lora
        return self.tensor.float() + scale * (up.float() @ down.float())


Source = Stored | Held


def fold_lora(tensors: Mapping[str, Tensor]) -> dict[str, Held]:
    """Undo the names of low-rank adapters that were saved without merging.

    OpenVLA-OFT with FiLM saves its vision file while the adapters are attached:
    ``x.base_layer.weight``, ``x.lora_A.default.weight`` (r, in), ``x.lora_B.default.weight``
    (out, r). Its training script fixes ``alpha = min(r, 16)``, so the scale is known from the
    rank.

    Raises:
        BackendError: one factor of a pair is missing.
    """
    result: dict[str, Held] = {}
    down = {name.replace('.lora_A.default.', '.'): one for name, one in tensors.items()
            if '.lora_A.default.' in name}
    up = {name.replace('.lora_B.default.', '.'): one for name, one in tensors.items()
          if '.lora_B.default.' in name}
    unpaired = sorted(set(down) ^ set(up))
    if unpaired:
        raise BackendError(f'low-rank factors without their partner: {listed(unpaired)}')
    for name, one in tensors.items():
        if '.lora_' in name:
            continue
        plain = name.replace('.base_layer.', '.')
        if plain in down:
            rank = down[plain].shape[0]
            result[plain] = Held(one, (down[plain], up[plain], min(rank, 16) / rank))
        else:
            result[plain] = Held(one)
    orphans = sorted(set(down) - set(result))
    if orphans:
        raise BackendError(f'low-rank factors without a base weight: {listed(orphans)}')
    return result


def check_fit(model: nn.Module, sources: Mapping[str, Source], ignored: Callable[[str], bool],
              what: str) -> None:
    """Compare names and shapes.

    Args:
        model: built on the meta device.
        sources: stored tensors by name.
        ignored: stored names that may be extra.
        what: what is compared, for the message.

    Raises:
        BackendError: names every missing, misshaped and unexpected tensor.
    """
    wanted = {name: tuple(one.shape) for name, one in model.state_dict().items()}
    problems: list[str] = []
    missing = sorted(set(wanted) - set(sources))
    if missing:
        problems.append(f'missing: {listed(missing)}')
    misshaped = [f'{name} is {sources[name].shape} instead of {shape}'
                 for name, shape in wanted.items()
                 if name in sources and sources[name].shape != shape]
    if misshaped:
        problems.append(f'misshaped: {listed(misshaped)}')
    extra = sorted(name for name in set(sources) - set(wanted) if not ignored(name))
    if extra:
        problems.append(f'unexpected: {listed(extra)}')
    if problems:
        raise BackendError(f'{what} does not fit the model; ' + '; '.join(problems))


def fill(model: nn.Module, sources: Mapping[str, Source], device: torch.device,
         dtype: torch.dtype, loaded: Callable[[str, nn.Module], None] = lambda name, owner: None
         ) -> None:
    """Give every parameter of ``model`` its value (names and shapes were checked before).

    Args:
        model: built on the meta device.
        sources: where the values come from, by parameter name.
        device: where to.
        dtype: precision.
        loaded: told the name and the module of each parameter that has its value now.

    Raises:
        BackendError: values that are not finite in ``dtype``, or a file that cannot be read.
    """
    modules = dict(model.named_modules())
    broken = []
    with _Shards() as shards:
        # In the order of the files, so that each is opened once.
        for name in sorted(model.state_dict(), key=lambda one: (_file(sources[one]), one)):
            source = sources[name]
            value = shards.read(source) if isinstance(source, Stored) else source.read()
            value = value.to(device=device, dtype=dtype, copy=True)
            if not _finite(value):
                broken.append(name)
            owner, _, leaf = name.rpartition('.')
            setattr(modules[owner], leaf, nn.Parameter(value, requires_grad=False))
            del value  # before the next one is read, and before this one may be replaced
            loaded(name, modules[owner])
    if broken:
        raise BackendError(f'values that are not finite in {dtype}: {listed(broken)}')


def _file(source: Source) -> str:
    return str(source.file) if isinstance(source, Stored) else ''


def _finite(value: Tensor) -> bool:
    """One pass without a mask of the same size: extremes carry NaN and infinities along."""
    low, high = torch.aminmax(value)
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


class _Shards:
    """The safetensors file that is being read; one is open at a time."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._opened: Any = None

    def __enter__(self) -> '_Shards':
        return self

    def __exit__(self, *exception: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
            self._opened = None

    def read(self, source: Stored) -> Tensor:
        """Tensor of one header entry, on the CPU in its stored type."""
        from safetensors import safe_open, SafetensorError
        try:
            if source.file != self._path:
                self._close()
                self._opened = safe_open(str(source.file), framework='pt').__enter__()
                self._path = source.file
            value: Tensor = self._opened.get_tensor(source.name)
        except (SafetensorError, OSError) as error:
            raise BackendError(f'cannot read {source.name} from {source.file}: {error}') from error
        return value
