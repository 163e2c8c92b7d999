# SPDX-License-Identifier: Apache-2.0
"""The tabletop robot: an arm with a front and a wrist camera in MuJoCo, stepped at 20 Hz.

One ``apply`` is one control step of 50 ms in which the hand's target moves in a straight line; the
joints follow it by position servos.  This file knows no policy and no ROS.  An OpenGL context
belongs to the thread that made it: call ``observe`` always from the same thread (the first call
makes the context).
"""
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.robots import offscreen_rendering as graphics
from vla_pruner_ros.robots.frozen_state import FrozenState, hand_state
from vla_pruner_ros.robots.physics_clock import PhysicsClock
from vla_pruner_ros.robots.robot_interface import (
    ACTION_SCALE,
    check_not_over,
    checked_action,
    checked_image_size,
    checked_seed,
    checked_target,
    Privileged,
    RobotObservation,
    StepResult,
)
from vla_pruner_ros.robots.tabletop import arm_kinematics as arm
from vla_pruner_ros.robots.tabletop.episode_placements import draw_episode, slide_position
from vla_pruner_ros.robots.tabletop.scene_mjcf import (
    scene_xml,
    SLOTS,
    TIMESTEP,
)
from vla_pruner_ros.robots.tabletop.servo_tracking import (
    FINGER_STEP,
    LAGS,
    MAX_LEAD,
    ServoTracking,
)
from vla_pruner_ros.robots.tabletop.success_rules import HELD_DISTANCE, HELD_OPENING, Judge
from vla_pruner_ros.robots.tabletop.tabletop_cameras import CAMERAS, Cameras
from vla_pruner_ros.robots.tabletop.tabletop_expert import expert_action
from vla_pruner_ros.robots.tabletop.tabletop_objects import LAMP, RGB, touch_points, WALL_HALF_SIZE
from vla_pruner_ros.robots.tasks import CONTROL_DT, get_task, Task

SLICES = 10  # pieces of a control step between which targets, slides and touches are renewed
PHYSICS_STEPS = int(round(CONTROL_DT / TIMESTEP / SLICES))
FAMILIES = {'pick-colour': 'pick', 'place-bowl': 'place'}  # all others: 'touch'


