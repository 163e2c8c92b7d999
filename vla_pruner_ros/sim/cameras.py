"""Cameras of the simulated robots: the topics they appear on, and whether they suit a policy."""
from typing import Collection, List, Sequence

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.sim.robot import CAMERA


def image_topic(camera: str) -> str:
    """Image topic of a camera: ``/camera/image_raw`` for Meta-World's only one."""
    return '/camera/image_raw' if camera == CAMERA else f'/camera/{camera}/image_raw'


def camera_topics(cameras: Sequence[str]) -> List[str]:
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
