# SPDX-License-Identifier: Apache-2.0
"""What every simulated robot offers, whatever its simulator: ``Robot``, its values and checks.

A new robot implements ``Robot`` and gets its line in ``robot_for_task.py``; the world, the node,
the evaluation and the training know only this file.  Imports no simulator.
"""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, UnsafeActionError
from vla_pruner_ros.robots.tasks import Task

ACTION_SCALE = 0.04  # metres the hand target moves per control step at action 1
GRIPPER_OPEN, GRIPPER_CLOSED = -1.0, 1.0  # fourth value of an action
IMAGE_SIZES = (16, 2048)  # pixels


@dataclass(frozen=True)
class RobotObservation:
    """What the robot's sensors say at one instant.

    Attributes:
        images: camera name -> RGB image (H, W, 3) uint8.
        ee_position: hand position (3,) in metres, world frame.
        gripper_opening: distance of the fingers as a share of 0.1 m, 0 closed to 1 open.
        joint_names: the arm's joints, then the fingers'.
        joint_positions: (J,) radians for the arm, metres for the fingers.
        time: simulated seconds since the reset.
    """

    images: dict[str, np.ndarray]
    ee_position: np.ndarray
    gripper_opening: float
    joint_names: tuple[str, ...]
    joint_positions: np.ndarray
    time: float

    @property
    def state(self) -> np.ndarray:
        """Proprioception of the shipped policies (4,): hand position and gripper opening."""
        return np.append(self.ee_position, self.gripper_opening).astype(np.float32)


@dataclass(frozen=True)
class StepResult:
    """Outcome of one control step.

    Attributes:
        success: the task has been solved in this episode (stays true until the reset).
        step: control steps since the reset.
        truncated: time is up, or the task is lost; only ``reset`` is accepted now.
    """

    success: bool
    step: int
    truncated: bool


@dataclass(frozen=True)
class Privileged:
    """What only experts and training labels may know of an instant.

    Attributes:
        targets: (2, 3) metres, what the hand must find now and next (both the same where there is
            only one).
        objects: (M, 3) metres, centres of all objects.
        colours: (M,) class of each object's colour as now seen, -1 where unknown.
        shapes: (M,) class of each object's shape, -1 where unknown.
        held: the named object is between the closed fingers (always False where no expert asks).
    """

    targets: np.ndarray
    objects: np.ndarray
    colours: np.ndarray
    shapes: np.ndarray
    held: bool = False


