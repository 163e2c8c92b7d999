# SPDX-License-Identifier: Apache-2.0
"""Safetensors into a module, one tensor at a time, every mismatch named.

The file is memory-mapped and each tensor is copied (and cast) straight into its parameter, so
there is never a second copy of all weights in memory.
"""
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor

from vla_pruner_ros.core.errors import BackendError, ConfigError

#: Names listed in one message before it says how many more there are.
LISTED = 8


def _named(kind: str, names: Sequence[str]) -> str:
    more = f' and {len(names) - LISTED} more' if len(names) > LISTED else ''
    return f'{kind}: {", ".join(names[:LISTED])}{more}'


def check_safetensors(model: nn.Module, path: Path) -> None:
    """Compare names and shapes only; the model may be on the meta device.

    Raises:
        As ``load_safetensors``, except for values that are not finite.
    """
    with _opened(path) as stored:
        _check_fit(model.state_dict(), stored, path.name)


def load_safetensors(model: nn.Module, path: Path) -> None:
    """Load all tensors of ``model`` from one file; names and shapes are checked before any copy.

    Args:
        model: parameters keep their dtype and device; half-precision files are widened.
        path: a safetensors file holding exactly the names of ``model.state_dict()``.

    Raises:
        ConfigError: no such file.
        BackendError: not a safetensors file, or tensors are missing, misshaped, unexpected or hold
            values that are not finite; the message names each.
    """
    wanted = model.state_dict()
    with _opened(path) as stored:
        _check_fit(wanted, stored, path.name)
        broken = []
        with torch.no_grad():
            for name, target in wanted.items():
                target.copy_(stored.get_tensor(name))
                if target.is_floating_point() and not bool(torch.isfinite(target).all()):
                    broken.append(name)
        if broken:
            raise BackendError(f'{path.name} holds values that are not finite; '
                               + _named('tensors', broken))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import safe_open, SafetensorError
    if not path.is_file():
        raise ConfigError(f'no weights at {path}')
    try:
        with safe_open(str(path), framework='pt') as stored:
            yield stored
    except (SafetensorError, OSError) as error:
        raise BackendError(f'{path} is not a readable safetensors file: {error}') from error


def _check_fit(wanted: Mapping[str, Tensor], stored: Any, file: str) -> None:
    names = set(stored.keys())
    shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in names & set(wanted)}
    problems: list[str] = []
    missing = sorted(set(wanted) - names)
    if missing:
        problems.append(_named('missing', missing))
    misshaped = [f'{name} is {shapes[name]} instead of {tuple(wanted[name].shape)}'
                 for name in sorted(shapes) if shapes[name] != tuple(wanted[name].shape)]
    if misshaped:
        problems.append(_named('misshaped', misshaped))
    extra = sorted(names - set(wanted))
    if extra:
        problems.append(_named('unexpected', extra))
    if problems:
        raise BackendError(f'{file} does not fit the model; ' + '; '.join(problems))


def torch_device(name: str) -> torch.device:
    """Device by name, present on this machine.

    Raises:
        ConfigError: not a device name, or no such device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device is {name!r}; accepted: 'cpu', 'cuda' or 'cuda:N'") from error
    if device.type not in ('cpu', 'cuda'):
        raise ConfigError(f"device is {name!r}; accepted: 'cpu', 'cuda' or 'cuda:N'")
    count = torch.cuda.device_count() if device.type == 'cuda' else 0
    if device.type == 'cuda' and (device.index or 0) >= count:
        raise ConfigError(f'device is {name!r}, but torch sees {count} CUDA devices here')
    return device
