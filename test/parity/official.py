# SPDX-License-Identifier: Apache-2.0
"""Imports the official implementations from folders that the caller names, and fills them by rule.

They are never part of this repository.  Packages are entered without running their ``__init__``
files, which would pull in training code; nothing that computes an answer is replaced.
"""
from collections.abc import Iterator
from contextlib import contextmanager
import importlib
from pathlib import Path
import sys
import types
from typing import Any

import numpy as np
from parity import cases, weights_rule
import torch


def declare_torchvision_operators() -> None:
    """Let a torchvision built for another torch be imported for its Python code."""
    library = torch.library.Library('torchvision', 'DEF')
    library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    library.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    globals()['_torchvision_library'] = library  # operators vanish with their library


def enter_packages(root: Path, *names: str) -> None:
    """Make packages below ``root`` importable without running their ``__init__``."""
    for name in names:
        folder = root.joinpath(*name.split('.'))
        if not folder.is_dir():
            raise SystemExit(f'{folder} does not exist; --source must be the official repository')
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


def empty_module(name: str, **attributes: Any) -> None:
    """Stand in for a dependency that is imported but never used on the way to an action."""
    parts = name.split('.')
    for length in range(1, len(parts) + 1):
        sys.modules.setdefault('.'.join(parts[:length]), types.ModuleType(parts[length - 1]))
    for key, value in attributes.items():
        setattr(sys.modules[name], key, value)


@contextmanager
def small_towers() -> Iterator[None]:
    """Hand the small sizes to timm's own definitions of both vision towers."""
    import timm
    create = timm.create_model
    sizes = {'vit_large_patch14_reg4_dinov2.lvd142m': cases.DINO,
             'vit_so400m_patch14_siglip_224': cases.SIGLIP}

    def small(name: str, **kwargs: Any) -> torch.nn.Module:
        return create(name, **{**kwargs, **sizes[name]})

    timm.create_model = small
    try:
        yield
    finally:
        timm.create_model = create


def fill(module: torch.nn.Module, prefix: str = '') -> torch.nn.Module:
    """Set every parameter by the rule; ``prefix`` is put before the names."""
    state = {name: torch.from_numpy(weights_rule.tensor(prefix + name, tuple(value.shape)))
             for name, value in module.state_dict().items()
             if not name.endswith('causal_mask')}
    module.load_state_dict(state, strict=False)
    return module.float().eval()


def openvla_model(attention: str, dims: int = 7, proprio: int = 8) -> torch.nn.Module:
    """The official ``OpenVLAForActionPrediction`` at the small sizes, filled by rule."""
    package = 'prismatic.extern.hf.'
    configuration = importlib.import_module(package + 'configuration_prismatic')
    modeling = importlib.import_module(package + 'modeling_prismatic')
    config = configuration.OpenVLAConfig(
        vision_backbone_id='dinosiglip-vit-so-224px', llm_backbone_id='llama2-7b-pure',
        arch_specifier='no-align+fused-gelu-mlp', image_resize_strategy='resize-naive',
        text_config=dict(cases.DECODER), norm_stats=cases.statistics(dims, proprio))
    config._attn_implementation = attention
    with small_towers():
        return fill(modeling.OpenVLAForActionPrediction(config))


def image_processor() -> Any:
    """The official image processor with the published normalisation values."""
    processing = importlib.import_module('prismatic.extern.hf.processing_prismatic')
    return processing.PrismaticImageProcessor(
        use_fused_vision_backbone=True, image_resize_strategy='resize-naive',
        input_sizes=[(3, 224, 224)] * 2, interpolations=['bicubic'] * 2,
        means=[(0.485, 0.456, 0.406), (0.5, 0.5, 0.5)],
        stds=[(0.229, 0.224, 0.225), (0.5, 0.5, 0.5)],
        tvf_normalize_params=cases.NORMALIZE)


def pixels(processor: Any, picture: np.ndarray) -> torch.Tensor:
    """(1, 6, 224, 224) float32 of one RGB image."""
    from PIL import Image
    return processor(Image.fromarray(picture), return_tensors='pt')['pixel_values']


def versions(*names: str) -> dict[str, str]:
    """Version strings of imported packages, for the record."""
    return {name: importlib.import_module(name).__version__ for name in names}
