# SPDX-License-Identifier: Apache-2.0
"""The last gate before the robot: finite, shaped as promised, within the limits.

A chunk that is not finite is dropped whole, because clamping one bad number still moves the robot
on a bad plan.  Finite values are limited per action value and counted.  The gripper's column is
checked for being finite and otherwise left alone: it is a switch, not a motion.  Limits that
cannot be checked (no pose, no joint state) drop the chunk instead of letting it pass.  Knows
nothing about models.
"""

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, UnsafeActionError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import Observation, PolicySpec


def check_actions(actions: np.ndarray, spec: PolicySpec) -> None:
    """Refuse a chunk that is not finite or not of the promised shape.

    Raises:
        UnsafeActionError: says what is wrong and where.
    """
    wanted = (spec.action_horizon, len(spec.action_names))
    if actions.shape != wanted:
        raise UnsafeActionError(f'the policy answered actions of shape {actions.shape}, its '
                                f'specification says {wanted}')
    bad = np.argwhere(~np.isfinite(actions))
    if len(bad):
        row, column = bad[0]
        raise UnsafeActionError(f'{len(bad)} of {actions.size} action values are not finite, '
                                f'first row {row}, {spec.action_names[column]!r} = '
                                f'{actions[row, column]}; the whole chunk is dropped')


def motion_columns(spec: PolicySpec) -> list[int]:
    """Columns of an action that move the arm: all but the gripper."""
    return [i for i in range(len(spec.action_names)) if i != spec.gripper_index]


def joint_start(spec: PolicySpec, observation: Observation) -> np.ndarray | None:
    """Joint positions now, in the order of the motion columns, or None if the state lacks one."""
    names = [spec.action_names[i] for i in motion_columns(spec)]
    if spec.action_kind != 'joint_position' or not set(names) <= set(spec.state_names):
        return None
    start = np.array([observation.state[spec.state_names.index(name)] for name in names])
    return start if np.isfinite(start).all() else None


def check_limits(parameters: Parameters, spec: PolicySpec) -> None:
    """Refuse limits whose number of values does not fit the policy.

    Raises:
        ConfigError: names the parameter, its length and the accepted lengths.
    """
    _limits(parameters, spec)


def _limits(parameters: Parameters,
            spec: PolicySpec) -> tuple[np.ndarray | None, np.ndarray | None,
                                       np.ndarray | None, np.ndarray | None]:
    """Step, velocity, low and high limits, each None when off.

    The first two have one value per motion column; the last two also, except for the three of an
    end effector's position.
    """
    step = _spread('max_step', parameters.max_step, spec)
    velocity = _spread('max_velocity', parameters.max_velocity, spec)
    faster = _spread('max_acceleration', parameters.max_acceleration, spec)
    for name, limit in (('max_step', step), ('max_velocity', velocity),
                        ('max_acceleration', faster)):
        if limit is not None and (limit < 0).any():
            raise ConfigError(f'{name} has the negative value {limit.min():g}; accepted: 0 or '
                              'more')
    if faster is not None and not faster.all():
        raise ConfigError('max_acceleration has the value 0, with which nothing that moves could '
                          'stop; accepted: more than 0')
    _check_tolerance(parameters, spec)
    if not parameters.position_low:
        return step, velocity, None, None
    low, high = np.array(parameters.position_low), np.array(parameters.position_high)
    wanted = 3 if spec.action_kind == 'ee_delta' else len(motion_columns(spec))
    if len(low) != wanted:
        raise ConfigError(f'position_low and position_high have {len(low)} values; policy '
                          f'{spec.name!r} needs {wanted}')
    return step, velocity, low, high


def _check_tolerance(parameters: Parameters, spec: PolicySpec) -> None:
    given = parameters.tracking_tolerance
    wanted = 6 if spec.action_kind == 'ee_delta' else len(motion_columns(spec))
    if len(given) not in (0, 1, wanted) or any(one <= 0 for one in given):
        raise ConfigError(f'tracking_tolerance is {list(given)}; accepted for policy '
                          f'{spec.name!r}: none, 1 or {wanted} values above 0')


