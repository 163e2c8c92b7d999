# SPDX-License-Identifier: Apache-2.0
"""Messages without ROS: what the policy's node and the robot say, as objects with the same fields.

Whatever reads messages here reads them by attribute, so these do as well as real ones.
"""
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.controlled_robot import BASE_FRAME
from vla_pruner_ros.runtime.motion.robot_commands import Command, EndEffectorCommand

SECOND = 10**9
HAND, GRIPPER = 'end_effector', 'gripper'
Numbers = Sequence[float] | np.ndarray


def time(span_ns: int) -> SimpleNamespace:
    """Time or duration."""
    return SimpleNamespace(sec=span_ns // SECOND, nanosec=span_ns % SECOND)


def header(stamp_ns: int, frame: str = BASE_FRAME) -> SimpleNamespace:
    """std_msgs/Header."""
    return SimpleNamespace(stamp=time(stamp_ns), frame_id=frame)


def vector(values: Numbers) -> SimpleNamespace:
    """Three numbers, or four of a quaternion."""
    return SimpleNamespace(**dict(zip('xyzw', (float(one) for one in values))))


def twist(velocity: Numbers) -> SimpleNamespace:
    """geometry_msgs/Twist of (6,) m/s and rad/s."""
    return SimpleNamespace(linear=vector(velocity[:3]), angular=vector(velocity[3:]))


def stamped_twist(velocity: Numbers, stamp_ns: int) -> SimpleNamespace:
    """geometry_msgs/TwistStamped."""
    return SimpleNamespace(header=header(stamp_ns), twist=twist(velocity))


def stamped_pose(position: Numbers, turn: Numbers,
                 stamp_ns: int) -> SimpleNamespace:
    """geometry_msgs/PoseStamped."""
    return SimpleNamespace(header=header(stamp_ns), pose=SimpleNamespace(
        position=vector(position), orientation=vector(turn)))


def joint_state(names: Sequence[str], positions: Numbers,
                stamp_ns: int) -> SimpleNamespace:
    """sensor_msgs/JointState."""
    return SimpleNamespace(header=header(stamp_ns), name=list(names),
                           position=[float(one) for one in positions])


class LateImage:
    """sensor_msgs/Image whose picture is drawn when its data are asked for.

    Args:
        draw: gives (H, W, 3) uint8 RGB.
        size: side in pixels.
        stamp_ns: of the picture.
    """

    encoding = 'rgb8'
    is_bigendian = 0

    def __init__(self, draw: Callable[[], np.ndarray], size: int, stamp_ns: int):
        self.header = header(stamp_ns)
        self.height = self.width = size
        self.step = 3 * size
        self._draw = draw

    @property
    def data(self) -> bytes:
        """The pixels."""
        return np.ascontiguousarray(self._draw()).tobytes()


def motion_message(command: Command) -> Any:
    """MultiDOFJointTrajectory of a command, as the node publishes it.

    Raises:
        ConfigError: a command of joints, which the simulated robots do not take.
    """
    if not isinstance(command, EndEffectorCommand):
        raise ConfigError('the simulated robot accepts end-effector commands only')
    points = []
    for index, (row, when) in enumerate(zip(command.poses, command.times_ns)):
        speeds = [] if command.velocities is None else [twist(command.velocities[index])]
        points.append(SimpleNamespace(
            time_from_start=time(int(when) - command.stamp_ns), velocities=speeds,
            accelerations=[], transforms=[SimpleNamespace(translation=vector(row[:3]),
                                                          rotation=vector(row[3:]))]))
    return SimpleNamespace(header=header(command.stamp_ns), joint_names=[HAND], points=points)


def gripper_message(command: Command) -> Any:
    """JointTrajectory of a command's gripper, which it must have."""
    assert command.gripper is not None
    points = [SimpleNamespace(time_from_start=time(int(when) - command.stamp_ns),
                              positions=[float(value)])
              for value, when in zip(command.gripper, command.times_ns)]
    return SimpleNamespace(header=header(command.stamp_ns, ''), joint_names=[GRIPPER],
                           points=points)
