# SPDX-License-Identifier: Apache-2.0
"""The world that goes on while the model thinks: cameras, controller and robot in virtual time.

One cycle is 4 ms: the sensors speak if it is their time, the controller hears where the robot is
and says where it shall be, the robot goes there.  Nothing waits for a wall clock.
"""
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from vla_pruner_ros.evaluation.real_time import plain_messages as messages
from vla_pruner_ros.robots.controlled_robot import ControlledRobot, CYCLE_NS
from vla_pruner_ros.robots.robot_interface import Robot
from vla_pruner_ros.runtime.observation_cache import ObservationCache

SECOND = 10**9
START_NS = 100 * SECOND
STATE_CYCLES = 2  # joints and hand are published in every second cycle
HEARTBEAT_NS = SECOND // 30  # of the policy's node, between velocities
@dataclass
class Motion:
    """What happened, cycle by cycle.

    Attributes:
        times_ns: of the cycles.
        commanded: (T, 3) metres, where the controller told the hand to be.
        measured: (T, 3) metres, where it was at the end of the cycle.
        arrivals_ns: when commands were accepted.
        ends_ns: until when each of them has rows of the policy.
        refused: commands that the controller refused, by reason.
    """

    times_ns: list[int] = field(default_factory=list)
    commanded: list[np.ndarray] = field(default_factory=list)
    measured: list[np.ndarray] = field(default_factory=list)
    arrivals_ns: list[int] = field(default_factory=list)
    ends_ns: list[int] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)


class DrivenRobot:
    """A simulated robot behind a controller, with cameras that run at their own rate.

    Args:
        robot: reset already.
        cache: that its messages go to.
        controller: its name, see ``controlled_robot``.
        camera_hz: pictures per second.
        twist: asked 30 times a second for a velocity (now, period); None: trajectories are sent.

    Attributes:
        now_ns: virtual time.
        motion: what happened.
    """

    def __init__(self, robot: Robot, cache: ObservationCache, controller: str, camera_hz: float,
                 twist: Callable[[int, int], np.ndarray | None] | None = None):
        self.robot = robot
        self.now_ns = START_NS
        self.motion = Motion()
        self._twist = twist
        self._cache = cache
        self._controlled = ControlledRobot(robot, controller)
        self._camera_ns = round(SECOND / camera_hz)
        self._next_picture = self._next_twist = START_NS
        self._cycles = 0

    @property
    def over(self) -> bool:
        """Solved, lost or out of time."""
        return bool(self.robot.success or self.robot.truncated)

    def send(self, command: Any, coverage_ns: int) -> None:
        """A command of the policy arrives; rows of the policy last until ``coverage_ns``."""
        if command.gripper is not None:
            self._controlled.receive_gripper(messages.gripper_message(command))
        if self._twist is None:
            receipt = self._controlled.receive(messages.motion_message(command), self.now_ns)
            if not receipt:
                count = self.motion.refused.get(receipt.reason, 0)
                self.motion.refused[receipt.reason] = count + 1
                return
        self.motion.arrivals_ns.append(self.now_ns)
        self.motion.ends_ns.append(coverage_ns)

    def advance(self, span_ns: int) -> None:
        """Let time pass, in whole cycles; an episode that is over stands still."""
        end = self.now_ns + span_ns
        while self.now_ns < end and not self.over:
            self._cycle()
        self.now_ns = max(self.now_ns, end)

    def _cycle(self) -> None:
        now = self.now_ns
        self._speak(now)
        self._hear_velocity(now)
        wanted = self._controlled.cycle(now)
        self.motion.times_ns.append(now)
        self.motion.commanded.append(wanted.position[:3])
        self.motion.measured.append(self.robot.hand_state()[0])
        self._cycles += 1
        self.now_ns += CYCLE_NS

    def _speak(self, now: int) -> None:
        """Sensors whose time has come."""
        picture = now >= self._next_picture
        if picture or self._cycles % STATE_CYCLES == 0:
            seen = self.robot.sense()
            self._cache.put_joint_state(messages.joint_state(
                [*seen.joint_names, messages.GRIPPER],
                [*seen.joint_positions, seen.gripper_opening], now), now)
            self._cache.put_pose(messages.stamped_pose(
                seen.ee_position, self.robot.orientation, now), now)
        if picture:
            self._next_picture += self._camera_ns
            draw = self.robot.pictures()
            for role in self.robot.cameras:
                self._cache.put_image(role, messages.LateImage(
                    partial(draw, role), self.robot.image_size, now), now)

    def _hear_velocity(self, now: int) -> None:
        if self._twist is None or now < self._next_twist:
            return
        self._next_twist += HEARTBEAT_NS
        velocity = self._twist(now, HEARTBEAT_NS)
        if velocity is not None:
            self._controlled.receive(messages.stamped_twist(velocity, now), now)
