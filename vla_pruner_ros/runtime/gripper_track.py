# SPDX-License-Identifier: Apache-2.0
"""What the gripper is told at which moment, for outputs that are not sent a whole trajectory.

Written by whoever sends commands, read by streams: one reference is exchanged, so nobody waits.
"""
from dataclasses import replace

import numpy as np

from vla_pruner_ros.runtime.motion.robot_commands import Command


class GripperTrack:
    """Gripper positions of the commands that were sent."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self._told: tuple[np.ndarray, np.ndarray] | None = None  # times (P,), positions (P,)

    def put(self, command: Command) -> None:
        """A command was sent; one without a gripper changes nothing."""
        if command.gripper is not None:
            self._told = command.times_ns, command.gripper

    def at(self, time_ns: int) -> float | None:
        """Position that counts at a time: that of the row under way; None: nothing was told."""
        if self._told is None:
            return None
        times, positions = self._told
        # The point at the end of a row carries the decision of that row.
        index = min(int(np.searchsorted(times, time_ns, side='left')), len(positions) - 1)
        return float(positions[index])

    def stop(self, now_ns: int) -> None:
        """Decisions that lie ahead do not count any more."""
        told = self.at(now_ns)
        if told is not None:
            self._told = np.array([now_ns]), np.array([told])

    def clear(self) -> None:
        """Forget what was told."""
        self._told = None

    def filled(self, command: Command) -> Command:
        """The command with the gripper where it was told to be, if it says nothing itself."""
        if command.gripper is not None or self._told is None:
            return command
        return replace(command, gripper=np.array([self.at(int(one)) for one in command.times_ns]))
