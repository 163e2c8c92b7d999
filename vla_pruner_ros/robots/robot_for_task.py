# SPDX-License-Identifier: Apache-2.0
"""Choice of the simulated robot that has a task."""
from vla_pruner_ros.robots.metaworld.metaworld_robot import MetaworldRobot
from vla_pruner_ros.robots.robot_interface import Robot
from vla_pruner_ros.robots.tabletop.tabletop_robot import TabletopRobot
from vla_pruner_ros.robots.tasks import get_task


def make_robot(task: str, seed: int, image_size: int = 224) -> Robot:
    """The robot of ``task``, its first episode started with ``seed``.

    Raises:
        ConfigError: unknown task, bad seed or unusable image size.
        MissingDependencyError: the simulator of that task is not installed.
    """
    if get_task(task).scene == 'tabletop':
        return TabletopRobot(task, seed, image_size)
    return MetaworldRobot(task, seed, image_size)
