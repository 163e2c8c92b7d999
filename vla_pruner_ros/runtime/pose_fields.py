# SPDX-License-Identifier: Apache-2.0
"""Single numbers of an end-effector pose, as policies want them.

Besides position and quaternion: the rotation vector ``rx ry rz`` (axis times angle, the
convention of LIBERO's proprioception: the angle is ``2 acos(w)`` in 0..2 pi, so the sign of the
quaternion is taken as published), and ``roll pitch yaw`` (rotations about the fixed x, y and z
axes, in that order).
"""
import math

from vla_pruner_ros.runtime.message_history import Pose

STORED = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
ROTATION_VECTOR = ('rx', 'ry', 'rz')
ANGLES = ('roll', 'pitch', 'yaw')
POSE_FIELDS = STORED + ROTATION_VECTOR + ANGLES


def pose_field(pose: Pose, field: str) -> float:
    """One of ``POSE_FIELDS`` of a pose with a unit quaternion; metres or radians."""
    if field in ROTATION_VECTOR:
        return rotation_vector(pose[1])[ROTATION_VECTOR.index(field)]
    if field in ANGLES:
        return angles(pose[1])[ANGLES.index(field)]
    return (pose[0] + pose[1])[STORED.index(field)]


def rotation_vector(turn: tuple[float, float, float, float]) -> tuple[float, float, float]:
    """Axis times angle (radians) of a unit quaternion x y z w."""
    x, y, z, w = turn
    sine = math.sqrt(x * x + y * y + z * z)
    # atan2 stays exact where acos(w) loses half its digits, near no rotation at all.
    factor = 2.0 * math.atan2(sine, w) / sine if sine > 0.0 else 0.0
    return x * factor, y * factor, z * factor


def angles(turn: tuple[float, float, float, float]) -> tuple[float, float, float]:
    """Roll, pitch and yaw (radians) of a unit quaternion x y z w."""
    x, y, z, w = turn
    return (math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y)),
            math.asin(max(-1.0, min(1.0, 2.0 * (w * y - z * x)))),
            math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))
