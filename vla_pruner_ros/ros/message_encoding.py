# SPDX-License-Identifier: Apache-2.0
"""Numeric commands and pictures -> ROS messages.  Pure functions; nothing is published here."""
import array
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped, Transform, Twist, TwistStamped
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import (
    JointTrajectory,
    JointTrajectoryPoint,
    MultiDOFJointTrajectory,
    MultiDOFJointTrajectoryPoint,
)

from vla_pruner_ros.runtime.motion.robot_commands import Command, EndEffectorCommand, JointCommand
from vla_pruner_ros.runtime.output_lines import OutputLine
from vla_pruner_ros.runtime.plan_player import Sample

SECOND = 10**9
#: Kind of an output on a topic -> its message.
MESSAGES = {
    'joint_trajectory': JointTrajectory, 'gripper_trajectory': JointTrajectory,
    'forward_position': Float64MultiArray, 'forward_velocity': Float64MultiArray,
    'ee_trajectory': MultiDOFJointTrajectory, 'twist': TwistStamped, 'pose': PoseStamped}


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


def pose_stamped(pose: Sequence[float], stamp_ns: int, frame: str) -> PoseStamped:
    """Pose x y z, quaternion x y z w -> PoseStamped."""
    message = PoseStamped()
    message.header.stamp = time_message(stamp_ns)
    message.header.frame_id = frame
    place, turn = message.pose.position, message.pose.orientation
    place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w = (float(value) for value in pose)
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


def encode(line: OutputLine, command: Command, base_frame: str) -> Any:
    """The message of a command for one output that is sent whole chunks, or None.

    A command without an absolute pose gives no end-effector trajectory: its numbers would be read
    as places in the base frame.  One that says nothing about the gripper gives nothing for an
    output that has it among its columns.
    """
    if line.kind == 'ee_trajectory':
        if not isinstance(command, EndEffectorCommand) or not command.absolute:
            return None
        return pose_trajectory(command.poses, command.times_ns, command.stamp_ns, base_frame,
                               'end_effector', command.velocities)
    joints = command if isinstance(command, JointCommand) else None
    gripper = command.gripper
    if None in line.moving and gripper is None:
        return None
    still = np.zeros(len(command.times_ns))
    places, speeds = [], []
    for column in line.moving:
        if column is None:
            places.append(gripper)
            speeds.append(still)
        elif joints is not None:
            places.append(joints.positions[:, column])
            speeds.append(still if joints.velocities is None else joints.velocities[:, column])
    moving = joints is not None and joints.velocities is not None and line.moving != (None,)
    return joint_trajectory(line.joints, np.stack(places, axis=1), command.times_ns,
                            command.stamp_ns, np.stack(speeds, axis=1) if moving else None)


def encode_sample(line: OutputLine, sample: Sample, gripper: float | None, stamp_ns: int,
                  base_frame: str) -> Any:
    """The message of one moment for one stream, or None where that is not known."""
    if line.kind == 'twist':
        return twist(sample.velocity, stamp_ns, base_frame)
    if line.kind == 'forward_velocity':
        return Float64MultiArray(data=[float(sample.velocity[one]) for one in line.moving
                                       if one is not None])
    if sample.point is None or (None in line.moving and gripper is None):
        return None
    if line.kind == 'pose':
        return pose_stamped(sample.point, stamp_ns, base_frame)
    values = [float(gripper if one is None else sample.point[one])  # type: ignore[arg-type]
              for one in line.moving]
    if line.kind == 'forward_position':
        return Float64MultiArray(data=values)
    return joint_trajectory(line.joints, np.array([values]), [stamp_ns], stamp_ns)
