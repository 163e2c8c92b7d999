# SPDX-License-Identifier: Apache-2.0
"""Kinematics of the tabletop arm: yaw, three pitches, yaw; the hand always points down.

With the hand vertical and its yaw fixed in the world, the inverse is a planar two-link triangle.
All angles are radians; all lengths metres; the base stands at the origin of the world.
"""

import numpy as np

JOINTS: tuple[str, ...] = ('base_yaw', 'shoulder_pitch', 'elbow_pitch', 'wrist_pitch', 'wrist_yaw')
FINGERS: tuple[str, ...] = ('finger_left', 'finger_right')
SHOULDER_HEIGHT = 0.25
UPPER_ARM = 0.36
FOREARM = 0.36
HAND_LENGTH = 0.155  # from the wrist down to the point between the finger tips
FINGER_TRAVEL = 0.045  # of each finger; the gripper opens twice as far

WORKSPACE_LOW = np.array([0.28, -0.20, 0.012])
WORKSPACE_HIGH = np.array([0.56, 0.20, 0.28])


def inverse(position: np.ndarray) -> np.ndarray:
    """Joint angles (5,) that bring the point between the finger tips to ``position`` (3,).

    Every point of the work space can be reached; farther points give the stretched arm.
    """
    x, y, z = (float(value) for value in position)
    yaw = np.arctan2(y, x)
    radius, height = np.hypot(x, y), z + HAND_LENGTH - SHOULDER_HEIGHT
    distance = np.hypot(radius, height)
    cosine = (UPPER_ARM**2 + distance**2 - FOREARM**2) / (2 * UPPER_ARM * distance)
    upper = np.arctan2(height, radius) + np.arccos(np.clip(cosine, -1.0, 1.0))  # elbow up
    fore = np.arctan2(height - UPPER_ARM * np.sin(upper), radius - UPPER_ARM * np.cos(upper))
    return np.array([yaw, -upper, upper - fore, fore, -yaw])
