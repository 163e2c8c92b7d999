# SPDX-License-Identifier: Apache-2.0
"""The velocity that the current command asks for at a given time.

A velocity controller wants fresh commands at 20 Hz or more, a policy answers a few times a
second: in between the segments of its last command are played by the clock.  After the last one a
few zeros are sent, then nothing, so that other sources may command the robot.
"""
import threading

import numpy as np

from vla_pruner_ros.runtime.timed_targets import EndEffectorCommand

CLOSING_ZEROS = 5


class TwistStream:
    """Plays one end-effector command; written by the inference thread, read by a timer."""

    def __init__(self) -> None:
        """Start without a command."""
        self._lock = threading.Lock()
        self._times = np.zeros(0, np.int64)  # (P,) borders of the segments
        self._twists = np.zeros((0, 6))  # (P - 1, 6)
        self._zeros = 0

    def put(self, command: EndEffectorCommand) -> None:
        """Replace the command (untrimmed: its segments must cover the present)."""
        twists = command.twists()
        with self._lock:
            self._times, self._twists = command.times_ns, twists
            self._zeros = CLOSING_ZEROS

    def clear(self) -> None:
        """Drop the command and the zeros that are still due."""
        with self._lock:
            self._twists = np.zeros((0, 6))
            self._zeros = 0

    def at(self, now_ns: int) -> np.ndarray | None:
        """Velocity (6,) in m/s and rad/s at ``now_ns``; None when nothing is to be sent."""
        with self._lock:
            if len(self._twists):
                segment = int(np.searchsorted(self._times, now_ns, side='right')) - 1
                if 0 <= segment < len(self._twists):
                    return self._twists[segment]
                self._twists = np.zeros((0, 6))
            if self._zeros > 0:
                self._zeros -= 1
                return np.zeros(6)
            return None
