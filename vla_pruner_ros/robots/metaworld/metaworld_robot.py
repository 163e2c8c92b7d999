# SPDX-License-Identifier: Apache-2.0
"""The Meta-World robot: a Sawyer arm in MuJoCo, stepped at 20 Hz.

One ``apply`` is one control step of 50 ms: the same action for four Meta-World steps of 12.5 ms.
``track`` goes by time instead, for controllers.
This file knows no policy and no ROS.  An OpenGL context belongs to the thread that made
it: call ``observe`` always from the same thread (the first call makes the context).
"""
import atexit
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.robots import offscreen_rendering as graphics
from vla_pruner_ros.robots.frozen_state import FrozenState, hand_state
from vla_pruner_ros.robots.metaworld import metaworld_camera as geometry
from vla_pruner_ros.robots.metaworld.hand_tracking import HandTracking
from vla_pruner_ros.robots.metaworld.metaworld_camera import CAMERA
from vla_pruner_ros.robots.metaworld.metaworld_expert import expert_substep, make_expert
from vla_pruner_ros.robots.physics_clock import PhysicsClock
from vla_pruner_ros.robots.robot_interface import (
    check_not_over,
    checked_action,
    checked_image_size,
    checked_seed,
    checked_target,
    GRIPPER_CLOSED,
    GRIPPER_OPEN,
    Privileged,
    RobotObservation,
    StepResult,
)
from vla_pruner_ros.robots.tasks import get_task, SUBSTEPS, Task

ARM_JOINTS = tuple(f'right_j{i}' for i in range(7))
FINGER_JOINTS = ('r_close', 'l_close')
GOAL_IS_TARGET = ('reach-v3',)  # elsewhere the object is what the hand must find
GOAL_IS_SECOND = ('push-v3',)  # the hand must find the object, then the goal


