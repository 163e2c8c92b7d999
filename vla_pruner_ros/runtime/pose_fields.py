# SPDX-License-Identifier: Apache-2.0
"""Single numbers of an end-effector pose, as policies want them.

Besides position and quaternion: the rotation vector ``rx ry rz`` (axis times angle, the
convention of LIBERO's proprioception: the angle is ``2 acos(w)`` in 0..2 pi, so the sign of the
quaternion is taken as published), and ``roll pitch yaw`` (rotations about the fixed x, y and z
axes, in that order).
"""
import numpy as np

from vla_pruner_ros.runtime.message_history import Pose
from vla_pruner_ros.runtime.rotations import roll_pitch_yaw, rotation_vector

STORED = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
ROTATION_VECTOR = ('rx', 'ry', 'rz')
ANGLES = ('roll', 'pitch', 'yaw')
POSE_FIELDS = STORED + ROTATION_VECTOR + ANGLES


def pose_field(pose: Pose, field: str) -> float:
    """One of ``POSE_FIELDS`` of a pose with a unit quaternion; metres or radians."""
    if field in ROTATION_VECTOR:
        vector = rotation_vector(np.array(pose[1]), shorter=False)
        return float(vector[ROTATION_VECTOR.index(field)])
    if field in ANGLES:
        return float(roll_pitch_yaw(np.array(pose[1]))[ANGLES.index(field)])
    return (pose[0] + pose[1])[STORED.index(field)]
