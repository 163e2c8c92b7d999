# SPDX-License-Identifier: Apache-2.0
"""Rotations as unit quaternions x y z w and rotation vectors (axis times angle, radians)."""
import math

import numpy as np

#: No rotation.
IDENTITY = (0.0, 0.0, 0.0, 1.0)


def quaternion(vector: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) in radians -> unit quaternion x y z w."""
    angle = float(np.linalg.norm(vector))
    scale = 0.5 if angle < 1e-12 else math.sin(angle / 2) / angle
    return np.append(np.asarray(vector) * scale, math.cos(angle / 2))


def rotation_vector(turn: np.ndarray, shorter: bool = True) -> np.ndarray:
    """Unit quaternion x y z w -> rotation vector (3,) in radians.

    Args:
        turn: (4,).
        shorter: take the way round that is at most half a turn; else the angle is ``2 acos(w)`` in
            0..2 pi, so that the sign of the quaternion counts (LIBERO's proprioception).
    """
    turn = np.asarray(turn, np.float64)
    if shorter and turn[3] < 0:
        turn = -turn
    sine = float(np.linalg.norm(turn[:3]))
    # atan2 stays exact where acos(w) loses half its digits, near no rotation at all.
    angle = 2.0 * math.atan2(sine, float(turn[3]))
    return np.asarray(turn[:3] * (2.0 if sine < 1e-12 else angle / sine))


def roll_pitch_yaw(turn: np.ndarray) -> np.ndarray:
    """Rotations about the fixed x, y and z axes, in that order, (3,) radians, of x y z w."""
    x, y, z, w = (float(one) for one in turn)
    return np.array([math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y)),
                     math.asin(max(-1.0, min(1.0, 2.0 * (w * y - z * x)))),
                     math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))])


def conjugate(turn: np.ndarray) -> np.ndarray:
    """Inverse of a unit quaternion."""
    return np.asarray(turn * np.array([-1.0, -1.0, -1.0, 1.0]))


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Hamilton product: first ``right``, then ``left``."""
    # Written out: a motion is planned from thousands of these, and np.cross takes 0.1 ms.
    a, b, c, scalar = (float(one) for one in left)
    d, e, f, other = (float(one) for one in right)
    return np.array([scalar * d + other * a + (b * f - c * e),
                     scalar * e + other * b + (c * d - a * f),
                     scalar * f + other * c + (a * e - b * d),
                     scalar * other - left[:3] @ right[:3]])
