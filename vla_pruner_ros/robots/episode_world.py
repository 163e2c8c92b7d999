# SPDX-License-Identifier: Apache-2.0
"""A simulated robot with its episode: which task and seed, what happened so far.  No ROS here.

Call everything from one thread: the OpenGL context belongs to the thread that made it.
"""
from collections import Counter
from collections.abc import Callable
import os
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.robots.chunk_execution_in_simulation import robot_action
from vla_pruner_ros.robots.robot_for_task import make_robot
from vla_pruner_ros.robots.robot_interface import RobotObservation
from vla_pruner_ros.robots.tasks import get_task

OPEN = 1.0  # the gripper at the start of an episode


class World:
    """One robot, one episode at a time.

    Args:
        image_size: side of the camera images in pixels.
        viewer: show a window.
        make: (task, seed, image_size) -> robot.
    """

    def __init__(self, image_size: int = 224, viewer: bool = False,
                 make: Callable[..., Any] = make_robot):
        if viewer:
            check_display()
        self._make = make
        self._image_size = image_size
        self._viewer_wanted = viewer
        self._viewer: Any = None
        self._opening = OPEN
        self.robot: Any = None
        self.episode = 0
        self.accepted = 0
        self.refused: Counter[str] = Counter()

    def prepare(self, task: str, seed: int) -> None:
        """Build the robot of a task, unless it is there already; no episode begins.

        Raises:
            ConfigError: unknown task, or seed out of range.
            MissingDependencyError: the simulator or OpenGL is missing.
        """
        get_task(task)
        if self.robot is None or self.robot.task.name != task:
            self.close()
            self.robot = self._make(task, seed, self._image_size)
            self._open_viewer()

    def start(self, task: str, seed: int) -> None:
        """Begin an episode; the robot is rebuilt only when the task changes.

        Raises:
            ConfigError: unknown task, or seed out of range.
            MissingDependencyError: the simulator or OpenGL is missing.
        """
        self.prepare(task, seed)
        self.robot.reset(seed)
        self._opening = OPEN
        self.episode += 1
        self.accepted = 0
        self.refused.clear()

    @property
    def started(self) -> bool:
        """There is an episode, over or not."""
        return self.robot is not None and self.episode > 0

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the robot's cameras."""
        return () if self.robot is None else tuple(self.robot.cameras)

    @property
    def done(self) -> bool:
        """Solved, lost, out of time, or never started."""
        return not self.started or self.robot.success or self.robot.truncated

    def execute(self, motion: np.ndarray, opening: float | None) -> None:
        """One control step.

        Args:
            motion: (3,) metres; more than the robot's largest step is clipped.
            opening: wanted gripper opening, 0 closed to 1 open; None = as before.
        """
        if opening is not None:
            self._opening = opening
        self.robot.apply(robot_action(motion, self._opening))
        self.show()

    def show(self) -> None:
        """Bring the window up to date, if there is one."""
        if self._viewer is not None:
            self._viewer.sync()

    def observe(self) -> tuple[RobotObservation, np.ndarray]:
        """Sensors, and the orientation of the hand as quaternion x y z w."""
        return self.robot.observe(), np.asarray(self.robot.orientation)

    def status(self) -> dict[str, Any]:
        """What ``~/episode`` says (JSON types)."""
        robot = self.robot
        if not self.started:
            return {'episode': 0, 'task': '', 'instruction': '', 'seed': -1, 'steps': 0,
                    'step_limit': 0, 'success': False, 'done': True, 'chunks_accepted': 0,
                    'chunks_refused': {}, 'cameras': list(self.cameras)}
        return {'episode': self.episode, 'task': robot.task.name,
                'instruction': robot.instruction, 'seed': robot.seed, 'steps': robot.step_count,
                'step_limit': robot.task.step_limit, 'success': bool(robot.success),
                'done': bool(self.done), 'chunks_accepted': self.accepted,
                'chunks_refused': dict(self.refused), 'cameras': list(self.cameras)}

    def close(self) -> None:
        """Close window and OpenGL context."""
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            viewer.close()
        robot, self.robot = self.robot, None
        if robot is not None:
            robot.close()

    def _open_viewer(self) -> None:
        if not self._viewer_wanted:
            return
        try:
            from mujoco import viewer
            simulator = getattr(self.robot, 'env', self.robot)  # Meta-World keeps it one deeper
            self._viewer = viewer.launch_passive(simulator.model, simulator.data,
                                                 show_left_ui=False, show_right_ui=False)
        except Exception as error:  # whatever the window system raises
            raise MissingDependencyError(f'cannot open the viewer: {error}; set viewer to false '
                                         'to run without a window') from error


def check_display() -> None:
    """Refuse a viewer where there is no screen.

    Raises:
        ConfigError: neither DISPLAY nor WAYLAND_DISPLAY is set.
    """
    if not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise ConfigError('viewer is true, but there is no screen (DISPLAY and WAYLAND_DISPLAY '
                          'are not set); set viewer to false to run without a window')
