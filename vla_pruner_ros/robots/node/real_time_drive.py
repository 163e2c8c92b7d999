# SPDX-License-Identifier: Apache-2.0
"""The robot goes on by the clock: control cycles of 4 ms, as many as have become due.

No timer comes every 4 ms on a busy machine, and drawing a picture takes several cycles: what is
late is made up for, so the robot keeps the clock's time.  A machine that is too slow for it lets
simulated time fall behind instead of jumping.  No ROS here: messages are read by attribute.
"""
from typing import Any

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND, stamp_ns
from vla_pruner_ros.robots.controlled_robot import check_controller, ControlledRobot, CYCLE_NS
from vla_pruner_ros.robots.episode_world import World

MOST_BEHIND_NS = SECOND // 5  # what is made up for; the rest is lost


class RealTimeDrive:
    """Drives the robot of a world through one episode after the other.

    Args:
        world: whose robot it is.
        controller: name, see ``controlled_robot``.

    Attributes:
        lost_ns: time by which the simulation fell behind the clock, in this episode.

    Raises:
        ConfigError: there is no such controller.
    """

    def __init__(self, world: World, controller: str):
        self._world = world
        self._name = check_controller(controller)
        self._controlled: ControlledRobot | None = None
        self._begin_ns = self._next_ns = self.lost_ns = 0

    def stop(self) -> None:
        """Stand still, hear nothing: the next episode is being prepared."""
        self._controlled = None

    def begin(self, now_ns: int) -> None:
        """An episode begins; what was sent before is for the one before it."""
        self._controlled = ControlledRobot(self._world.robot, self._name)
        self._begin_ns = self._next_ns = now_ns
        self.lost_ns = 0

    def receive(self, message: Any, now_ns: int) -> bool:
        """Take a trajectory, or a twist where the controller is ``servo``; whether it counts.

        Raises:
            InputError: the controller refused it.
        """
        if not self._listens(message):
            return False
        assert self._controlled is not None  # it listens
        self.catch_up(now_ns)
        if self._world.done:
            return False
        receipt = self._controlled.receive(message, now_ns)
        if not receipt:
            raise InputError(receipt.reason, receipt.detail)
        return True

    def receive_gripper(self, message: Any) -> None:
        """Take gripper openings.

        Raises:
            InputError: they cannot be used.
        """
        if self._listens(message):
            assert self._controlled is not None  # it listens
            self._controlled.receive_gripper(message)

    def catch_up(self, now_ns: int) -> None:
        """Make the cycles that have become due."""
        if self._controlled is None:
            return
        behind = now_ns - self._next_ns - MOST_BEHIND_NS
        if behind > 0 or now_ns < self._next_ns - CYCLE_NS:  # or the clock went back
            self.lost_ns += max(behind, 0)
            self._next_ns = now_ns - CYCLE_NS
        while self._next_ns + CYCLE_NS <= now_ns and not self._world.done:
            self._controlled.cycle(self._next_ns)
            self._next_ns += CYCLE_NS
        self._world.show()

    def _listens(self, message: Any) -> bool:
        return (self._controlled is not None and not self._world.done
                and stamp_ns(message.header.stamp) >= self._begin_ns)
