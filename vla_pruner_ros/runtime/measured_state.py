# SPDX-License-Identifier: Apache-2.0
"""Where the robot was measured last: every joint by name, and the hand.

Arm and gripper may be published by different senders.  Not thread-safe; ``observation_cache.py``
holds the lock.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

from vla_pruner_ros.runtime.message_history import MIN_QUATERNION_NORM


@dataclass(frozen=True)
class Measured:
    """Where the robot is: a point of its space ((7,) pose or (J,) joints), and its age.

    Attributes:
        point: the values.
        age_ns: of the oldest value.
        ages_ns: of each joint, in the order of ``point``; empty where all are of ``age_ns``.
    """

    point: np.ndarray
    age_ns: int = 0
    ages_ns: tuple[int, ...] = ()


def joint_positions(message: Any) -> dict[str, float]:
    """Positions of a JointState by name; names without a position are ignored."""
    return {name: float(position) for name, position in zip(message.name, message.position)}


class MeasuredState:
    """Newest position of every joint and newest pose of the hand, with their times.

    Only news may be put: ``observation_cache.py`` leaves out what is older than what is here.
    """

    def __init__(self) -> None:
        """Start without measurements."""
        self._joints: dict[str, tuple[int, float]] = {}
        self._pose: tuple[int, np.ndarray] | None = None

    def put_joints(self, stamp_ns: int, positions: Mapping[str, float]) -> None:
        """Keep positions; one that is not finite leaves the one before to grow old."""
        for name, position in positions.items():
            if math.isfinite(position):
                self._joints[name] = (stamp_ns, position)

    def put_pose(self, stamp_ns: int, pose: Any) -> None:
        """Keep a geometry_msgs/Pose, if it is one."""
        point, turn = pose.position, pose.orientation
        values = np.array([point.x, point.y, point.z, turn.x, turn.y, turn.z, turn.w], np.float64)
        norm = float(np.linalg.norm(values[3:]))
        if np.isfinite(values).all() and norm >= MIN_QUATERNION_NORM:
            values[3:] /= norm
            self._pose = (stamp_ns, values)

    def clear(self, kept: frozenset[str] = frozenset()) -> None:
        """Forget the measurements but of the streams that are ``kept``."""
        self._joints = {name: one for name, one in self._joints.items()
                        if f'joint:{name}' in kept}
        if 'pose' not in kept:
            self._pose = None

    def joints(self, names: Sequence[str], now_ns: int, age_ns: int) -> Measured | None:
        """Positions of joints in this order; None if one is unknown or older than ``age_ns``."""
        known = [self._joints.get(name) for name in names]
        found = [one for one in known if one is not None]
        ages = tuple(max(now_ns - stamp, 0) for stamp, _ in found)
        if len(found) < len(known) or not found or max(ages) > age_ns:
            return None
        return Measured(np.array([value for _, value in found]), max(ages), ages)

    def stale(self, names: Sequence[str], now_ns: int, age_ns: int) -> list[str]:
        """Which of these joints, or without names the pose, was known and is too old now."""
        if not names:
            return ['pose'] if self._pose and now_ns - self._pose[0] > age_ns else []
        return [f'joint:{name}' for name in names
                if name in self._joints and now_ns - self._joints[name][0] > age_ns]

    def pose(self, now_ns: int, age_ns: int) -> Measured | None:
        """The hand (7,), None if unknown or older than ``age_ns``."""
        if self._pose is None or now_ns - self._pose[0] > age_ns:
            return None
        return Measured(self._pose[1], max(now_ns - self._pose[0], 0))
