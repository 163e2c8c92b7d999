# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is and needs, without loading it."""
import argparse
from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any


def run_inspect(options: argparse.Namespace) -> int:
    """Print the description that the command line asks for; returns the exit status."""
    from vla_pruner_ros.backends.openvla.hub_download import resolve_checkpoint
    from vla_pruner_ros.backends.shipped_policies import is_shipped_kind
    folder = resolve_checkpoint(options.checkpoint, options.revision)
    described, text = _pocket(folder) if is_shipped_kind(folder) else _openvla(
        folder, options.unnorm_key)
    print(json.dumps(described, indent=2) if options.json else text)
    return 0


def _openvla(folder: Path, key: str) -> 'tuple[dict[str, Any], str]':
    from vla_pruner_ros.backends.openvla.action_unnormalization import choose_statistics
    from vla_pruner_ros.backends.openvla.checkpoint_description import as_text, describe
    from vla_pruner_ros.backends.openvla.checkpoint_loading import read_checkpoint
    checkpoint = read_checkpoint(folder)
    described = describe(checkpoint)
    text = as_text(described)
    if key:
        _, block = choose_statistics(checkpoint.statistics, key)
        described['numbers'] = block
        text += f'\n  statistics of {key}\n' + _numbers(block)
    return described, text


def _numbers(block: Mapping[str, Any]) -> str:
    rows = []
    for group in ('action', 'proprio'):
        values = block.get(group)
        for name, one in values.items() if isinstance(values, dict) else ():
            shown = ' '.join(f'{number:.5g}' if isinstance(number, float) else str(number)
                             for number in (one if isinstance(one, list) else [one]))
            rows.append(f'    {group + "." + name:14} {shown}')
    return '\n'.join(rows)


def _pocket(folder: Path) -> 'tuple[dict[str, Any], str]':
    """Describe the shipped kind of policy; it is small enough to be loaded."""
    import torch

    from vla_pruner_ros.backends.pocket.pocket_backend import PocketBackend
    backend = PocketBackend.load(folder, torch.device('cpu'))
    spec = backend.spec
    weights = sum(one.numel() for one in backend.model.parameters())
    described = {
        'backend': spec.name, 'folder': str(folder),
        'image_size': spec.cameras[0].height, 'tokens_per_image': spec.tokens_per_image,
        'cameras': {len(spec.cameras): [one.role for one in spec.cameras]},
        'state': list(spec.state_names), 'actions': list(spec.action_names),
        'action_horizon': spec.action_horizon, 'rate': 1 / spec.control_dt,
        'weights': {'used': weights, 'never_used': 0},
        'memory': {'float32': {'weights': 4 * weights}}}
    text = '\n'.join([
        str(folder), f'  backend         {spec.name}',
        f'  images          {spec.cameras[0].height} x {spec.cameras[0].width} pixels, '
        f'{spec.tokens_per_image} visual tokens each',
        f'  cameras         {", ".join(one.role for one in spec.cameras)}',
        f'  state           {", ".join(spec.state_names)}',
        f'  actions         {spec.action_horizon} x {", ".join(spec.action_names)}; metres per '
        f'step; {1 / spec.control_dt:g} Hz',
        f'  weights         {weights:,}, {4 * weights / 2 ** 20:.1f} MiB in float32'])
    return described, text