def _spread(name: str, values: tuple[float, ...], spec: PolicySpec) -> np.ndarray | None:
    columns, actions = motion_columns(spec), len(spec.action_names)
    if not values:
        return None
    if len(values) == 1:
        return np.full(len(columns), values[0])
    if len(values) == len(columns):
        return np.array(values)
    if len(values) == actions:
        return np.array(values)[columns]
    raise ConfigError(f'{name} has {len(values)} values; accepted for policy {spec.name!r}: none, '
                      f'1, {len(columns)} (without the gripper) or {actions}')


def limit_actions(actions: np.ndarray, observation: Observation, spec: PolicySpec,
                  parameters: Parameters) -> tuple[np.ndarray, dict[str, int]]:
    """Limit a chunk along the path it would take from where the robot is.

    End-effector deltas are limited per value, then integrated from the observed position; where
    the path would leave the box, the delta is cut.  Joint targets are limited in position, then in
    their step from the previous target, the first from the observed joints.  A robot that already
    is outside may come back at its own pace but go no further out: a limit never creates motion.

    Args:
        actions: (H, D), finite.
        observation: gives the pose or joint positions the chunk starts from.
        spec: of the policy.
        parameters: the limits.

    Returns:
        The limited copy and, per limit that acted, how many values it changed.

    Raises:
        UnsafeActionError: a limit is set and the observation lacks what is needed to check it.
    """
    step, velocity, low, high = _limits(parameters, spec)
    limited = np.array(actions, dtype=np.float64)
    counts: dict[str, int] = {}
    if step is None and velocity is None and low is None:
        return limited, counts
    columns = motion_columns(spec)
    absolute = spec.action_kind == 'joint_position'
    here = _start(observation, spec, absolute, stepping=step is not None or velocity is not None,
                  boxed=low is not None)
    boxed = slice(0, len(columns)) if absolute else slice(0, 3)
    for row in limited:
        delta = row[columns] - here if absolute and here is not None else row[columns].copy()
        if step is not None:
            delta = _clip(delta, -step, step, 'max_step', counts)
        if velocity is not None:
            reach = velocity * spec.control_dt
            delta = _clip(delta, -reach, reach, 'max_velocity', counts)
        if low is not None and high is not None:
            origin = np.zeros(len(columns)) if here is None else here
            outer_low = low if here is None else np.minimum(low, origin[boxed])
            outer_high = high if here is None else np.maximum(high, origin[boxed])
            target = origin[boxed] + delta[boxed]
            inside = _clip(target, outer_low, outer_high, 'position', counts)
            changed = inside != target
            delta[boxed][changed] = (inside - origin[boxed])[changed]
        if absolute:
            row[columns] = delta if here is None else here + delta
        else:
            row[columns] = delta
        if here is not None:
            here = here + delta
    return limited, counts


def _start(observation: Observation, spec: PolicySpec, absolute: bool, stepping: bool,
           boxed: bool) -> np.ndarray | None:
    """Where the path starts, one value per motion column; None where no limit needs it."""
    if absolute:
        start = joint_start(spec, observation)
        if start is None and stepping:
            raise UnsafeActionError('max_step or max_velocity is set, but the state does not hold '
                                    f'the positions of the joints {", ".join(spec.action_names)}')
        return start
    if not boxed:
        return None
    if observation.pose is None or not np.isfinite(observation.pose[0]).all():
        raise UnsafeActionError('position limits are set, but the observation has no end-effector '
                                'pose to start the path from')
    start = np.zeros(len(motion_columns(spec)))
    start[:3] = observation.pose[0]
    return start


def _clip(values: np.ndarray, low: np.ndarray, high: np.ndarray, name: str,
          counts: dict[str, int]) -> np.ndarray:
    clipped: np.ndarray = np.clip(values, low, high)
    changed = int((clipped != values).sum())
    if changed:
        counts[name] = counts.get(name, 0) + changed
    return clipped
