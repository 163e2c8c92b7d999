# SPDX-License-Identifier: Apache-2.0
"""Action chunks -> numeric robot commands: poses or joint positions with times, and the gripper.

Knows units, integration and time; does not know ROS messages.  A command's rows are points with
strictly increasing times; action row i of a chunk moves from ``stamp + i * dt`` to
``stamp + (i + 1) * dt``, so its target is a point at the later time.
"""
from dataclasses import dataclass, replace
import math

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_table import Parameters
from vla_pruner_ros.core.types import ActionChunk, Observation, PolicySpec

SECOND = 10**9


@dataclass(frozen=True)
class EndEffectorCommand:
    """Poses in time.

    Attributes:
        poses: (P, 7) x y z in metres, quaternion x y z w.
        times_ns: (P,) int64, strictly increasing.
        gripper: (P,) published gripper positions, or None.
        stamp_ns: time of the observation.
        absolute: False where the robot publishes no pose: poses are then relative to wherever the
            end effector was, and only ``twists`` may reach a robot.
    """

    poses: np.ndarray
    times_ns: np.ndarray
    gripper: np.ndarray | None
    stamp_ns: int
    absolute: bool = True

    @property
    def points(self) -> np.ndarray:
        """The rows that ``trim`` cuts."""
        return self.poses

    def twists(self) -> np.ndarray:
        """Velocity of every segment (P - 1, 6): m/s, then rad/s (rotation vector), base frame."""
        seconds = np.diff(self.times_ns)[:, None] / SECOND
        linear = np.diff(self.poses[:, :3], axis=0)
        angular = [rotation_vector(multiply(after, conjugate(before)))
                   for before, after in zip(self.poses[:-1, 3:], self.poses[1:, 3:])]
        return np.hstack([linear, np.reshape(angular, (-1, 3))]) / seconds


@dataclass(frozen=True)
class JointCommand:
    """Joint positions in time.

    Attributes:
        names: (J,) joint names.
        positions: (P, J) radians (metres for prismatic joints).
        times_ns: (P,) int64, strictly increasing.
        gripper: (P,) published gripper positions, or None.
        stamp_ns: time of the observation.
    """

    names: tuple[str, ...]
    positions: np.ndarray
    times_ns: np.ndarray
    gripper: np.ndarray | None
    stamp_ns: int

    @property
    def points(self) -> np.ndarray:
        """The rows that ``trim`` cuts."""
        return self.positions


Command = EndEffectorCommand | JointCommand


class CommandBuilder:
    """Turns chunks into commands; remembers only what the gripper was last told.

    Args:
        spec: action kind, columns and gripper values of the policy.
        parameters: joint names, gripper values and hysteresis.

    Raises:
        ConfigError: ``joint_names`` does not fit the policy.
    """

    def __init__(self, spec: PolicySpec, parameters: Parameters):
        self.spec = spec
        self._parameters = parameters
        self._open: bool | None = None
        self._position: float | None = None  # of a continuous gripper
        self._columns = [column for column in range(len(spec.action_names))
                         if column != spec.gripper_index]
        names = parameters.joint_names or tuple(spec.action_names[i] for i in self._columns)
        if spec.action_kind == 'joint_position' and len(names) != len(self._columns):
            raise ConfigError(f'joint_names has {len(names)} names {list(names)}; the policy '
                              f'{spec.name!r} moves {len(self._columns)} joints')
        self._names = names

    def update(self, parameters: Parameters) -> None:
        """Take live parameters."""
        self._parameters = parameters

    def reset(self) -> None:
        """Forget the gripper."""
        self._open = self._position = None

    def build(self, chunk: ActionChunk, observation: Observation) -> Command:
        """Make the command of one chunk; times start at the observation."""
        actions = np.asarray(chunk.actions, np.float64)
        period = round(chunk.control_dt * SECOND)
        stamp = chunk.stamp_ns
        moving = actions[:, self._columns]
        before, gripper = self._gripper(actions)
        if self.spec.action_kind == 'joint_position':
            times = stamp + period * np.arange(1, len(actions) + 1, dtype=np.int64)
            return JointCommand(self._names, moving, times, gripper, stamp)
        poses = integrate(moving, observation.pose)
        times = stamp + period * np.arange(len(actions) + 1, dtype=np.int64)
        if gripper is not None:
            gripper = np.concatenate([[before], gripper])
        return EndEffectorCommand(poses, times, gripper, stamp, observation.pose is not None)

    def _gripper(self, actions: np.ndarray) -> tuple[float, np.ndarray | None]:
        """(position before row 0, positions (H,)); the state after the executed rows is kept."""
        spec, limits = self.spec, self._parameters
        if spec.gripper_index is None:
            return 0.0, None
        share = (actions[:, spec.gripper_index] - spec.gripper_closed) / (
            spec.gripper_open - spec.gripper_closed)
        last = min(limits.execution_horizon, len(share)) - 1  # row that is executed last
        if limits.gripper_mode == 'continuous' or (limits.gripper_mode == 'auto'
                                                   and spec.gripper_continuous):
            positions = limits.gripper_closed + np.clip(share, 0.0, 1.0) * (
                limits.gripper_open - limits.gripper_closed)
            start = positions[0] if self._position is None else self._position
            self._position = float(positions[last])
            return float(start), positions
        state = self._open if self._open is not None else bool(share[0] >= 0.5)
        values = {True: limits.gripper_open, False: limits.gripper_closed}
        before, out = values[state], np.empty(len(share))
        for row, one in enumerate(share):
            if one > 0.5 + limits.gripper_hysteresis:
                state = True
            elif one < 0.5 - limits.gripper_hysteresis:
                state = False
            out[row] = values[state]
            if row == last:
                self._open = state
        return before, out


