# SPDX-License-Identifier: Apache-2.0
"""A checkpoint directory of the OpenVLA family: described without loading, or loaded.

``read_checkpoint`` looks only at JSON files and tensor headers; ``load_model`` then builds the
network without memory, compares every name and shape, asks whether it will fit, and only then
reads tensors.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vla_pruner_ros.backends.openvla.checkpoint_files import (
    COMPONENTS,
    find_component,
    read_component,
    read_json,
    Stored,
    stored_tensors,
    whole_number,
)
from vla_pruner_ros.backends.openvla.checkpoint_layout import (
    FEATURIZERS,
    LLAMA_DEFAULTS,
    model_shape,
    unused,
)
from vla_pruner_ros.backends.openvla.memory_estimate import (
    amount,
    available,
    check_memory,
    dtype_of,
    estimate,
    held,
    Need,
    needs,
)
from vla_pruner_ros.backends.openvla.prismatic_model import OpenVlaModel
from vla_pruner_ros.backends.openvla.weight_mapping import check_fit, fill, fold_lora, Source
from vla_pruner_ros.backends.openvla.weight_quantization import WeightQuantizer
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters

CONFIG_NAME, PROCESSOR_NAME = 'config.json', 'preprocessor_config.json'
STATISTICS_NAME, TOKENIZER_NAME = 'dataset_statistics.json', 'tokenizer.json'
#: Rows beside the visual ones that memory is planned for: prompt, proprioception, actions.
PLANNED_TEXT_ROWS = 512


@dataclass(frozen=True)
class Checkpoint:
    """What a directory holds.

    Attributes:
        folder: the directory.
        config: content of config.json.
        statistics: data set -> statistics; ``dataset_statistics.json`` replaces those of
            config.json.
        stored: tensors of the safetensors files.
        components: stem of a component file -> its path.
    """

    folder: Path
    config: Mapping[str, Any]
    statistics: Mapping[str, Any]
    stored: Mapping[str, Stored]
    components: Mapping[str, Path]

    @property
    def is_oft(self) -> bool:
        """An action head or a proprioception projector lies beside the model."""
        return 'action_head' in self.components or 'proprio_projector' in self.components

    @property
    def stored_dtype(self) -> str:
        """Precision that the checkpoint was saved in, by its configuration."""
        return str(self.config.get('torch_dtype') or self.config.get('dtype') or 'bfloat16')

    @property
    def action_vocabulary(self) -> int:
        """Real tokens of the vocabulary: without the rows that pad it."""
        text = self.config.get('text_config') or {}
        rows = whole_number(text, 'vocab_size', LLAMA_DEFAULTS['vocab_size'])
        return rows - whole_number(self.config, 'pad_to_multiple_of', 64, low=0)

    @property
    def action_bins(self) -> int:
        """Edges that the action range is cut at."""
        return whole_number(self.config, 'n_action_bins', 256, low=2)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Look at a directory without reading a tensor.

    Raises:
        ConfigError: a file is missing or unusable.
        BackendError: a weight file is not readable.
    """
    config = read_json(folder / CONFIG_NAME)
    statistics = (read_json(folder / STATISTICS_NAME, required=False)
                  or config.get('norm_stats') or {})
    if not isinstance(statistics, Mapping):
        raise ConfigError(f'{folder / CONFIG_NAME} has norm_stats that are a '
                          f'{type(statistics).__name__}; they must be an object of data sets')
    paths = {stem: find_component(folder, stem) for stem in COMPONENTS}
    components = {stem: path for stem, path in paths.items() if path is not None}
    return Checkpoint(folder, config, statistics, stored_tensors(folder), components)


def _sources(checkpoint: Checkpoint, shapes_only: bool) -> dict[str, Source]:
    """Tensors of the model by name; a FiLM file replaces the plain towers."""
    sources: dict[str, Source] = dict(checkpoint.stored)
    film = checkpoint.components.get('vision_backbone')
    if film is not None:
        sources = {name: one for name, one in sources.items()
                   if not name.startswith(FEATURIZERS)}
        sources.update(fold_lora(read_component(film, shapes_only)))
    return sources


