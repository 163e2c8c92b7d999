# SPDX-License-Identifier: Apache-2.0
"""A checkpoint in words and numbers, from its JSON files and tensor headers alone."""
from collections.abc import Mapping
from typing import Any

import torch

from vla_pruner_ros.backends.openvla.action_unnormalization import read_bounds
from vla_pruner_ros.backends.openvla.checkpoint_files import read_component
from vla_pruner_ros.backends.openvla.checkpoint_loading import build, Checkpoint, memory_need
from vla_pruner_ros.backends.openvla.dataset_facts import action_names, facts, state_names
from vla_pruner_ros.backends.openvla.memory_estimate import amount, PRECISIONS
from vla_pruner_ros.backends.openvla.prismatic_backend import ROLES
from vla_pruner_ros.backends.openvla.prismatic_model import OpenVlaModel
from vla_pruner_ros.core.errors import ConfigError


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint is and needs, as plain data.

    Raises:
        ConfigError: a configuration that is not read.
        BackendError: tensors are missing, misshaped or unexpected.
    """
    oft = checkpoint.is_oft
    model, _ = build(checkpoint, lm_head=not oft, shapes_only=True)
    parts = {stem: read_component(path, shapes_only=True)
             for stem, path in checkpoint.components.items()}
    beside = sum(one.numel() for stem, tensors in parts.items() if stem != 'vision_backbone'
                 for one in tensors.values())
    shape = model.shape
    tower = shape.towers[0]
    used = sum(one.numel() for one in model.parameters())
    inside = model.state_dict()
    idle = sum(one.elements for name, one in checkpoint.stored.items()
               if name not in inside or 'vision_backbone' in parts and 'featurizer.' in name)
    state = parts.get('proprio_projector', {}).get('fc1.weight')
    return {
        'backend': 'openvla_oft' if oft else 'openvla',
        'folder': str(checkpoint.folder),
        'stored_dtype': checkpoint.stored_dtype,
        'components': {stem: path.name for stem, path in checkpoint.components.items()},
        'film': tower.language is not None,
        'image_size': tower.grid * tower.patch,
        'tokens_per_image': tower.grid ** 2,
        'towers': [{'name': str(name), 'width': one.width, 'blocks': one.blocks}
                   for name, one in zip(checkpoint.config['timm_model_ids'], shape.towers)],
        'language_model': {'layers': shape.decoder.num_hidden_layers,
                           'width': shape.decoder.hidden_size, 'vocabulary': shape.vocab},
        'cameras': {count: list(roles) for count, roles in ROLES.items() if oft or count == 1},
        'state': [] if state is None else list(state_names(state.shape[1])),
        'statistics': {key: _data_set(key, block)
                       for key, block in sorted(checkpoint.statistics.items())},
        'weights': {'used': used + beside, 'never_used': idle},
        'memory': _memory(model, beside),
    }


def _memory(model: OpenVlaModel, beside: int) -> dict[str, dict[str, int]]:
    """Bytes by precision; with int8 and int4 everything but the decoder's layers in bfloat16.

    int4 as packed on a GPU, where it takes a little more than on a CPU.
    """
    needs = {name: memory_need(model, dtype, 1, beside) for name, dtype in PRECISIONS.items()}
    needs.update({kind: memory_need(model, torch.bfloat16, 1, beside, kind, 'cuda')
                  for kind in ('int8', 'int4')})
    return {name: {**one._asdict(), 'total': one.total} for name, one in needs.items()}


def _data_set(key: str, block: Any) -> dict[str, Any]:
    """One data set: its actions, rate and units, or why it cannot be used."""
    try:
        bounds = read_bounds(block.get('action') if isinstance(block, Mapping) else None,
                             'min_max', f'norm_stats[{key!r}]["action"]')
    except ConfigError as error:
        return {'problem': str(error)}
    names: list[str] = []
    result: dict[str, Any] = {'dimensions': bounds.dimensions,
                              'transitions': block.get('num_transitions'), 'rate': None}
    try:
        known = facts(key, bounds.dimensions)
    except ConfigError:  # the rate must be given; nothing else is known either
        known = facts(key, bounds.dimensions, rate=1.0)
    else:
        result['rate'] = known.rate
    try:
        names = list(action_names(bounds.dimensions, known.joints))
    except ConfigError as error:
        result['problem'] = str(error)
    units = 'rad (joint positions)' if known.joints else (
        'm and rad per step' if (known.metres, known.radians) == (1.0, 1.0) else
        f'{known.metres:g} m and {known.radians:g} rad per unit and step')
    return {**result, 'actions': names, 'units': units, 'bounds': known.bounds,
            'chunk': known.chunk}


def as_text(found: Mapping[str, Any]) -> str:
    """The description for people."""
    llm, weights = found['language_model'], found['weights']
    towers = ' + '.join(f'{one["name"]} ({one["blocks"]} blocks of {one["width"]})'
                        for one in found['towers'])
    cameras = ' | '.join(', '.join(roles) for roles in found['cameras'].values())
    several = ' (set policy_images to their number)' if len(found['cameras']) > 1 else ''
    lines = [
        f'{found["folder"]}', f'  backend         {found["backend"]}'
        + (' with FiLM' if found['film'] else ''),
        f'  vision          {towers}',
        f'  images          {found["image_size"]} x {found["image_size"]} pixels, '
        f'{found["tokens_per_image"]} visual tokens each',
        f'  language model  Llama, {llm["layers"]} layers of {llm["width"]}, {llm["vocabulary"]} '
        'tokens',
        f'  cameras         {cameras}{several}',
        f'  state           {", ".join(found["state"]) or "not read"}',
        f'  files           {", ".join(found["components"].values()) or "model only"}',
        f'  weights         {weights["used"]:,} used, {weights["never_used"]:,} stored but never '
        'used',
        f'  stored as       {found["stored_dtype"]}',
        '  memory          ' + ', '.join(f'{name} {amount(one["total"])}'
                                         for name, one in found['memory'].items()),
        '                  (int8, int4: layers of the language model; the rest in bfloat16)',
        '  data sets (unnorm_key)']
    for key, one in found['statistics'].items():
        if 'problem' in one:
            lines.append(f'    {key}: {one["problem"]}')
            continue
        rate = f'{one["rate"]:g} Hz' if one['rate'] else 'rate unknown (set control_rate)'
        chunk = f'; {one["chunk"]} actions per answer' if found['backend'] == 'openvla_oft' else ''
        lines.append(f'    {key}: {", ".join(one["actions"])}; {one["units"]}; {rate}{chunk}')
    return '\n'.join(lines)
