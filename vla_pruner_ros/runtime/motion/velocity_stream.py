# SPDX-License-Identifier: Apache-2.0
"""A plan as velocities, for servo controllers that integrate them.

Waits for nobody, so that streams do not stutter while a chunk is planned.
"""
import numpy as np

from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.motion_limits import MotionLimits
from vla_pruner_ros.runtime.motion.motion_spaces import Space
from vla_pruner_ros.runtime.motion.sent_motion import SentMotion
from vla_pruner_ros.runtime.motion.timed_path import TimedPath

SECOND = 10**9
CLOSING_NS = SECOND // 6  # after the end of a motion, in which streams still say where it ended


class VelocityStream:
    """Velocities of plans.

    Args:
        space: that the robot moves in.
        sent: the motion under way, by which an old measurement is brought up to now.
    """

    def __init__(self, space: Space, sent: SentMotion):
        self._space = space
        self._sent = sent

    def at(self, path: TimedPath | None, now_ns: int, period_ns: int, measured: Measured | None,
           limits: MotionLimits) -> tuple[np.ndarray | None, int]:
        """Velocity (D,) for the next ``period_ns`` and how many coordinates a wall cut.

        The mean of the plan over that time, so that a robot that integrates it follows the plan.
        After the end zeros are said for a moment, then None, so that others may command the
        robot.
        """
        if path is None or now_ns >= path.end_ns + CLOSING_NS:
            return None, 0
        if now_ns >= path.end_ns:
            return np.zeros(self._space.size), 0
        here, _ = path.at(now_ns)
        there, _ = path.at(now_ns + period_ns)
        speed = self._space.minus(there, here) * (SECOND / period_ns)
        # Rotations one after the other add up to a little more than their parts.
        most = np.maximum(limits.velocity, path.fastest)
        speed = np.clip(speed, -most, most)
        return self._boxed(speed, now_ns, period_ns, measured, limits)

    def _boxed(self, speed: np.ndarray, now_ns: int, period_ns: int, measured: Measured | None,
               limits: MotionLimits) -> tuple[np.ndarray, int]:
        """Cut what would take the robot out of its box, from where it really is."""
        box = len(limits.low)
        if measured is None or not box:
            return speed, 0
        # Where it was measured, and where it is by now if it went on with its plan meanwhile.
        places = (measured.point[:box], self._sent.by_now(measured, now_ns)[:box])
        most = np.maximum(limits.high - np.maximum(*places), 0.0) * (SECOND / period_ns)
        least = np.minimum(limits.low - np.minimum(*places), 0.0) * (SECOND / period_ns)
        inside = np.clip(speed[:box], least, most)
        cut = int((inside != speed[:box]).sum())
        return np.concatenate([inside, speed[box:]]), cut