class Robot(Protocol):
    """A simulated arm with its cameras and one task's objects; one ``apply`` is 50 ms.

    An OpenGL context belongs to the thread that made it: call ``observe`` always from the same
    thread (the first call makes the context).

    Attributes:
        task: what it was built for.
        seed: of this episode.
        image_size: side of the square camera images in pixels.
        step_count: control steps since the reset.
    """

    task: Task
    seed: int
    image_size: int
    step_count: int

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras of an observation."""

    @property
    def instruction(self) -> str:
        """The task of this episode in words."""

    @property
    def wordings(self) -> tuple[str, ...]:
        """The instruction and its paraphrases for this episode."""

    @property
    def position(self) -> np.ndarray:
        """Hand position (3,) in metres, world frame, without rendering anything."""

    @property
    def orientation(self) -> np.ndarray:
        """Hand orientation as a quaternion (4,) x, y, z, w."""

    @property
    def success(self) -> bool:
        """The task has been solved in this episode."""

    @property
    def truncated(self) -> bool:
        """Time is up, or the task is lost."""

    def reset(self, seed: int) -> None:
        """Start an episode; the same seed gives the same episode.

        Raises:
            ConfigError: the seed is not an integer in 0..2**31-1.
        """

    def apply(self, action: np.ndarray) -> StepResult:
        """Execute one control step of 50 ms.

        Args:
            action: (4,) dx, dy, dz and gripper, each in [-1, 1] (clipped).  1 moves the hand
                target by ``ACTION_SCALE``; gripper 1 closes, -1 opens.

        Raises:
            UnsafeActionError: wrong shape, or not finite.
            ConfigError: the episode is over and needs ``reset``.
        """

    def track(self, target: np.ndarray, opening: float, velocity: np.ndarray,
              seconds: float) -> StepResult:
        """Go to an absolute target, as a controller tells a robot in each of its cycles.

        Time is what passes here: success, the step limit and objects that move by themselves go by
        it.  An episode is driven by ``apply`` or by ``track``, not by both.

        Args:
            target: (3,) metres, where the hand shall be when the time is over; it goes there at
                its greatest speed at most.
            opening: wanted gripper opening, 0 closed to 1 open.
            velocity: (3,) m/s, how the target moves.
            seconds: of simulated time until the next target.

        Raises:
            UnsafeActionError: wrong shape, or not finite.
            ConfigError: not a positive time of at most one second, or the episode is over and
                needs ``reset``.
        """

    def hand_state(self) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and velocity (3,) of the hand, as a controller reads them in its cycle.

        Between two physics steps the hand goes on at its speed.
        """

    def sense(self) -> RobotObservation:
        """Read the joints and the hand; no camera."""

    def observe(self) -> RobotObservation:
        """Read the cameras, the joints and the hand."""

    def pictures(self) -> Callable[[str], np.ndarray]:
        """Camera -> its image of this instant, drawn when asked for.

        For cameras that run at their own rate and of whose images most are never looked at.
        """

    def project(self, points: np.ndarray, camera: str) -> np.ndarray:
        """Column, row (pixels) and depth (metres) (..., 3) of world points (..., 3).

        Raises:
            ConfigError: there is no such camera.
        """

    def privileged(self) -> Privileged:
        """The labels of this instant."""

    def demonstrate(self, noise: np.ndarray) -> np.ndarray:
        """Execute one step of the expert plus ``noise`` (4,); return the clean label (4,)."""

    def close(self) -> None:
        """Free the OpenGL context; the robot cannot observe any more."""


def checked_image_size(size: int) -> int:
    """The side of a camera image as an int.

    Raises:
        ConfigError: it is outside ``IMAGE_SIZES``.
    """
    low, high = IMAGE_SIZES
    if not low <= int(size) <= high:
        raise ConfigError(f'image_size must be {low}..{high} pixels, got {size!r}')
    return int(size)


def checked_seed(seed: int) -> int:
    """The seed of an episode as an int.

    Raises:
        ConfigError: it is not an integer in 0..2**31-1.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) \
            or not 0 <= seed < 2**31:
        raise ConfigError(f'seed must be an integer in 0..2**31-1, got {seed!r}')
    return int(seed)


def checked_action(action: np.ndarray) -> np.ndarray:
    """An action (4,) as float64, clipped to [-1, 1].

    Raises:
        UnsafeActionError: wrong shape, or not finite.
    """
    values = np.asarray(action, dtype=np.float64)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise UnsafeActionError(f'action must be 4 finite numbers, got {values!r}')
    return np.clip(values, -1.0, 1.0)


def checked_target(target: np.ndarray, opening: float, velocity: np.ndarray,
                   seconds: float) -> tuple[np.ndarray, float, np.ndarray]:
    """What ``track`` is told as float64, the opening clipped to 0..1.

    Raises:
        UnsafeActionError: wrong shape, or not finite.
        ConfigError: not a positive time of at most one second.
    """
    if not 0.0 < seconds <= 1.0:
        raise ConfigError(f'seconds is {seconds!r}; accepted: more than 0, at most 1')
    place, speed = np.asarray(target, np.float64), np.asarray(velocity, np.float64)
    for name, values in (('target', place), ('velocity', speed)):
        if values.shape != (3,) or not np.isfinite(values).all():
            raise UnsafeActionError(f'{name} must be 3 finite numbers, got {values!r}')
    if not np.isfinite(opening):
        raise UnsafeActionError(f'opening must be a finite number, got {opening!r}')
    return place, min(max(float(opening), 0.0), 1.0), speed


def check_not_over(over: bool, steps: int) -> None:
    """Refuse a control step after the end of an episode.

    Raises:
        ConfigError: it is over.
    """
    if over:
        raise ConfigError(f'the episode is over after {steps} control steps: call reset(seed)')