def trim(command: Command, now_ns: int, period: float,
         lock_step: bool = False) -> tuple[Command | None, str]:
    """Drop points that are past, so that a controller never starts in the middle of a segment.

    The first point kept lies at least ``period`` seconds (of the controller) ahead of ``now_ns``.

    Returns:
        (command, '') or (None, 'late') when nothing is left.
    """
    if lock_step:
        return command, ''
    keep = command.times_ns >= now_ns + round(period * SECOND)
    if not keep.any():
        return None, 'late'
    gripper = None if command.gripper is None else command.gripper[keep]
    if isinstance(command, EndEffectorCommand):
        return replace(command, poses=command.poses[keep], times_ns=command.times_ns[keep],
                       gripper=gripper), ''
    return replace(command, positions=command.positions[keep], times_ns=command.times_ns[keep],
                   gripper=gripper), ''


def integrate(deltas: np.ndarray, pose: tuple[tuple[float, ...], tuple[float, ...]] | None
              ) -> np.ndarray:
    """Poses (H + 1, 7) from end-effector deltas (H, 3 or 6) in the base frame.

    Columns 3..5 are a rotation vector, applied on the left (base frame); for the few degrees of
    one control step this equals roll, pitch, yaw to second order.  Without a pose, start at the
    origin.
    """
    position, turn = pose if pose is not None else ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    poses = np.empty((len(deltas) + 1, 7))
    poses[0] = np.concatenate([position, turn])
    poses[1:, :3] = poses[0, :3] + np.cumsum(deltas[:, :3], axis=0)
    for row, delta in enumerate(deltas):
        step = quaternion(delta[3:6]) if len(delta) >= 6 else np.array([0.0, 0.0, 0.0, 1.0])
        after = multiply(step, poses[row, 3:])
        poses[row + 1, 3:] = after / np.linalg.norm(after)
    return poses


def quaternion(vector: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) in radians -> unit quaternion x y z w."""
    angle = float(np.linalg.norm(vector))
    scale = 0.5 if angle < 1e-12 else math.sin(angle / 2) / angle
    return np.append(np.asarray(vector) * scale, math.cos(angle / 2))


def rotation_vector(turn: np.ndarray) -> np.ndarray:
    """Unit quaternion x y z w -> rotation vector (3,) in radians, the shorter way round."""
    turn = turn if turn[3] >= 0 else -turn
    sine = float(np.linalg.norm(turn[:3]))
    angle = 2 * math.atan2(sine, float(turn[3]))
    return np.asarray(turn[:3] * (2.0 if sine < 1e-12 else angle / sine))


def conjugate(turn: np.ndarray) -> np.ndarray:
    """Inverse of a unit quaternion."""
    return np.asarray(turn * np.array([-1.0, -1.0, -1.0, 1.0]))


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Hamilton product: first ``right``, then ``left``."""
    vector = (left[3] * right[:3] + right[3] * left[:3] + np.cross(left[:3], right[:3]))
    return np.append(vector, left[3] * right[3] - left[:3] @ right[:3])
