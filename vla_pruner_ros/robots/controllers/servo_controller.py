# SPDX-License-Identifier: Apache-2.0
"""MoveIt Servo and the joint_trajectory_controller behind it, for a hand that goes where sent.

A twist becomes small steps (``servo_loops``), each goes as a trajectory to the controller, and
what that commands is the hand's target.  Kinematics are left out: the controller's six "joints"
are metres along the axes and radians turned about them, the latter summed up turn by turn, so that
a rate of them IS an angular velocity.
"""
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND
from vla_pruner_ros.robots.controllers.controller_interface import Controller, Receipt, Setpoint
from vla_pruner_ros.robots.controllers.joint_trajectory_controller import (
    JointTrajectoryController,
)
from vla_pruner_ros.robots.controllers.jtc_options import JtcOptions
from vla_pruner_ros.robots.controllers.servo_loops import AXES, HumbleLoop, JazzyLoop, ServoLoop
from vla_pruner_ros.robots.controllers.servo_options import (
    in_planning_frame,
    is_stale,
    read_command,
    ServoOptions,
)
from vla_pruner_ros.robots.controllers.value_spaces import JointSpace, turn_between, turned


class ServoController(Controller):
    """Follows twists (geometry_msgs/TwistStamped).

    Args:
        options: Servo's parameters.
        period_ns: nominal length of a control cycle of the controller behind it.
    """

    def __init__(self, options: ServoOptions, period_ns: int):
        super().__init__()
        self.options = options
        self._loop: ServoLoop = (HumbleLoop if options.version == 'humble'
                                 else JazzyLoop)(options)
        # Servo's messages end at speed, so its demos allow that in the controller.
        self._behind = JointTrajectoryController(
            JointSpace(len(AXES)), AXES, JtcOptions(
                options.version, allow_nonzero_velocity_at_trajectory_end=True), period_ns)
        self._axes: np.ndarray | None = None        # (6,) commanded
        self._turn: np.ndarray | None = None        # (4,) commanded, belongs to _axes
        self._measured: np.ndarray | None = None    # (6,)
        self._next_ns: int | None = None            # of Servo's loop
        self._until_ns: int | None = None

    def receive(self, message: Any, now_ns: int) -> Receipt:
        """Take a twist.

        Servo takes every message, also a bad one in place of a good one; it judges in its loop.
        The answer tells what the judgement would be now.
        """
        command = read_command(message)
        self._run_loop(now_ns - 1)  # what was due before must not see it
        self._loop.take(command)
        try:
            if getattr(self._loop, 'crashed', False):
                raise InputError('crashed', 'an unknown frame has ended the process of Servo')
            if is_stale(command, self.options, now_ns):
                age = (now_ns - command.stamp_ns) / SECOND
                raise InputError('stale', f'the twist is {age:.3f} s old, '
                                          f'{self.options.incoming_command_timeout} s is too old')
            in_planning_frame(command, self.options)
        except InputError as error:
            return self._refuse(error)
        self._until_ns = command.stamp_ns + round(self.options.incoming_command_timeout * SECOND)
        return Receipt()

    def feedback(self, position: np.ndarray, now_ns: int,
                 velocity: np.ndarray | None = None) -> None:
        """Take the measured pose (7,), and velocity for the controller behind Servo."""
        if self._turn is None or self._axes is None:
            self._turn = np.array(position[3:], np.float64)
            self._axes = np.append(np.array(position[:3], np.float64), np.zeros(3))
        self._measured = np.append(position[:3], self._axes[3:]
                                   + turn_between(self._turn, np.asarray(position[3:])))
        self._behind.feedback(self._measured, now_ns, velocity)

    def command(self, now_ns: int) -> Setpoint:
        """Run Servo's loop as often as it is due, then one cycle of the controller."""
        if self._measured is None or self._turn is None or self._axes is None:
            raise InputError('no_feedback', 'the robot has not told where it is')
        if self._next_ns is None or abs(now_ns - self._next_ns) > SECOND:
            self._next_ns = now_ns  # the first cycle, or the clock has jumped
        self._run_loop(now_ns)
        behind = self._behind.command(now_ns)
        self._turn = turned(self._turn, behind.position[3:] - self._axes[3:])
        self._axes = behind.position
        return Setpoint(np.append(behind.position[:3], self._turn), behind.velocity)

    @property
    def covered_until_ns(self) -> int | None:
        """When the newest accepted twist becomes stale."""
        return self._until_ns

    def _run_loop(self, until_ns: int) -> None:
        """Run the cycles of Servo's loop that are due up to a time."""
        while self._next_ns is not None and self._next_ns <= until_ns:
            message = self._loop.cycle(self._measured, self._next_ns)
            if message is not None:
                self._behind.receive(message, self._next_ns)
            self._next_ns += round(self.options.period * SECOND)
