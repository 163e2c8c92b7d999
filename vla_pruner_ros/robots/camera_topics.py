# SPDX-License-Identifier: Apache-2.0
"""Cameras of the simulated robots: the topics they appear on, and whether they suit a policy."""
from collections.abc import Collection, Sequence

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.metaworld.metaworld_camera import CAMERA
from vla_pruner_ros.robots.tabletop.tabletop_cameras import CAMERAS
from vla_pruner_ros.robots.tasks import get_task

#: Seconds, for the policy's ``max_skew`` with several cameras: images of a moment carry one stamp,
#: and less than the period of 50 ms never puts images of two moments together.
MAX_SKEW = 0.02


def cameras_of(task: str) -> tuple[str, ...]:
    """Cameras of a task's robot, without building it.

    Raises:
        ConfigError: unknown task.
    """
    return CAMERAS if get_task(task).scene == 'tabletop' else (CAMERA,)


def image_topic(camera: str) -> str:
    """Image topic of a camera: ``/camera/image_raw`` for Meta-World's only one."""
    return '/camera/image_raw' if camera == CAMERA else f'/camera/{camera}/image_raw'


def camera_topics(cameras: Sequence[str]) -> list[str]:
    """Value of the policy's parameter ``camera_topics`` for simulated cameras."""
    return [f'{camera}={image_topic(camera)}' for camera in cameras]


def check_cameras(policy: str, wanted: Collection[str], task: str,
                  present: Collection[str]) -> None:
    """Refuse a policy that needs a camera which the task's robot does not have.

    Raises:
        ConfigError: names the cameras of both.
    """
    if not set(wanted) <= set(present):
        raise ConfigError(f'policy {policy!r} needs camera(s) {", ".join(wanted)}; task {task} '
                          f'has {", ".join(present)}')
