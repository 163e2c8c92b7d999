# SPDX-License-Identifier: Apache-2.0
"""Action chunks -> numeric robot commands: poses or joint positions with times, and the gripper.

Knows units, integration and time; does not know ROS messages.  A command's rows are points with
strictly increasing times; action row i of a chunk moves from ``stamp + i * dt`` to
``stamp + (i + 1) * dt``, so its target is a point at the later time.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.core.action_limits import motion_columns
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import ActionChunk, Observation, PolicySpec
from vla_pruner_ros.runtime.gripper_decision import GripperDecision
from vla_pruner_ros.runtime.rotations import IDENTITY, multiply, quaternion

SECOND = 10**9


@dataclass(frozen=True)
class EndEffectorCommand:
    """Poses in time.

    Attributes:
        poses: (P, 7) x y z in metres, quaternion x y z w.
        times_ns: (P,) int64, strictly increasing.
        gripper: (P,) published gripper positions, or None.
        stamp_ns: what ``header.stamp`` says: of the observation in lock step, else of sending, so
            that no controller starts in the past.
        absolute: False where the robot publishes no pose: poses are then relative to wherever the
            end effector was, and only velocities may reach a robot.
        velocities: (P, 6) m/s and rad/s at the points, or None.
    """

    poses: np.ndarray
    times_ns: np.ndarray
    gripper: np.ndarray | None
    stamp_ns: int
    absolute: bool = True
    velocities: np.ndarray | None = None


@dataclass(frozen=True)
class JointCommand:
    """Joint positions in time.

    Attributes:
        names: (J,) joint names.
        positions: (P, J) radians (metres for prismatic joints).
        times_ns: (P,) int64, strictly increasing.
        gripper: (P,) published gripper positions, or None.
        stamp_ns: see ``EndEffectorCommand``.
        velocities: (P, J) per second at the points, or None.
    """

    names: tuple[str, ...]
    positions: np.ndarray
    times_ns: np.ndarray
    gripper: np.ndarray | None
    stamp_ns: int
    velocities: np.ndarray | None = None


Command = EndEffectorCommand | JointCommand


def joint_command_names(spec: PolicySpec, parameters: Parameters) -> tuple[str, ...]:
    """Joint names of published joint chunks, in the order of the policy's columns.

    Raises:
        ConfigError: ``joint_names`` does not fit the policy.
    """
    moving = tuple(spec.action_names[column] for column in motion_columns(spec))
    names = parameters.joint_names or moving
    if spec.action_kind == 'joint_position' and len(names) != len(moving):
        raise ConfigError(f'joint_names has {len(names)} names {list(names)}; the policy '
                          f'{spec.name!r} moves {len(moving)} joints')
    return names


class CommandBuilder:
    """Turns chunks into commands as they are, for robots that wait for the policy (lock step).

    Args:
        spec: action kind, columns and gripper values of the policy.
        parameters: joint names, gripper values and hysteresis.

    Raises:
        ConfigError: ``joint_names`` does not fit the policy.
    """

    def __init__(self, spec: PolicySpec, parameters: Parameters):
        self.spec = spec
        self._parameters = parameters
        self._gripper = GripperDecision(spec)
        self._columns = motion_columns(spec)
        self._names = joint_command_names(spec, parameters)

    def update(self, parameters: Parameters) -> None:
        """Take live parameters."""
        self._parameters = parameters

    def reset(self) -> None:
        """Forget the gripper."""
        self._gripper.forget()

    def build(self, chunk: ActionChunk, observation: Observation) -> Command:
        """Make the command of one chunk; times start at the observation."""
        actions = np.asarray(chunk.actions, np.float64)
        period = round(chunk.control_dt * SECOND)
        stamp = chunk.stamp_ns
        moving = actions[:, self._columns]
        decided = self._gripper.decide(actions, self._parameters)
        self._gripper.commit(decided)
        gripper = decided.positions
        if self.spec.action_kind == 'joint_position':
            times = stamp + period * np.arange(1, len(actions) + 1, dtype=np.int64)
            return JointCommand(self._names, moving, times, gripper, stamp)
        poses = integrate(moving, observation.pose)
        times = stamp + period * np.arange(len(actions) + 1, dtype=np.int64)
        if gripper is not None:
            gripper = np.concatenate([[decided.before], gripper])
        return EndEffectorCommand(poses, times, gripper, stamp, observation.pose is not None)


def integrate(deltas: np.ndarray,
              pose: tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray] | None
              ) -> np.ndarray:
    """Poses (H + 1, 7) from end-effector deltas (H, 3 or 6) in the base frame.

    Columns 3..5 are a rotation vector, applied on the left (base frame); for the few degrees of
    one control step this equals roll, pitch, yaw to second order.  Without a pose, start at the
    origin.
    """
    position, turn = pose if pose is not None else ((0.0, 0.0, 0.0), IDENTITY)
    poses = np.empty((len(deltas) + 1, 7))
    poses[0] = np.concatenate([position, turn])
    poses[1:, :3] = poses[0, :3] + np.cumsum(deltas[:, :3], axis=0)
    for row, delta in enumerate(deltas):
        step = quaternion(delta[3:6]) if len(delta) >= 6 else np.array(IDENTITY)
        after = multiply(step, poses[row, 3:])
        poses[row + 1, 3:] = after / np.linalg.norm(after)
    return poses
