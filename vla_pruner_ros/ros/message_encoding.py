# SPDX-License-Identifier: Apache-2.0
"""Numeric commands and pictures -> ROS messages.  Pure functions; nothing is published here."""
import array
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Transform, Twist, TwistStamped
import numpy as np
from sensor_msgs.msg import Image
from trajectory_msgs.msg import (
    JointTrajectory,
    JointTrajectoryPoint,
    MultiDOFJointTrajectory,
    MultiDOFJointTrajectoryPoint,
)

from vla_pruner_ros.runtime.timed_targets import EndEffectorCommand, JointCommand

SECOND = 10**9


def time_message(stamp_ns: int) -> Time:
    """Nanoseconds -> builtin_interfaces/Time."""
    return Time(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)


def duration_message(span_ns: int) -> Duration:
    """Nanoseconds (>= 0) -> builtin_interfaces/Duration."""
    return Duration(sec=span_ns // SECOND, nanosec=span_ns % SECOND)


def joint_trajectory(names: Sequence[str], positions: np.ndarray, times_ns: Sequence[int],
                     stamp_ns: int, velocities: np.ndarray | None = None) -> JointTrajectory:
    """Joint positions in time; without velocities a controller derives them.

    Args:
        names: J joint names.
        positions: (P, J).
        times_ns: (P,) absolute times, strictly increasing, not before ``stamp_ns``.
        stamp_ns: ``header.stamp``; ``time_from_start`` counts from here.
        velocities: (P, J) at the points; the last ones are zero.
    """
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp = time_message(stamp_ns)
    for index, (row, when) in enumerate(zip(positions, times_ns)):
        speeds = [] if velocities is None else [float(value) for value in velocities[index]]
        message.points.append(JointTrajectoryPoint(
            positions=[float(value) for value in row], velocities=speeds,
            time_from_start=duration_message(int(when) - stamp_ns)))
    return message


def transform(pose: Sequence[float]) -> Transform:
    """Pose x y z, quaternion x y z w -> geometry_msgs/Transform."""
    result = Transform()
    (result.translation.x, result.translation.y, result.translation.z, result.rotation.x,
     result.rotation.y, result.rotation.z, result.rotation.w) = (float(value) for value in pose)
    return result


def pose_trajectory(poses: np.ndarray, times_ns: Sequence[int], stamp_ns: int, frame: str,
                    name: str, velocities: np.ndarray | None = None) -> MultiDOFJointTrajectory:
    """End-effector poses (P, 7) in time, in ``frame``; ``name`` is the one joint name."""
    message = MultiDOFJointTrajectory(joint_names=[name])
    message.header.stamp = time_message(stamp_ns)
    message.header.frame_id = frame
    for index, (row, when) in enumerate(zip(poses, times_ns)):
        speeds = [] if velocities is None else [_twist(Twist(), velocities[index])]
        message.points.append(MultiDOFJointTrajectoryPoint(
            transforms=[transform(row)], velocities=speeds,
            time_from_start=duration_message(int(when) - stamp_ns)))
    return message


def twist(velocity: Sequence[float], stamp_ns: int, frame: str) -> TwistStamped:
    """Velocity (6,) in m/s and rad/s -> TwistStamped."""
    message = TwistStamped()
    message.header.stamp = time_message(stamp_ns)
    message.header.frame_id = frame
    _twist(message.twist, velocity)
    return message


def _twist(target: Twist, velocity: Sequence[float]) -> Twist:
    linear, angular = target.linear, target.angular
    linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = (
        float(value) for value in velocity)
    return target


def image(rgb: np.ndarray, stamp_ns: int, frame: str) -> Image:
    """(H, W, 3) uint8 RGB -> rgb8 Image."""
    height, width = rgb.shape[:2]
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    message.header.stamp = time_message(stamp_ns)
    message.header.frame_id = frame
    # An ndarray or list here is checked element by element: 70 ms for one VGA image.
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(rgb).tobytes())
    message.data = data
    return message


def encode(command: Any, base_frame: str, gripper_joint: str) -> list[tuple[str, Any]]:
    """All messages of one command, as (topic name, message); nothing is left half encoded.

    A command without an absolute pose gives no end-effector trajectory: its numbers would be read
    as places in the base frame.
    """
    messages: list[tuple[str, Any]] = []
    if isinstance(command, JointCommand):
        messages.append(('action_chunk', joint_trajectory(
            command.names, command.positions, command.times_ns, command.stamp_ns,
            command.velocities)))
    elif isinstance(command, EndEffectorCommand) and command.absolute:
        messages.append(('ee_trajectory', pose_trajectory(
            command.poses, command.times_ns, command.stamp_ns, base_frame, 'end_effector',
            command.velocities)))
    if command.gripper is not None:
        messages.append(('gripper_command', joint_trajectory(
            [gripper_joint], command.gripper[:, None], command.times_ns, command.stamp_ns)))
    return messages
