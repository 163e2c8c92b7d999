# SPDX-License-Identifier: Apache-2.0
"""Configuration text -> where each camera image and each state value of a policy comes from.

Knows the little languages of the parameters ``camera_topics`` and ``state_sources``; does not know
messages, ages or topics beyond their names.
"""
from collections.abc import Sequence
from dataclasses import dataclass
import math

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.runtime.pose_fields import POSE_FIELDS

# What a policy that names its state in the usual way needs no configuration for.
DEFAULT_SOURCES = {
    **{prefix + field: f'pose.{field}' for field in POSE_FIELDS for prefix in ('', 'ee_')},
    'gripper_opening': 'joint.gripper',
}


@dataclass(frozen=True)
class CameraTopic:
    """One camera of the policy: its role, the topic it arrives on, the message type."""

    role: str
    topic: str
    compressed: bool


@dataclass(frozen=True)
class StateSource:
    """Where one state value comes from.

    Attributes:
        name: the policy's name of the value.
        kind: ``'joint'``, ``'pose'`` or ``'const'``.
        key: joint name, or field of the pose (``POSE_FIELDS``), or ``''``.
        value: the constant.
    """

    name: str
    kind: str
    key: str = ''
    value: float = 0.0


def parse_camera_topics(entries: Sequence[str],
                        spec: PolicySpec | None = None) -> tuple[CameraTopic, ...]:
    """Read ``camera_topics``; with a ``spec``, in its camera order and complete.

    Raises:
        ConfigError: an entry is not 'role=topic', a role comes twice, is unknown or is missing.
    """
    found: dict[str, CameraTopic] = {}
    for entry in entries:
        role, equals, topic = (part.strip() for part in entry.partition('='))
        topic, at, transport = topic.partition('@')
        if not (role and equals and topic) or (at and transport not in ('compressed', 'raw')):
            raise ConfigError(f"camera_topics has {entry!r}; accepted: 'role=topic', "
                              "'role=topic@compressed' or 'role=topic@raw'")
        if role in found:
            raise ConfigError(f'camera_topics names the role {role!r} twice')
        compressed = transport == 'compressed' or (
            transport != 'raw' and topic.endswith('/compressed'))
        found[role] = CameraTopic(role, topic, compressed)
    if spec is None:
        return tuple(found.values())
    wanted = [camera.role for camera in spec.cameras]
    unknown = [role for role in found if role not in wanted]
    missing = [role for role in wanted if role not in found]
    if unknown or missing:
        raise ConfigError(f'camera_topics has the roles {sorted(found)}; the policy '
                          f'{spec.name!r} has exactly {wanted}')
    return tuple(found[role] for role in wanted)


def parse_state_sources(entries: Sequence[str], spec: PolicySpec) -> tuple[StateSource, ...]:
    """Read ``state_sources``, in the order of the policy's state names.

    A state name without an entry gets its default: the pose for ``x``, ``ee_x`` and their like,
    else the joint of the same name.

    Raises:
        ConfigError: bad text, a state name the policy does not have, or one that comes twice.
    """
    given: dict[str, StateSource] = {}
    for entry in entries:
        name, equals, text = (part.strip() for part in entry.partition('='))
        if not equals or name not in spec.state_names:
            raise ConfigError(f'state_sources has {entry!r}; the state names of the policy '
                              f'{spec.name!r} are {", ".join(spec.state_names) or "none"}')
        if name in given:
            raise ConfigError(f'state_sources gives {name!r} twice')
        given[name] = _source(name, text, entry)
    return tuple(given.get(name) or _source(name, DEFAULT_SOURCES.get(name, f'joint.{name}'), name)
                 for name in spec.state_names)


def state_sources(parameters: Parameters, spec: PolicySpec) -> tuple[StateSource, ...]:
    """State sources of a policy, checked against the topics that are configured.

    Raises:
        ConfigError: as ``parse_state_sources``, or a source's topic is not configured.
    """
    sources = parse_state_sources(parameters.state_sources, spec)
    topics = {'joint': ('joint_state_topic', parameters.joint_state_topic),
              'pose': ('pose_topic', parameters.pose_topic)}
    for source in sources:
        name, topic = topics.get(source.kind, ('', 'none needed'))
        if not topic:
            raise ConfigError(f"state value {source.name!r} comes from '{source.kind}."
                              f"{source.key}', but {name} is empty; set {name}, or give "
                              f"'{source.name}=const.NUMBER' in state_sources")
    return sources


def _source(name: str, text: str, entry: str) -> StateSource:
    kind, _, key = text.partition('.')
    if kind == 'joint' and key:
        return StateSource(name, 'joint', key)
    if kind == 'pose' and key in POSE_FIELDS:
        return StateSource(name, 'pose', key)
    if kind == 'const':
        try:
            value = float(key)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return StateSource(name, 'const', '', value)
    raise ConfigError(f"state_sources has {entry!r}; accepted: 'name=joint.JOINT', 'name=pose.F' "
                      f"with F one of {' '.join(POSE_FIELDS)}, or 'name=const.NUMBER'")