class MetaworldRobot:
    """A Sawyer arm, its table and one task's objects.

    Args:
        task: a name of ``tasks.TASKS``.
        seed: placement of the objects in the first episode.
        image_size: side of the square camera image in pixels.

    Raises:
        ConfigError: unknown task or unusable image size.
        MissingDependencyError: Meta-World or an OpenGL library is missing (the latter is raised by
            the first ``observe``); the message says how to install it.
    """

    def __init__(self, task: str, seed: int = 0, image_size: int = 224):
        self.task: Task = get_task(task)
        self.image_size = checked_image_size(image_size)
        self.env = _make_environment(task)
        self.joint_names = ARM_JOINTS + FINGER_JOINTS
        model = self.env.model
        self._joint_addresses = [int(model.joint(name).qposadr[0]) for name in self.joint_names]
        self._renderer: Any = None
        self._camera: Any = None
        self._frozen = FrozenState(model)  # what ``pictures`` shows
        self._tracking = HandTracking(self.env)
        self._clock = PhysicsClock(float(model.opt.timestep))
        self._expert: Any = None
        self.reset(seed)

    @property
    def instruction(self) -> str:
        """The task in words."""
        return self.task.instruction

    @property
    def wordings(self) -> tuple[str, ...]:
        """The instruction and its paraphrases."""
        return self.task.wordings

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras of an observation."""
        return (CAMERA,)

    @property
    def position(self) -> np.ndarray:
        """Hand position (3,) in metres, world frame, without rendering anything."""
        return self.env.data.body('hand').xpos.copy()

    @property
    def orientation(self) -> np.ndarray:
        """Hand orientation as a quaternion (4,) x, y, z, w."""
        return np.roll(self.env.data.body('hand').xquat, -1)

    def reset(self, seed: int) -> None:
        """Start an episode; the same seed gives the same episode.

        Raises:
            ConfigError: the seed is not an integer in 0..2**31-1.
        """
        self.seed = checked_seed(seed)
        import mujoco
        self.env.seed(self.seed)
        self.env.reset()
        mujoco.mj_forward(self.env.model, self.env.data)  # else objects are drawn where they were
        self.raw = self.env._get_obs()  # privileged state (39,), only for experts
        self.step_count = 0
        self._clock.reset()
        self.success = False
        self._start_time = float(self.env.data.time)

    def apply(self, action: np.ndarray) -> StepResult:
        """Execute one control step of 50 ms.

        Args:
            action: (4,) dx, dy, dz and gripper, each in [-1, 1] (clipped).  1 moves the hand
                target by 40 mm; gripper 1 closes, -1 opens.

        Raises:
            UnsafeActionError: wrong shape, or not finite.
            ConfigError: the episode is over and needs ``reset``.
        """
        action = checked_action(action)
        return self.apply_substeps(np.repeat(action[None], SUBSTEPS, axis=0))

    def apply_substeps(self, actions: np.ndarray) -> StepResult:
        """Execute one control step given as its four 12.5 ms actions (4, 4)."""
        check_not_over(self.truncated, self.step_count)
        for action in actions:
            self.substep(action)
        return self.finish_control_step()

    def substep(self, action: np.ndarray) -> None:
        """Execute one Meta-World action of 12.5 ms (no checks; used by experts)."""
        self.raw, _, _, _, info = self.env.step(action)
        self.success = self.success or bool(info['success'] > 0.5)

    def finish_control_step(self) -> StepResult:
        """Count four substeps as one control step."""
        self.step_count += 1
        return StepResult(self.success, self.step_count, self.truncated)

    def track(self, target: np.ndarray, opening: float, velocity: np.ndarray,
              seconds: float) -> StepResult:
        """Go to an absolute target (see ``Robot.track``)."""
        import mujoco
        place, opening, velocity = checked_target(target, opening, velocity, seconds)
        check_not_over(self.truncated, self.step_count)
        env = self.env
        grip = GRIPPER_CLOSED + opening * (GRIPPER_OPEN - GRIPPER_CLOSED)
        env.data.ctrl[:] = (grip, -grip)
        for ahead in self._clock.due(seconds):
            if self._clock.at_control_step(SUBSTEPS) and self._clock.steps:
                self._judge(np.append(np.zeros(3), grip))
            self._tracking.move(place, velocity, ahead, float(env.model.opt.timestep))
            mujoco.mj_step(env.model, env.data)
        self.step_count = self._clock.control_steps
        return StepResult(self.success, self.step_count, self.truncated)

    def hand_state(self) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity of the hand (see ``Robot.hand_state``)."""
        model = self.env.model
        return hand_state(model, self.env.data, ('body', model.body('hand').id),
                          self._clock.owed)

    def _judge(self, action: np.ndarray) -> None:
        """What Meta-World does after each of its steps: correct sites, look, judge."""
        import mujoco
        env = self.env
        for site in env._target_site_config:
            env._set_pos_site(*site)
        mujoco.mj_forward(env.model, env.data)
        space = env.sawyer_observation_space
        self.raw = np.clip(env._get_obs(), space.low, space.high)
        _, info = env.evaluate_state(self.raw, action)
        self.success = self.success or bool(info['success'] > 0.5)

    @property
    def truncated(self) -> bool:
        """The step limit of the task is reached."""
        return self.step_count >= self.task.step_limit

    def privileged(self) -> Privileged:
        """The labels of this instant."""
        goal, thing = self.raw[-3:], self.raw[4:7]
        first = goal if self.task.name in GOAL_IS_TARGET else thing
        targets = np.stack((first, goal if self.task.name in GOAL_IS_SECOND else first))
        unknown = np.full(2, -1)
        return Privileged(targets, targets, unknown, unknown)

    def demonstrate(self, noise: np.ndarray) -> np.ndarray:
        """Execute one step of the expert plus ``noise``; return the clean label.

        The expert is asked before each of the four actions.  Noise is injected as in DART: the
        label stays the expert's answer at the state that the noise led to.

        Args:
            noise: (4,) added to each executed action.

        Returns:
            (4,) float32 mean of the four clean expert actions.
        """
        if self._expert is None:
            self._expert = make_expert(self.task.name)
        label = np.zeros(4)
        for _ in range(SUBSTEPS):
            action = expert_substep(self._expert, self.raw)
            label += action / SUBSTEPS
            self.substep(np.clip(action + noise, -1.0, 1.0))
        self.finish_control_step()
        return label.astype(np.float32)

    def observe(self) -> RobotObservation:
        """Read the camera, the joints and the hand."""
        return replace(self.sense(), images={CAMERA: self.render()})

    def sense(self) -> RobotObservation:
        """Read the joints and the hand."""
        env = self.env
        fingers = env.data.body('rightclaw').xpos - env.data.body('leftclaw').xpos
        return RobotObservation(
            images={},
            ee_position=env.data.body('hand').xpos.copy(),
            gripper_opening=float(np.clip(np.linalg.norm(fingers) / 0.1, 0.0, 1.0)),
            joint_names=self.joint_names,
            joint_positions=env.data.qpos[self._joint_addresses].copy(),
            time=float(env.data.time) - self._start_time)

    def render(self) -> np.ndarray:
        """Camera image (H, W, 3) uint8 RGB of this instant."""
        return self._draw(self.env.data)

    def pictures(self) -> Callable[[str], np.ndarray]:
        """Camera -> its image of this instant (see ``Robot.pictures``)."""
        state = self._frozen.keep(self.env.data)
        return lambda camera: self._draw(self._frozen.shown(state))

    def _draw(self, data: Any) -> np.ndarray:
        if self._renderer is None:
            self._open_renderer()
        self._renderer.update_scene(data, self._camera)
        return self._renderer.render()

    def project(self, points: np.ndarray, camera: str) -> np.ndarray:
        """Column, row (pixels) and depth (metres) (..., 3) of world points (..., 3).

        Raises:
            ConfigError: there is no such camera.
        """
        if camera != CAMERA:
            raise ConfigError(f'camera must be one of {CAMERA}, got {camera!r}')
        return geometry.project(points, self.image_size)

    def _open_renderer(self) -> None:
        import mujoco
        self._renderer = graphics.open_renderer(self.env.model, self.image_size)
        atexit.register(self.close)  # a context freed by interpreter shutdown prints EGL errors
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._camera.lookat[:] = geometry.CAMERA_LOOKAT
        self._camera.distance = geometry.CAMERA_DISTANCE
        self._camera.azimuth = geometry.CAMERA_AZIMUTH
        self._camera.elevation = geometry.CAMERA_ELEVATION

    def close(self) -> None:
        """Free the OpenGL context; the robot cannot observe any more."""
        renderer: Any | None = self._renderer
        self._renderer = None
        if renderer is not None:
            renderer.close()


def _make_environment(task: str) -> Any:
    graphics_choice_error: MissingDependencyError | None = None
    try:
        graphics.choose_backend()
    except MissingDependencyError as error:  # state-only use needs no OpenGL
        graphics_choice_error = error
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ModuleNotFoundError as error:  # whatever else is missing too, this comes first
        raise MissingDependencyError(f'the simulator needs Meta-World ({error}): '
                                     f'{how_to_install("metaworld")}') from error
    except ImportError as error:
        raise graphics_choice_error or MissingDependencyError(
            f'the simulator cannot be imported: {error}') from error
    env = ALL_V3_ENVIRONMENTS[task]()
    env._partially_observable = False  # the expert sees the goal; the policy sees only pixels
    env.__dict__.pop('sawyer_observation_space', None)  # recompute with the goal's bounds
    env._freeze_rand_vec = False
    env.seeded_rand_vec = True  # placements come from env.seed()
    env._set_task_called = True
    # Software rendering: shadows and multi-sampling cost most of a frame (see also the renderer).
    env.model.light_castshadow[:] = 0
    env.model.vis.quality.offsamples = 0
    return env
