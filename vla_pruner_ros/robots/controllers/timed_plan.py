# SPDX-License-Identifier: Apache-2.0
"""Trajectory messages -> plans: named waypoints with times; messages are read by attribute."""
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots.chunk_execution_in_simulation import stamp_ns


@dataclass
class Waypoint:
    """One point; None where the message says nothing.

    Attributes:
        time_ns: time from the start of its plan.
        position: as the space has it: (J,), or (7,) of a hand.
        velocity: (J,), or (6,) of a hand.
        acceleration: as ``velocity``, per second more.
        effort: the message had efforts; nobody here can use them.
    """

    time_ns: int
    position: np.ndarray | None
    velocity: np.ndarray | None = None
    acceleration: np.ndarray | None = None
    effort: bool = False


@dataclass
class Plan:
    """A trajectory as it was sent.

    Attributes:
        names: joint names, in the order of the message.
        start_ns: header stamp, 0: when it is first used.
        points: waypoints, in order.
        hand: they are poses, so that one name has many numbers.
    """

    names: tuple[str, ...]
    start_ns: int
    points: list[Waypoint] = field(default_factory=list)
    hand: bool = False

    @property
    def end_ns(self) -> int:
        """Time from the start to the last waypoint."""
        return self.points[-1].time_ns


def read_joints(message: Any) -> Plan:
    """JointTrajectory -> plan; lengths are not checked here."""
    plan = Plan(tuple(message.joint_names), stamp_ns(message.header.stamp))
    for point in message.points:
        plan.points.append(Waypoint(
            stamp_ns(point.time_from_start), _row(point.positions),
            _row(getattr(point, 'velocities', ())), _row(getattr(point, 'accelerations', ())),
            len(getattr(point, 'effort', ())) > 0))
    return plan


def read_poses(message: Any) -> Plan:
    """MultiDOFJointTrajectory of one hand -> plan.

    Raises:
        InputError: ``wrong_size``, or ``bad_rotation``: a quaternion of length zero.
    """
    plan = Plan(tuple(message.joint_names), stamp_ns(message.header.stamp), hand=True)
    for index, point in enumerate(message.points):
        twists = [list(getattr(point, name, ())) for name in ('velocities', 'accelerations')]
        if len(point.transforms) != 1 or any(len(one) > 1 for one in twists):
            raise InputError('wrong_size', f'point {index} has {len(point.transforms)} '
                                           f'transforms, {len(twists[0])} velocities and '
                                           f'{len(twists[1])} accelerations; a hand has one pose '
                                           'and one of the others at most')
        place, turn = point.transforms[0].translation, point.transforms[0].rotation
        rotation = np.array([turn.x, turn.y, turn.z, turn.w], np.float64)
        length = np.linalg.norm(rotation)
        if length == 0:
            raise InputError('bad_rotation', f'the quaternion of point {index} is zero')
        plan.points.append(Waypoint(
            stamp_ns(point.time_from_start),
            np.array([place.x, place.y, place.z, *(rotation / length)], np.float64),
            *(read_twist(one[0]) if one else None for one in twists)))
    return plan


def read_twist(twist: Any) -> np.ndarray:
    """geometry_msgs/Twist -> (6,) m/s and rad/s."""
    return np.array([twist.linear.x, twist.linear.y, twist.linear.z,
                     twist.angular.x, twist.angular.y, twist.angular.z], np.float64)


def _row(values: Any) -> np.ndarray | None:
    return np.array(values, np.float64) if len(values) else None