class TabletopRobot:
    """The arm, the table and one task's objects.

    Args:
        task: a tabletop name of ``tasks.TASKS``.
        seed: the first episode.
        image_size: side of the square camera images in pixels.

    Raises:
        ConfigError: unknown task, bad seed or unusable image size.
        MissingDependencyError: MuJoCo or an OpenGL library is missing (the latter is raised by the
            first ``observe``); the message says how to install it.
    """

    cameras = CAMERAS
    joint_names = arm.JOINTS + arm.FINGERS

    def __init__(self, task: str, seed: int = 0, image_size: int = 224):
        self.task: Task = get_task(task)
        if self.task.scene != 'tabletop':
            raise ConfigError(f'{task!r} is not a task of the tabletop')
        self.image_size = checked_image_size(image_size)
        mujoco = _import_mujoco()
        self._mujoco = mujoco
        self.family = FAMILIES.get(task, 'touch')
        self.model: Any = mujoco.MjModel.from_xml_string(scene_xml(self.family))
        self.data: Any = mujoco.MjData(self.model)
        self._bodies = [self.model.body(f'item{i}').id for i in range(SLOTS[self.family])]
        self._tip = self.model.site('tip').id
        self._hand = self.model.body('hand').id
        self._cameras = Cameras(self.model, self.data, self.image_size)
        self._frozen = FrozenState(self.model)  # what ``pictures`` shows
        self._clock = PhysicsClock(TIMESTEP)
        self.reset(seed)

    @property
    def instruction(self) -> str:
        """The task of this episode in words."""
        return self.wordings[0]

    @property
    def wordings(self) -> tuple[str, ...]:
        """The instruction and its paraphrases for this episode."""
        return self.task.fill(self.episode.words)

    @property
    def success(self) -> bool:
        """The task has been solved in this episode."""
        return self.judge.success

    @property
    def truncated(self) -> bool:
        """The episode is over without success: time is up, or a wrong object was used."""
        late = self.step_count >= self.task.step_limit
        return not self.success and (self.judge.failed or late)

    @property
    def position(self) -> np.ndarray:
        """The point between the finger tips (3,) in metres, world frame."""
        return np.array(self.data.site_xpos[self._tip])

    @property
    def orientation(self) -> np.ndarray:
        """Hand orientation as a quaternion (4,) x, y, z, w; the hand always points down."""
        return np.roll(self.data.xquat[self._hand], -1)

    @property
    def opening(self) -> float:
        """Distance of the fingers as a share of 0.1 m."""
        return float(np.clip((self.data.qpos[5] + self.data.qpos[6]) / 0.1, 0.0, 1.0))

    def reset(self, seed: int) -> None:
        """Start an episode; the same seed gives the same episode.

        Raises:
            ConfigError: the seed is not an integer in 0..2**31-1.
        """
        self.seed = checked_seed(seed)
        self.episode = draw_episode(self.task.name, self.seed)
        self.judge = Judge(self.task.name, self.episode)
        self.step_count = 0
        self._clock.reset()
        self._mujoco.mj_resetData(self.model, self.data)
        self._place_objects()
        self._target = self.episode.hand.copy()
        self._fingers = arm.FINGER_TRAVEL
        self._tracking = ServoTracking(self._target, self._fingers)
        joints = arm.inverse(self._target)
        self.data.qpos[:7] = np.append(joints, [self._fingers] * 2)
        self.data.ctrl[:] = self.data.qpos[:7]
        self._mujoco.mj_forward(self.model, self.data)

    def _place_objects(self) -> None:
        for slot, body in enumerate(self._bodies):
            present = slot < len(self.episode.items)
            item = self.episode.items[slot] if present else None
            pose = np.array([0, 0, -1, 1, 0, 0, 0], dtype=np.float64)
            if item is not None:
                pose[:3] = item.position
                pose[3], pose[6] = np.cos(item.yaw / 2), np.sin(item.yaw / 2)
            mocap = self.model.body_mocapid[body]
            if mocap >= 0:
                self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = pose[:3], pose[3:]
            else:
                start = self.model.joint(f'item{slot}').qposadr[0]
                self.data.qpos[start:start + 7] = pose
            first = self.model.body_geomadr[body]
            for geom in range(first, first + self.model.body_geomnum[body]):
                shape = int(self.model.geom(geom).name.split('_')[1])
                shown = item is not None and item.shape == shape
                self.model.geom_contype[geom] = 2 * shown
                self.model.geom_conaffinity[geom] = 3 * shown
                self.model.geom_rgba[geom] = (*RGB[item.colour], 1) if shown and item else 0
        if self.family == 'touch':
            mocap = self.model.body('wall').mocapid[0]
            wall = self.episode.wall
            self.data.mocap_pos[mocap] = (0, 0, -1) if wall is None else (
                wall, 0, WALL_HALF_SIZE[2])

    def apply(self, action: np.ndarray) -> StepResult:
        """Execute one control step of 50 ms.

        Args:
            action: (4,) dx, dy, dz and gripper, each in [-1, 1] (clipped).  1 moves the hand
                target by 40 mm; the gripper's is a position, 1 closed, -1 open.

        Raises:
            UnsafeActionError: wrong shape, or not finite.
            ConfigError: the episode is over and needs ``reset``.
        """
        action = checked_action(action)
        check_not_over(self.truncated or self.step_count >= self.task.step_limit, self.step_count)
        old_target, old_fingers = self._target, self._fingers
        hand = self.position
        target = np.clip(old_target + ACTION_SCALE * action[:3], hand - MAX_LEAD, hand + MAX_LEAD)
        self._target = np.clip(target, arm.WORKSPACE_LOW, arm.WORKSPACE_HIGH)
        wish = 0.5 * (1.0 - action[3]) * arm.FINGER_TRAVEL
        self._fingers = old_fingers + np.clip(wish - old_fingers, -FINGER_STEP, FINGER_STEP)
        self._move(np.append(arm.inverse(old_target), [old_fingers] * 2),
                   np.append(arm.inverse(self._target), [self._fingers] * 2))
        self.step_count += 1
        self._mujoco.mj_forward(self.model, self.data)
        self.judge.finish_control_step(self.position, self.opening, self.objects, self._resting)
        return StepResult(self.success, self.step_count, self.truncated)

    def _move(self, start: np.ndarray, end: np.ndarray) -> None:
        speed = (end - start) / CONTROL_DT
        lead = speed * LAGS
        for piece in range(1, SLICES + 1):
            self.data.ctrl[:] = start + (end - start) * (piece / SLICES) + lead
            self._slide_objects(self.step_count + piece / SLICES)
            self._mujoco.mj_step(self.model, self.data, PHYSICS_STEPS)
            self._touch()

    def track(self, target: np.ndarray, opening: float, velocity: np.ndarray,
              seconds: float) -> StepResult:
        """Go to an absolute target (see ``Robot.track``)."""
        place, opening, velocity = checked_target(target, opening, velocity, seconds)
        check_not_over(self.truncated or self.step_count >= self.task.step_limit, self.step_count)
        clock, tracking = self._clock, self._tracking
        tracking.aim(self.position, place, velocity, opening, seconds)
        for ahead in clock.due(seconds):
            if clock.at_control_step(SLICES):
                self._between(clock)
            self.data.ctrl[:] = tracking.command(ahead)
            self._mujoco.mj_step(self.model, self.data)
        return StepResult(self.success, self.step_count, self.truncated)

    def _between(self, clock: PhysicsClock) -> None:
        """What ``apply`` does between its slices and control steps."""
        if clock.steps:
            self._touch()
        if clock.steps and clock.at_control_step():
            self.step_count = clock.control_steps
            self._mujoco.mj_forward(self.model, self.data)
            self.judge.finish_control_step(self.position, self.opening, self.objects,
                                           self._resting)
        self._slide_objects(clock.steps / clock.per_control_step + 1 / SLICES)

    def hand_state(self) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity of the hand (see ``Robot.hand_state``)."""
        return hand_state(self.model, self.data, ('site', self._tip), self._clock.owed)

    def _slide_objects(self, steps: float) -> None:
        for slide in self.episode.slides:
            start = self.episode.items[slide.item].position
            mocap = self.model.body_mocapid[self._bodies[slide.item]]
            self.data.mocap_pos[mocap, :2] = slide_position(start[:2], slide, np.array(steps))

    @property
    def _resting(self) -> bool:
        goal = self.episode.goals[0]
        return all(np.allclose(self.objects[goal, :2], slide.end)
                   for slide in self.episode.slides if slide.item == goal)

    def _touch(self) -> None:
        stage = self.judge.stage
        self.judge.touch(self.position, self.objects)
        if self.judge.stage > stage and len(self.episode.goals) > 1:  # light the lamp
            body = self._bodies[self.episode.goals[stage]]
            first = self.model.body_geomadr[body]
            geoms = slice(first, first + self.model.body_geomnum[body])
            visible = self.model.geom_rgba[geoms, 3:] > 0
            self.model.geom_rgba[geoms] = visible * np.array([*RGB[LAMP], 1.0])

    @property
    def objects(self) -> np.ndarray:
        """Centres (M, 3) of the objects in metres."""
        return np.array(self.data.xpos[self._bodies[:len(self.episode.items)]])

    def privileged(self) -> Privileged:
        """The labels of this instant.

        Targets are touch points in the reach and touch tasks, cube and bowl centres elsewhere;
        colours and shapes are indices into ``objects.COLOURS`` and ``objects.SHAPES``, that of a
        touched cube is a lamp's.
        """
        episode, objects, stage = self.episode, self.objects, self.judge.stage
        shapes = np.array([item.shape for item in episode.items])
        colours = np.array([item.colour for item in episode.items])
        held = False
        if self.family == 'touch':
            if len(episode.goals) > 1:
                colours[list(episode.goals[:stage])] = LAMP
            goals = list(episode.goals[min(stage, len(episode.goals) - 1):])
            points = touch_points(objects[goals], shapes[goals])
        else:
            cube = objects[episode.goals[0]]
            held = bool(self.opening < HELD_OPENING
                        and np.linalg.norm(cube - self.position) < HELD_DISTANCE)
            goals = list(episode.goals[1:] if held and len(episode.goals) > 1 else episode.goals)
            points = objects[goals]
        return Privileged(points[[0, -1]], objects, colours, shapes, held)

    def expert_action(self) -> np.ndarray:
        """The scripted expert's action (4,) for this instant."""
        return expert_action(self.task.name, self.position, self.privileged())

    def demonstrate(self, noise: np.ndarray) -> np.ndarray:
        """Execute one step of the expert plus ``noise`` (4,); return the clean label (4,)."""
        label = self.expert_action()
        self.apply(label + noise)
        return label.astype(np.float32)

    def observe(self) -> RobotObservation:
        """Read the cameras, the joints and the hand."""
        return replace(self.sense(),
                       images={camera: self._cameras.render(camera) for camera in CAMERAS})

    def pictures(self) -> Callable[[str], np.ndarray]:
        """Camera -> its image of this instant (see ``Robot.pictures``)."""
        state = self._frozen.keep(self.data)
        return lambda camera: self._cameras.render(camera, self._frozen.shown(state))

    def sense(self) -> RobotObservation:
        """Read the joints and the hand."""
        return RobotObservation(
            images={},
            ee_position=self.position,
            gripper_opening=self.opening,
            joint_names=self.joint_names,
            joint_positions=np.array(self.data.qpos[:7]),
            time=float(self.data.time))

    def render(self, camera: str = 'front') -> np.ndarray:
        """One camera's image (H, W, 3) uint8 RGB of this instant."""
        return self._cameras.render(camera)

    def project(self, points: np.ndarray, camera: str) -> np.ndarray:
        """Column, row (pixels) and depth (metres) (..., 3) of world points (..., 3)."""
        return self._cameras.project(points, camera)

    def close(self) -> None:
        """Free the OpenGL context."""
        self._cameras.close()


def _import_mujoco() -> Any:
    try:  # MuJoCo reads the choice of the OpenGL library once, at import
        graphics.choose_backend()
    except MissingDependencyError:  # state-only use needs no OpenGL
        pass
    try:
        import mujoco
    except ImportError as error:
        raise MissingDependencyError(
            f'the simulator needs MuJoCo ({error}): {how_to_install("mujoco")}') from error
    return mujoco
