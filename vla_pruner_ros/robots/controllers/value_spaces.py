# SPDX-License-Identifier: Apache-2.0
"""Joint positions and hand poses, so that one interpolation serves both.

A space knows the way from one value to another (``difference``, a tangent vector), how to go a
part of it (``moved``), and how velocities belong to tangent vectors.  For joints all of that is
subtraction and addition; for poses the rotation goes along the sphere: a straight way is slerp.
"""
import math

import numpy as np

from vla_pruner_ros.core.errors import ConfigError


class JointSpace:
    """Positions (J,) and velocities (J,) of joints.

    Args:
        size: joints.
        continuous: (J,) true where the joint turns without end, so that a state is first shifted
            by whole turns to the side of the waypoint that is nearer; None = nowhere.

    Raises:
        ConfigError: the lengths differ.
    """

    def __init__(self, size: int, continuous: tuple[bool, ...] | None = None):
        self.size = self.tangent_size = size
        #: Where a point is sent that has no interpolation (see ``plan_sampling.between``).
        self.forgotten: np.ndarray | None = np.zeros(size)
        self._continuous = np.array(continuous or (False,) * size)
        if self._continuous.shape != (size,):
            raise ConfigError(f'continuous has {len(self._continuous)} values for {size} joints')

    def difference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The way from ``before`` to ``after``."""
        return np.asarray(after - before)

    def moved(self, value: np.ndarray, way: np.ndarray) -> np.ndarray:
        """``value`` after going ``way``."""
        return np.asarray(value + way)

    def rate(self, way: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """How fast ``way`` grows at its end while the value moves at ``velocity``."""
        return velocity

    def velocity(self, way: np.ndarray, rate: np.ndarray) -> np.ndarray:
        """How fast the value moves at the end of ``way`` while that grows at ``rate``."""
        return rate

    def near(self, state: np.ndarray, target: np.ndarray) -> np.ndarray:
        """``state`` by whole turns nearer to ``target`` (Trajectory's wraparound_joint)."""
        if not self._continuous.any():
            return state
        turn = 2 * math.pi
        way = np.mod(target - state + math.pi, turn) - math.pi
        half = np.abs(np.abs(way) - math.pi) < 1e-9
        way = np.where(half, np.where(target > state, np.abs(way), -np.abs(way)), way)
        return np.asarray(np.where(self._continuous, target - way, state))


class PoseSpace:
    """Poses (7,) x y z in metres and quaternion x y z w; velocities (6,) m/s and rad/s."""

    size, tangent_size = 7, 6
    forgotten = None

    def difference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Metres and the shorter rotation vector, both in the base frame, (6,)."""
        return np.append(after[:3] - before[:3], turn_between(before[3:], after[3:]))

    def moved(self, value: np.ndarray, way: np.ndarray) -> np.ndarray:
        """``value`` after going ``way``, rotation about the hand itself."""
        return np.append(value[:3] + way[:3], turned(value[3:], way[3:]))

    def rate(self, way: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """How fast ``way`` grows at its end while the hand moves at ``velocity``."""
        return np.append(velocity[:3], np.linalg.inv(_jacobian(way[3:])) @ velocity[3:])

    def velocity(self, way: np.ndarray, rate: np.ndarray) -> np.ndarray:
        """How fast the hand moves at the end of ``way`` while that grows at ``rate``."""
        return np.append(rate[:3], _jacobian(way[3:]) @ rate[3:])

    def near(self, state: np.ndarray, target: np.ndarray) -> np.ndarray:
        """``difference`` takes the shorter way already."""
        return state


Space = JointSpace | PoseSpace


def turn_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) in the base frame that turns one quaternion x y z w into another."""
    vector = before[3] * after[:3] - after[3] * before[:3] + _cross(before, after)
    real = float(before @ after)
    if real < 0:
        vector, real = -vector, -real
    sine = float(np.linalg.norm(vector))
    return np.asarray(vector * (2.0 if sine < 1e-12 else 2.0 * math.atan2(sine, real) / sine))


def turned(value: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Quaternion x y z w after the rotation ``vector`` (3,) in the base frame, of length one."""
    angle = float(np.linalg.norm(vector))
    if not math.isfinite(angle):
        return np.full(4, math.nan)
    part = vector * (0.5 if angle < 1e-12 else math.sin(angle / 2) / angle)
    real = math.cos(angle / 2)
    result = np.append(real * value[:3] + value[3] * part + _cross(part, value),
                       real * value[3] - part @ value[:3])
    return np.asarray(result / np.linalg.norm(result))


def _cross(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cross product of the first three numbers of each, many times faster than numpy's."""
    a, b, c = left[:3].tolist()
    x, y, z = right[:3].tolist()
    return np.array([b * z - c * y, c * x - a * z, a * y - b * x])


def _jacobian(vector: np.ndarray) -> np.ndarray:
    """(3, 3) from the rate of a rotation vector to the angular velocity in the base frame."""
    angle = float(np.linalg.norm(vector))
    if not math.isfinite(angle):
        return np.full((3, 3), math.nan)
    x, y, z = (float(one) for one in vector)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < 1e-6:
        return np.eye(3) + 0.5 * cross
    return (np.eye(3) + (1 - math.cos(angle)) / angle**2 * cross
            + (angle - math.sin(angle)) / angle**3 * cross @ cross)
