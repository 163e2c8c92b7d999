# SPDX-License-Identifier: Apache-2.0
"""Absolute hand targets -> commands of the tabletop arm's servos.

A critically damped servo lags a moving target by twice its time constant; adding the joint's speed
times that lag to the command removes it.
"""
import numpy as np

from vla_pruner_ros.robots.robot_interface import ACTION_SCALE
from vla_pruner_ros.robots.tabletop import arm_kinematics as arm
from vla_pruner_ros.robots.tabletop.scene_mjcf import FINGER_RATE, SERVO_RATE
from vla_pruner_ros.robots.tasks import CONTROL_DT

#: Metres per second and axis: what an action of 1 moves the hand by.
FASTEST = ACTION_SCALE / CONTROL_DT
FINGER_STEP = 0.01  # metres each finger's target moves per control step at most
MAX_LEAD = 0.045  # metres per axis that the target may be ahead of the hand
#: Metres and radians that the hand may be off while all is well.
TOLERANCE = (0.05, 0.05, 0.05, 0.2, 0.2, 0.2)
_LITTLE = 1e-3  # seconds over which joint speeds are differences
#: Seconds by which the servos lag a moving target.
LAGS = 2.0 / np.array([SERVO_RATE] * 5 + [FINGER_RATE] * 2)


class ServoTracking:
    """Remembers where hand and fingers were told to be.

    Args:
        hand: (3,) metres at the start.
        fingers: metres of each finger.
    """

    def __init__(self, hand: np.ndarray, fingers: float):
        self._target = np.array(hand)
        self._fingers = fingers
        self._servos = self._speeds = np.zeros(7)

    def aim(self, hand: np.ndarray, target: np.ndarray, velocity: np.ndarray, opening: float,
            seconds: float) -> None:
        """Take a target.

        Args:
            hand: (3,) metres, where it is.
            target: (3,) metres, where it shall be in ``seconds``; the servos are told no more than
                the arm's greatest speed allows, and stay in its work space.
            velocity: (3,) m/s, how the target moves.
            opening: wanted gripper opening, 0 closed to 1 open.
            seconds: of the cycle.
        """
        reach = FASTEST * seconds
        place = self._target + np.clip(target - self._target, -reach, reach)
        place = np.clip(place, hand - MAX_LEAD, hand + MAX_LEAD)
        self._target = np.clip(place, arm.WORKSPACE_LOW, arm.WORKSPACE_HIGH)
        travel = FINGER_STEP * seconds / CONTROL_DT
        wish = opening * arm.FINGER_TRAVEL
        moved = float(np.clip(wish - self._fingers, -travel, travel))
        self._fingers += moved
        joints = arm.inverse(self._target)
        ahead = self._target + _LITTLE * np.clip(velocity, -FASTEST, FASTEST)
        speeds = (arm.inverse(ahead) - joints) / _LITTLE
        self._servos = np.append(joints, [self._fingers] * 2)
        self._speeds = np.append(speeds, [moved / seconds] * 2)

    def command(self, ahead: float) -> np.ndarray:
        """Servo commands (7,), ``ahead`` seconds (negative) before the target's time."""
        return self._servos + self._speeds * (LAGS + ahead)