def build(checkpoint: Checkpoint, lm_head: bool, shapes_only: bool
          ) -> tuple[OpenVlaModel, dict[str, Source]]:
    """Build the network without memory and check that the stored tensors fit it.

    Args:
        checkpoint: from ``read_checkpoint``.
        lm_head: with the output layer.
        shapes_only: component files are opened for their shapes only.

    Returns:
        The network on the meta device and where its tensors come from.

    Raises:
        ConfigError: a configuration this backend does not read.
        BackendError: tensors are missing, misshaped or unexpected; each is named.
    """
    sources = _sources(checkpoint, shapes_only)
    shape = model_shape(checkpoint.config, {name: one.shape for name, one in sources.items()},
                        lm_head)
    with torch.device('meta'):
        model = OpenVlaModel(shape)
    check_fit(model, sources, lambda name: unused(name, shape), checkpoint.folder.name)
    return model, sources


@dataclass(frozen=True)
class Loaded:
    """A network on its device.

    Attributes:
        model: the network.
        quantization: of its decoder's linear layers.
        need: memory planned for it.
        free: bytes that were free on the device before; None = not known.
    """

    model: OpenVlaModel
    quantization: str
    need: Need
    free: int | None

    def memory(self, *beside: nn.Module) -> str:
        """Needed, available and really held memory in one line."""
        weight = self.model.projector.fc1.weight
        parts = held((self.model, *beside), self.quantization)
        return (f'the model {needs(self.need, weight.device, weight.dtype, self.quantization)}; '
                f'{amount(self.free) if self.free is not None else "unknown"} were available; '
                'weights loaded: '
                + ', '.join(f'{amount(size)} in {name}' for name, size in sorted(parts.items())))


def load_model(checkpoint: Checkpoint, lm_head: bool, device: torch.device,
               parameters: Parameters, images: int = 1, beside: int = 0) -> Loaded:
    """Load the network onto ``device``.

    Args:
        checkpoint: from ``read_checkpoint``.
        lm_head: load the output layer.
        device: where to.
        parameters: ``dtype`` and ``quantization``.
        images: cameras, for the memory plan.
        beside: weights that will be loaded beside the model, for the memory plan.

    Raises:
        ConfigError: unknown precision, a quantization that does not work here, or a configuration
            this backend does not read.
        MissingDependencyError: quantization without its library.
        NotEnoughMemoryError: it does not fit on the device.
        BackendError: tensors are missing, misshaped, unexpected or not finite; each is named.
    """
    precision = dtype_of(parameters.dtype, checkpoint.stored_dtype)
    model, sources = build(checkpoint, lm_head, shapes_only=False)
    kind, rounding = parameters.quantization, {}
    if kind != 'none':
        quantizer = WeightQuantizer(kind, model.shape.decoder, device, precision)
        rounding = {'loaded': quantizer.loaded}
    need = memory_need(model, precision, images, beside, kind, device.type)
    free = available(device)
    check_memory(need, device, precision, free, kind)
    fill(model, sources, device, precision, **rounding)
    model.recompute_buffers(device)
    return Loaded(model.eval(), kind, need, free)


def memory_need(model: OpenVlaModel, dtype: torch.dtype, images: int, beside: int = 0,
                quantization: str = 'none', device: str = 'cpu') -> Need:
    """Bytes that a network (built without memory) will need in ``dtype``, working memory included.

    Args:
        model: the network.
        dtype: precision.
        images: cameras.
        beside: weights held beside it.
        quantization: of the decoder's linear layers.
        device: ``'cpu'`` or ``'cuda'``.
    """
    shape = model.shape
    rows = images * shape.towers[0].grid ** 2 + PLANNED_TEXT_ROWS
    values = sum(one.numel() for one in model.parameters()) + beside
    return estimate(values, shape, dtype, rows, shape.lm_head, quantization, device)


def load_component(checkpoint: Checkpoint, stem: str, model: nn.Module, device: torch.device,
                   dtype: torch.dtype) -> nn.Module:
    """Fill a module that was built on the meta device from its ``.pt`` file.

    Raises:
        ConfigError: the checkpoint has no such file.
        BackendError: it does not fit; every wrong tensor is named.
    """
    path = component_path(checkpoint, stem)
    sources: dict[str, Source] = dict(fold_lora(read_component(path)))
    check_fit(model, sources, lambda name: False, path.name)
    fill(model, sources, device, dtype)
    return model.eval()


def component_path(checkpoint: Checkpoint, stem: str) -> Path:
    """Path of a component file that is needed.

    Raises:
        ConfigError: the checkpoint has no such file.
    """
    path: Path | None = checkpoint.components.get(stem)
    if path is None:
        have: list[str] = [one.name for one in checkpoint.components.values()]
        plain = '' if have else "; for a plain OpenVLA set backend to 'openvla'"
        raise ConfigError(f'{checkpoint.folder} has no {stem}--*_checkpoint.pt (component files '
                          f'found: {", ".join(have) or "none"}){plain}')
    return path
