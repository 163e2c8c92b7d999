# SPDX-License-Identifier: Apache-2.0
"""The two spaces a robot moves in: joints, which add up, and poses, whose rotations do not.

A point is (J,) joint positions or (7,) a pose (x y z in metres, quaternion x y z w).  A difference
of two points, and a velocity, is (J,) or (6,): metres, then a rotation vector in the base frame.
So everything above (paths, joining, limits) is written once.
"""
from typing import Protocol

import numpy as np

from vla_pruner_ros.core.action_limits import motion_columns
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.runtime.rotations import conjugate, multiply, quaternion, rotation_vector


class Space(Protocol):
    """What paths need of a space.

    Attributes:
        size: numbers in a difference or a velocity (D).
    """

    size: int

    def minus(self, after: np.ndarray, before: np.ndarray) -> np.ndarray:
        """(D,) that leads from ``before`` to ``after``."""

    def plus(self, point: np.ndarray, difference: np.ndarray) -> np.ndarray:
        """The point (D,) away from ``point``."""


class JointSpace:
    """Joint positions (J,) in radians or metres."""

    def __init__(self, joints: int):
        self.size = joints

    def minus(self, after: np.ndarray, before: np.ndarray) -> np.ndarray:
        """(J,) differences."""
        return np.asarray(after - before)

    def plus(self, point: np.ndarray, difference: np.ndarray) -> np.ndarray:
        """(J,) positions."""
        return np.asarray(point + difference)


class PoseSpace:
    """End-effector poses (7,); rotations are taken the shorter way round."""

    size = 6

    def minus(self, after: np.ndarray, before: np.ndarray) -> np.ndarray:
        """(6,) metres and rotation vector in the base frame."""
        turn = rotation_vector(multiply(after[3:], conjugate(before[3:])))
        return np.concatenate([after[:3] - before[:3], turn])

    def plus(self, point: np.ndarray, difference: np.ndarray) -> np.ndarray:
        """(7,) pose; the rotation is applied on the left."""
        turn = multiply(quaternion(difference[3:]), point[3:])
        return np.concatenate([point[:3] + difference[:3], turn / np.linalg.norm(turn)])


def space_of(spec: PolicySpec) -> Space:
    """The space that a policy's actions move in."""
    if spec.action_kind == 'ee_delta':
        return PoseSpace()
    return JointSpace(len(motion_columns(spec)))
