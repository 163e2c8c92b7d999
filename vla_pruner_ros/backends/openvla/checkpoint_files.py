# SPDX-License-Identifier: Apache-2.0
"""What lies in a checkpoint directory: JSON files, tensor headers, component files.

The published layout is a ``config.json``, safetensors files (with an index where there are
several) and, for OpenVLA-OFT, ``action_head--STEP_checkpoint.pt`` and its like.  Only names,
shapes and types are read here, so a 15 GB checkpoint can be described in a second.
"""
from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
import re
from typing import Any

import torch
from torch import Tensor

from vla_pruner_ros.core.errors import BackendError, ConfigError

INDEX_NAME, SINGLE_NAME = 'model.safetensors.index.json', 'model.safetensors'
#: Stems of the component files that OpenVLA-OFT writes beside the model.
COMPONENTS = ('action_head', 'proprio_projector', 'vision_backbone', 'noisy_action_projector')


@dataclass(frozen=True)
class Stored:
    """One tensor in a safetensors file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: Path

    @property
    def elements(self) -> int:
        """Number of values."""
        count = 1
        for one in self.shape:
            count *= one
        return count


def read_json(path: Path, required: bool = True) -> dict[str, Any]:
    """Read a JSON object; an empty one where an optional file is missing.

    Raises:
        ConfigError: missing, not readable, not JSON, or not an object.
    """
    if not required and not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'cannot read {path}: {error.strerror or error}') from error
    except ValueError as error:
        raise ConfigError(f'{path} is not valid JSON: {error}') from error
    if not isinstance(values, dict):
        raise ConfigError(f'{path} must hold a JSON object, it holds a '
                          f'{type(values).__name__}')
    return values


def whole_number(values: Mapping[str, Any], key: str, default: int, low: int = 1) -> int:
    """Read a whole number of a configuration.

    Raises:
        ConfigError: another kind of value, or one below ``low``.
    """
    value = values.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f'config.json has {key} = {value!r}; accepted: a whole number from '
                          f'{low} on')
    return value


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Names, shapes and types of all tensors in the safetensors files.

    Raises:
        ConfigError: there are no safetensors files, or the index names one that is missing.
        BackendError: a file is not readable, or does not hold what the index says.
    """
    index = folder / INDEX_NAME
    if not index.is_file():
        if not (folder / SINGLE_NAME).is_file():
            raise ConfigError(_no_weights(folder))
        return _headers(folder / SINGLE_NAME)
    weight_map = read_json(index).get('weight_map')
    if not isinstance(weight_map, dict) or not weight_map:
        raise BackendError(f'{index.name} has no weight_map')
    files = sorted(set(weight_map.values()))
    missing = [name for name in files if not (folder / str(name)).is_file()]
    if missing:
        raise ConfigError(f'{folder} lacks {len(missing)} of {len(files)} weight files named in '
                          f'{index.name}: {", ".join(missing)}')
    found: dict[str, Stored] = {}
    for name in files:
        found.update(_headers(folder / name))
    absent = sorted(set(weight_map) - set(found))
    if absent:
        raise BackendError(f'{index.name} names tensors that the weight files do not hold: '
                           + listed(absent))
    return found


def _no_weights(folder: Path) -> str:
    message = f'no {SINGLE_NAME} and no {INDEX_NAME} in {folder}'
    if (folder / 'lora_adapter').is_dir():
        return (message + '; it holds a LoRA adapter: merge it into the base model first (the '
                'OpenVLA-OFT repository has vla-scripts/merge_lora_weights_and_save.py)')
    if list(folder.glob('*.bin')):
        return message + '; .bin files are not read, convert them to safetensors'
    return message


def _headers(path: Path) -> dict[str, Stored]:
    from safetensors import safe_open, SafetensorError
    try:
        with safe_open(str(path), framework='pt') as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}
            return {name: Stored(name, tuple(one.get_shape()), str(one.get_dtype()), path)
                    for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise BackendError(f'{path} is not a readable safetensors file: {error}') from error


def find_component(folder: Path, stem: str) -> Path | None:
    """Path of ``STEM--*_checkpoint.pt``, or None.

    Raises:
        ConfigError: there are several.
    """
    found = sorted(folder.glob(f'{stem}--*checkpoint.pt'))
    if len(found) > 1:
        raise ConfigError(f'{folder} holds {len(found)} files of the component {stem!r}: '
                          f'{", ".join(one.name for one in found)}; keep one')
    return found[0] if found else None


def read_component(path: Path, shapes_only: bool = False) -> dict[str, Tensor]:
    """Read a ``.pt`` state dictionary; the ``module.`` of distributed training is stripped.

    The file is memory-mapped where its format allows it.  Nothing but tensors is unpickled.

    Args:
        path: the file.
        shapes_only: tensors without memory (shape and type only).

    Raises:
        BackendError: not readable, or anything else than a dictionary of tensors.
    """
    where = 'meta' if shapes_only else 'cpu'
    try:
        try:
            values = torch.load(path, weights_only=True, mmap=True, map_location=where)
        except RuntimeError:  # the old format cannot be mapped
            values = torch.load(path, weights_only=True, map_location=where)
    except Exception as error:
        raise BackendError(f'{path.name} is not a readable file of tensors (it is opened with '
                           f'weights_only, so code in it is refused): {_cause(error)}') from error
    if not isinstance(values, Mapping) or not all(
            isinstance(one, Tensor) for one in values.values()):
        raise BackendError(f'{path.name} must hold a dictionary of tensors')
    return {strip_module(str(name)): one for name, one in values.items()}


def _cause(error: Exception) -> str:
    """Why a file was not read, without torch's advice to allow code."""
    text = str(error)
    found = re.search(r'GLOBAL (\S+)', text)
    if found:
        return f'it asks for {found.group(1)}'
    return ('it holds something else than tensors' if 'weights_only' in text
            else text.partition('\n')[0] or type(error).__name__)


def strip_module(name: str) -> str:
    """Name without the prefix that distributed training adds."""
    return name[len('module.'):] if name.startswith('module.') else name


def listed(names: list[str], limit: int = 8) -> str:
    """Join names; beyond ``limit`` say how many more there are."""
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
