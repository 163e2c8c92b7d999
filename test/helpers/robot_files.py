# SPDX-License-Identifier: Apache-2.0
"""config/robots/*.yaml as the tests see them: parameters, sources, and policies that fit."""
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

from fakes import make_parameters, make_spec
from paths import ROOT
import yaml

from vla_pruner_ros.backends.openvla.dataset_facts import action_names, TWO_ARMS
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.runtime.parameter_files import load_parameters

FOLDER = ROOT / 'config' / 'robots'
NAMES = tuple(sorted(path.stem for path in FOLDER.glob('*.yaml')))
#: Joints and reach in metres (makers' published numbers; so101: links of its model, added up).
ROBOTS = {'aloha': (14, 0.75), 'fr3': (7, 0.855), 'gen3': (7, 0.902), 'so101': (5, 0.45),
          'ur5e': (6, 0.85), 'wx250s': (6, 0.65), 'xarm7': (7, 0.7)}
HAND = 'these lines into your own params_file'
OURS = re.compile(r'guess(es)?,? (of )?ours', re.I)


@dataclass(frozen=True)
class Block:
    """Parameters that stand together, and the comment right above them."""

    names: tuple[str, ...]
    comment: str

    @property
    def sources(self) -> set[str]:
        """Numbers of the sources that the comment cites."""
        return set(re.findall(r'\[(\d)\]', self.comment))


def path_of(robot: str) -> Path:
    return FOLDER / f'{robot}.yaml'


def text_of(robot: str) -> str:
    return path_of(robot).read_text(encoding='utf-8')


def parameters_of(robot: str, *settings: str) -> Parameters:
    """The file over the fakes' parameters; its own values win."""
    return load_parameters(path_of(robot), settings, make_parameters())


def raw_of(robot: str) -> dict[str, Any]:
    return yaml.safe_load(text_of(robot))['/**']['ros__parameters']


def listed_sources(robot: str) -> set[str]:
    return set(re.findall(r'^# \[(\d)\] ', text_of(robot), re.M))


def blocks(robot: str) -> list[Block]:
    """Parameters of the file in order, each group with its comment."""
    found: list[Block] = []
    comment: list[str] = []
    names: list[str] = []
    for line in text_of(robot).split('ros__parameters:\n')[1].splitlines() + ['']:
        named = re.match(r'    (\w+): ', line)
        if named:
            names.append(named.group(1))
        elif not line.startswith('     ' + ' '):  # a list that goes on belongs to its name
            if names:
                found.append(Block(tuple(names), ' '.join(comment)))
                comment, names = [], []
            comment = [*comment, line.strip(' #')] if line.startswith('    #') else []
    return found


def hand_settings(robot: str) -> tuple[str, ...]:
    """What the file says that a policy with end-effector deltas needs; () where it claims none."""
    _, marker, rest = text_of(robot).partition(HAND)
    if not marker:
        return ()
    return tuple(f'{name}={value}' for name, value in
                 re.findall(r'^    #   (\w+): (.*)$', rest, re.M))


def joint_policy(robot: str) -> PolicySpec:
    """A policy that moves exactly these joints, and the gripper where that stands apart."""
    names = parameters_of(robot).joint_names
    state, gripper = names, len(names)
    if robot == 'aloha':
        state = names = action_names(TWO_ARMS, joints=True)
        return make_spec(state_names=state, action_names=names, gripper_index=None,
                         action_kind='joint_position', control_dt=0.04, action_horizon=25)
    return make_spec(state_names=state, action_names=(*names, 'gripper'), gripper_index=gripper,
                     action_kind='joint_position', control_dt=0.1)


def hand_policy() -> PolicySpec:
    """Six coordinates of a hand and a gripper."""
    return make_spec(action_names=('dx', 'dy', 'dz', 'drx', 'dry', 'drz', 'gripper'),
                     state_names=(), gripper_index=6)
