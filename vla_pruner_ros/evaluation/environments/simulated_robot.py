# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as an environment: what its ROS node does, without the messages.

As there, the robot executes the DIFFERENCES between consecutive poses of a command, so an
evaluated policy moves exactly like one behind topics in lock step.
"""
from collections.abc import Callable
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.types import Observation, PolicySpec
from vla_pruner_ros.evaluation.environments.environment_interface import Environment
from vla_pruner_ros.robots.camera_topics import check_cameras
from vla_pruner_ros.robots.chunk_execution_in_simulation import control_steps, robot_action
from vla_pruner_ros.robots.robot_for_task import make_robot
from vla_pruner_ros.robots.robot_interface import Robot
from vla_pruner_ros.robots.tasks import get_task
from vla_pruner_ros.runtime.motion.robot_commands import Command, EndEffectorCommand

MOST_ROBOTS = 10  # all tasks of a scene


class Simulation(Environment):
    """The robot of each task in MuJoCo; they are kept, because building one takes seconds.

    Args:
        spec: of the policy.
        make: (task, seed, image_size) -> robot.
    """

    def __init__(self, spec: PolicySpec, make: Callable[..., Robot] = make_robot):
        if spec.action_kind != 'ee_delta':
            raise ConfigError(f'policy {spec.name!r} gives {spec.action_kind} actions; the '
                              'simulated robot accepts ee_delta')
        self._make = make
        self._policy = spec.name
        self._cameras = tuple(camera.role for camera in spec.cameras)
        self._image_size = spec.cameras[0].height
        self._robots: dict[str, Any] = {}  # by task, the one used last at the end
        self._robot: Any = None

    @classmethod
    def check(cls, tasks: list[str]) -> None:
        """Look every task up."""
        for task in tasks:
            get_task(task)

    @classmethod
    def moving_target(cls, task: str) -> bool:
        """Tell whether the target of a task moves by itself."""
        return get_task(task).moving_target

    def start(self, task: str, seed: int) -> None:
        """Begin an episode.

        Raises:
            ConfigError: the task's robot lacks a camera of the policy.
        """
        robot = self._robots.pop(task, None)
        if robot is None:
            robot = self._make(task, seed, self._image_size)
        self._robots[task] = self._robot = robot
        while len(self._robots) > MOST_ROBOTS:
            self._robots.pop(next(iter(self._robots))).close()
        check_cameras(self._policy, self._cameras, task, robot.cameras)
        robot.reset(seed)

    @property
    def robot(self) -> Robot:
        """The robot of the episode under way."""
        robot: Robot = self._robot
        return robot

    def observe(self) -> Observation:
        """Render the cameras and read the sensors."""
        seen = self._robot.observe()
        return Observation(images=seen.images, state=seen.state.astype(np.float64),
                           instruction=self._robot.instruction,
                           stamp_ns=round(seen.time * 1e9),
                           pose=(tuple(seen.ee_position.tolist()),
                                 tuple(np.asarray(self._robot.orientation).tolist())))

    def control_steps(self, command: Command) -> np.ndarray:
        """(N, 4) metres of x, y, z and the gripper opening, 0 closed to 1 open."""
        if not isinstance(command, EndEffectorCommand):
            raise ConfigError('the simulated robot accepts end-effector commands only')
        return control_steps(command.poses[:, :3], command.gripper)

    def execute(self, row: np.ndarray) -> None:
        """Execute one control step; more than the robot's largest step is clipped."""
        self._robot.apply(robot_action(row[:3], row[3]))

    @property
    def position(self) -> np.ndarray:
        """Place of the hand, without rendering."""
        return np.array(self._robot.position)

    @property
    def success(self) -> bool:
        """Solved."""
        return bool(self._robot.success)

    @property
    def done(self) -> bool:
        """Solved, lost or out of time."""
        return bool(self._robot.success or self._robot.truncated)

    def close(self) -> None:
        """Free the OpenGL contexts."""
        while self._robots:
            self._robots.popitem()[1].close()
        self._robot = None
