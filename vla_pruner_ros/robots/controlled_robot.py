# SPDX-License-Identifier: Apache-2.0
"""A simulated robot behind a controller: messages in, absolute targets out, cycle by cycle.

What the node ``sim_robot`` does in real time and what the real-time evaluation does in virtual
time.  Knows no clock: whoever calls says what time it is.
"""
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.chunk_execution_in_simulation import read_gripper, SECOND, Track
from vla_pruner_ros.robots.controllers.controller_interface import (
    Controller,
    period_of,
    RATE_HZ,
    Receipt,
    Setpoint,
)
from vla_pruner_ros.robots.controllers.make_controller import make_controller
from vla_pruner_ros.robots.robot_interface import Robot

BASE_FRAME = 'base'
CYCLE_NS = period_of(RATE_HZ)
#: Controllers of the simulated robots by name: kind and parameters.  ``jtc`` starts a new
#: trajectory from the measurement, as joint_trajectory_controller does by default, and
#: ``jtc_desired`` from its last command.
CONTROLLERS: dict[str, tuple[str, dict[str, Any]]] = {
    'ideal': ('ideal', {}),
    'jtc': ('jtc', {}),
    'jtc_desired': ('jtc', {'interpolate_from_desired_state': True}),
    'jtc_splicing': ('jtc_splicing', {}),
    'servo': ('servo', {'planning_frame': BASE_FRAME, 'linear': 0.8}),
}
OPEN = 1.0  # the gripper at the start of an episode


def check_controller(name: str) -> str:
    """A controller by its name.

    Raises:
        ConfigError: there is no such controller.
    """
    if name not in CONTROLLERS:
        raise ConfigError(f'controller is {name!r}; accepted: {", ".join(CONTROLLERS)}')
    return name


class ControlledRobot:
    """One episode of a robot that is told where to be 250 times a second.

    Args:
        robot: at the beginning of an episode.
        name: of the controller, one of ``CONTROLLERS``.

    Raises:
        ConfigError: there is no such controller.
    """

    def __init__(self, robot: Robot, name: str):
        kind, options = CONTROLLERS[check_controller(name)]
        self.robot = robot
        self.controller: Controller = make_controller(kind, **options)
        self._gripper: Track | None = None
        self._opening = OPEN

    def receive(self, message: Any, now_ns: int) -> Receipt:
        """Take a trajectory of the hand, or a twist where the controller is ``servo``."""
        place, speed = self._hand()
        self.controller.feedback(place, now_ns, speed)  # it knows where the robot is by now
        return self.controller.receive(message, now_ns)

    def receive_gripper(self, message: Any) -> None:
        """Take gripper openings in time; the newest message counts.

        Raises:
            InputError: see ``chunk_execution_in_simulation.read_gripper``.
        """
        self._gripper = read_gripper(message)

    def cycle(self, now_ns: int) -> Setpoint:
        """One control cycle that begins now; returns what the controller asked for."""
        place, speed = self._hand()
        self.controller.feedback(place, now_ns, speed)
        wanted = self.controller.command(now_ns)
        self.robot.track(wanted.position[:3], self._opening_at(now_ns), wanted.velocity[:3],
                         CYCLE_NS / SECOND)
        return wanted

    def _hand(self) -> tuple[np.ndarray, np.ndarray]:
        place, speed = self.robot.hand_state()
        return np.append(place, self.robot.orientation), np.append(speed, np.zeros(3))

    def _opening_at(self, now_ns: int) -> float:
        """The opening of the first point that is ahead; a row means what is true at its end."""
        if self._gripper is not None:
            times, values = self._gripper.times_ns, self._gripper.values
            index = min(int(np.searchsorted(times, now_ns, side='right')), len(times) - 1)
            self._opening = float(values[index])
        return self._opening
