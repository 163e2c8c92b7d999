# SPDX-License-Identifier: Apache-2.0
"""The little language of the parameter ``outputs``: which controller gets which columns, and how.

One line per controller: ``name=kind:topic#columns@rate``, for example
``left=joint_trajectory:/left_arm_controller/joint_trajectory#0-5``.  All lines are fed from one
plan.  Knows neither messages nor topics beyond their names.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import re

from vla_pruner_ros.core.action_limits import motion_columns
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.runtime.motion.robot_commands import joint_command_names

JOINTS, HAND, GRIPPER = 'joints', 'hand', 'gripper'
FASTEST = 1000.0  # messages per second


@dataclass(frozen=True)
class Kind:
    """How a controller wants to be told.

    Attributes:
        feeds: ``'joints'``, ``'hand'`` or ``'gripper'``.
        rate: messages per second where the line does not say; 0: one message per chunk.
        action: goals of an action, not messages on a topic.
    """

    feeds: str
    rate: float = 0.0
    action: bool = False


KINDS = {
    'joint_trajectory': Kind(JOINTS),
    'follow_joint_trajectory': Kind(JOINTS, action=True),
    'forward_position': Kind(JOINTS, rate=100.0),
    'forward_velocity': Kind(JOINTS, rate=100.0),
    'ee_trajectory': Kind(HAND),
    'twist': Kind(HAND, rate=30.0),
    'pose': Kind(HAND, rate=30.0),
    'gripper_trajectory': Kind(GRIPPER),
    'gripper_action': Kind(GRIPPER, rate=30.0, action=True),
    'parallel_gripper_action': Kind(GRIPPER, rate=30.0, action=True),
}
#: Kinds whose controller executes its last message for ever: only the node can end a motion.
FORWARD = ('forward_position', 'forward_velocity')
VELOCITY = ('twist', 'forward_velocity')

_TOPIC = r'(?:~/|/)?[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*'
_LINE = re.compile(r'\s*(?P<name>[A-Za-z]\w*)\s*=\s*(?P<kind>\w+)\s*'
                   rf'(?::\s*(?P<topic>{_TOPIC})\s*)?(?:#(?P<columns>[^@#]+))?'
                   r'(?:@\s*(?P<rate>[^@#]+))?', re.ASCII)
_FORM = ("accepted: 'name=kind:topic#columns@rate', where only name and kind must be there, e.g. "
         "'left=joint_trajectory:/left_arm_controller/joint_trajectory#0-5'")


@dataclass(frozen=True)
class OutputLine:
    """One controller.

    Attributes:
        name: of the line; its dry run goes to ``~/dry_run/NAME``.
        kind: one of ``KINDS``.
        target: topic or action.
        columns: of the policy's actions, in the order of the message; () for the hand.
        moving: for each, its place among the moving columns, None for the policy's gripper.
        joints: their published names.
        rate: messages per second; 0: one message per chunk.
    """

    name: str
    kind: str
    target: str
    columns: tuple[int, ...]
    moving: tuple[int | None, ...]
    joints: tuple[str, ...]
    rate: float

    @property
    def action(self) -> bool:
        """Whether it is told by goals of an action."""
        return KINDS[self.kind].action

    @property
    def dry_target(self) -> str:
        """Topic that stands in for it in dry run."""
        return f'~/dry_run/{self.name}'


def parse_outputs(parameters: Parameters, spec: PolicySpec,
                  resolve: Callable[[str], str] = str) -> tuple[OutputLine, ...]:
    """Read ``outputs``; empty = what the policy can be asked for on topics of the node.

    Args:
        parameters: snapshot.
        spec: of the policy.
        resolve: topic as written -> full name.

    Raises:
        ConfigError: names the line, the value and what is accepted.
    """
    if not parameters.outputs:
        return tuple(_read(one, parameters, spec) for one in _defaults(spec))
    lines = tuple(_read(one, parameters, spec) for one in parameters.outputs)
    _once('the name', [(line.name, line) for line in lines])
    _once('the topic', [(resolve(topic), line) for line in lines
                        for topic in (line.target, line.dry_target)])
    _once('the column', [(column, line) for line in lines for column in line.columns])
    for line in lines:
        _check_stream(line, parameters)
    return lines


def _defaults(spec: PolicySpec) -> list[str]:
    lines = (['action_chunk=joint_trajectory'] if spec.action_kind == 'joint_position'
             else ['ee_trajectory=ee_trajectory', 'twist=twist'])
    if spec.gripper_index is not None:
        lines.append('gripper_command=gripper_trajectory')
    return lines


def _read(text: str, parameters: Parameters, spec: PolicySpec) -> OutputLine:
    found = _LINE.fullmatch(text)
    if found is None:
        raise ConfigError(f'outputs has {text!r}; {_FORM}')
    name, kind = found['name'], found['kind']
    if kind not in KINDS:
        raise ConfigError(f'outputs has {text!r} with the kind {kind!r}; accepted: '
                          f'{", ".join(_fed(spec))}')
    if KINDS[kind].action and not found['topic']:
        raise ConfigError(f"outputs has {text!r} without the name of the action; accepted: "
                          f"'{name}={kind}:/controller/action'")
    columns = _columns(text, kind, found['columns'], parameters, spec)
    moving = motion_columns(spec)
    names = _column_names(parameters, spec)
    return OutputLine(
        name, kind, found['topic'] or f'~/{name}', columns,
        tuple(None if column == spec.gripper_index else moving.index(column)
              for column in columns),
        tuple(names[column] for column in columns), _rate(text, kind, found['rate']))


def _fed(spec: PolicySpec) -> list[str]:
    """Kinds that this policy can feed, as far as its action kind says."""
    moves = JOINTS if spec.action_kind == 'joint_position' else HAND
    return [name for name, kind in KINDS.items() if kind.feeds in (moves, GRIPPER)]


def _column_names(parameters: Parameters, spec: PolicySpec) -> list[str]:
    """Published name of every column of an action."""
    names = list(joint_command_names(spec, parameters)
                 if spec.action_kind == 'joint_position' else
                 [spec.action_names[column] for column in motion_columns(spec)])
    if spec.gripper_index is not None:
        names.insert(spec.gripper_index, parameters.gripper_joint)
    return names


def _columns(text: str, kind: str, wanted: str | None, parameters: Parameters,
             spec: PolicySpec) -> tuple[int, ...]:
    feeds, joints = KINDS[kind].feeds, spec.action_kind == 'joint_position'
    if feeds == HAND:
        if joints:
            raise _cannot_feed(text, kind, spec)
        if wanted:
            raise ConfigError(f'outputs has {text!r}: {kind} takes the whole hand; accepted: no '
                              '#columns')
        return ()
    # Only these are places that a controller can be sent to; a delta of the hand is not.
    places = [column for column in range(len(spec.action_names))
              if joints or column == spec.gripper_index]
    if kind == 'forward_velocity':
        places = [column for column in places if column != spec.gripper_index]
    if wanted is None:
        if feeds == GRIPPER:
            chosen = [] if spec.gripper_index is None else [spec.gripper_index]
            if not chosen:
                raise ConfigError(f'outputs has {text!r}, but the policy {spec.name!r} has no '
                                  f'gripper column of its own; accepted: {text}#COLUMN with one '
                                  f'of {_words(places, parameters, spec)}')
        else:
            chosen = [column for column in places if column != spec.gripper_index]
            if not chosen:
                raise _cannot_feed(text, kind, spec)
    else:
        chosen = [column for part in wanted.split(',')
                  for column in _part(text, part.strip(), places, parameters, spec)]
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f'outputs has {text!r}, which names a column twice; accepted: each once')
    if feeds == GRIPPER and len(chosen) != 1:
        raise ConfigError(f'outputs has {text!r} with {len(chosen)} columns; accepted for {kind}: '
                          'one')
    return tuple(chosen)


def _part(text: str, part: str, places: Sequence[int], parameters: Parameters,
          spec: PolicySpec) -> list[int]:
    """Columns of a number, a range or a name."""
    names = _column_names(parameters, spec)
    span = re.fullmatch(r'(\d{1,4})(?:\s*-\s*(\d{1,4}))?', part, re.ASCII)
    if span is not None:
        found = list(range(int(span[1]), int(span[2] or span[1]) + 1))
    else:
        found = [column for column, name in enumerate(names) if name == part]
    if not found or not set(found) <= set(places):
        raise ConfigError(f'outputs has {text!r} with the column {part!r}; accepted: '
                          f'{_words(places, parameters, spec)}, or a range such as 0-5')
    return found


def _words(places: Sequence[int], parameters: Parameters, spec: PolicySpec) -> str:
    names = _column_names(parameters, spec)
    return ', '.join(f'{column} ({names[column]})' for column in places) or 'none'


def _cannot_feed(text: str, kind: str, spec: PolicySpec) -> ConfigError:
    answers = ('joint positions' if spec.action_kind == 'joint_position'
               else 'end-effector deltas')
    return ConfigError(f'outputs has {text!r}, but the policy {spec.name!r} answers {answers}, '
                       f'which cannot feed {kind}; accepted: {", ".join(_fed(spec))}')


def _rate(text: str, kind: str, wanted: str | None) -> float:
    usual = KINDS[kind].rate
    if wanted is None:
        return usual
    if not usual:
        raise ConfigError(f'outputs has {text!r}: {kind} is sent once per chunk; accepted: no '
                          '@rate')
    try:
        rate = float(wanted)
    except ValueError:
        rate = 0.0
    if not 1.0 <= rate <= FASTEST:
        raise ConfigError(f'outputs has {text!r} with the rate {wanted.strip()!r}; accepted: 1 to '
                          f'{FASTEST:g} messages per second')
    return rate


def _once(what: str, uses: Sequence[tuple[object, OutputLine]]) -> None:
    seen: dict[object, OutputLine] = {}
    for value, line in uses:
        if value in seen:
            raise ConfigError(f'outputs has {what} {value!r} twice, in {seen[value].name!r} and '
                              f'{line.name!r}; accepted: once')
        seen[value] = line


def _check_stream(line: OutputLine, parameters: Parameters) -> None:
    if line.rate and parameters.lock_step:
        raise ConfigError(f'outputs has {line.name!r} of the kind {line.kind}, a stream in real '
                          'time, but lock_step is true; accepted: '
                          f'{", ".join(name for name, kind in KINDS.items() if not kind.rate)}, '
                          'or lock_step false')
    if line.kind == 'pose' and not parameters.pose_topic:
        raise ConfigError(f'outputs has {line.name!r} of the kind pose, which needs to know where '
                          'the hand is, but pose_topic is empty; accepted: a pose_topic, or the '
                          'kind twist')
    if line.kind in FORWARD and parameters.watchdog_action == 'none':
        raise ConfigError(f"watchdog_action is 'none', but the output {line.name!r} is "
                          f'{line.kind}, whose controller never stops by itself; accepted: hold, '
                          'zero')
