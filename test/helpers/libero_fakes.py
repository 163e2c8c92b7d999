# SPDX-License-Identifier: Apache-2.0
"""A LIBERO that needs no simulator: the hand goes where it is told, the pictures are squares.

It draws its fixtures from numpy's global generator at every reset, a varying number of values, as
the real one does, and writes down everything that it is told.
"""
from importlib.machinery import ModuleSpec
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

STATES = 5
CAMERAS = ('agentview', 'robot0_eye_in_hand')


class Sensor:
    """Draws one camera: its lower right quarter is bright, the rest says which camera it is."""

    __modality__ = 'image'

    def __init__(self, env: 'FakeEnv', level: int):
        self.env, self.level, self.drawn = env, level, 0

    def __call__(self, cache: Any) -> np.ndarray:
        """Draw."""
        self.drawn += 1
        image = np.full((self.env.size, self.env.size, 3), self.level, np.uint8)
        image[self.env.size // 2:, self.env.size // 2:] = 250
        return image


class FakeEnv:
    """``OffScreenRenderEnv``; ``made`` holds all of them."""

    made: list['FakeEnv'] = []
    solved_after = 10**6  # control steps, those of settling included

    def __init__(self, bddl_file_name: str, camera_heights: int, camera_widths: int):
        assert camera_heights == camera_widths
        self.file, self.size = bddl_file_name, camera_heights
        self.told: list[Any] = []  # control steps of this episode
        self.fixtures: list[float] = []  # one per reset
        self.states: list[float] = []
        self.closed = False
        self.env = self
        np.random.uniform(size=3)  # a model is made, too
        FakeEnv.made.append(self)

    def seed(self, seed: int) -> None:
        """Seed everybody's generator."""
        np.random.seed(seed)

    def reset(self) -> None:
        """Place the fixtures; new sensors."""
        self.fixtures.append(np.random.uniform())
        np.random.uniform(size=int(10 * self.fixtures[-1]))
        self.sensors = [Sensor(self, 40), Sensor(self, 100)]
        self._observables = {f'{name}_image': SimpleNamespace(_sensor=one)
                             for name, one in zip(CAMERAS, self.sensors)}

    def modify_observable(self, name: str, attribute: str, modifier: Any) -> None:
        """Exchange a sensor."""
        assert attribute == 'sensor' and modifier.__modality__ == 'image'
        self._observables[name]._sensor = modifier
        modifier({})

    def set_init_state(self, state: np.ndarray) -> dict[str, Any]:
        """Place the objects."""
        self.states.append(float(state[0]))
        self.told, self.hand = [], np.array([0.1, 0.2, 0.3])
        return self._seen()

    def step(self, command: Any) -> Any:
        """Move a full scale of 5 cm."""
        self.told.append(command)
        self.hand = self.hand + 0.05 * np.array(command[:3])
        return self._seen(), 0.0, len(self.told) >= self.solved_after, {}

    def _seen(self) -> dict[str, Any]:
        half = np.sqrt(0.5)
        return {'robot0_eef_pos': self.hand, 'robot0_eef_quat': np.array([0.0, 0.0, half, half]),
                'robot0_gripper_qpos': np.array([0.04, -0.03]),
                **{name: one._sensor({}) for name, one in self._observables.items()}}

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class Suite:
    """A benchmark: every suite has the same tasks."""

    def __init__(self, name: str):
        self.name = name

    def get_task(self, index: int) -> Any:
        """Describe a task."""
        return SimpleNamespace(language='put the bowl on the plate', problem_folder=self.name,
                               bddl_file=f'task_{index}.bddl')

    def get_task_init_states(self, index: int) -> np.ndarray:
        """(STATES, 2): task * 100 + number."""
        return np.array([[100.0 * index + state, 0.0] for state in range(STATES)])


def install(monkeypatch: Any) -> None:
    """Make ``import libero`` find this one."""
    from vla_pruner_ros.evaluation.environments.libero.libero_tasks import SUITES
    FakeEnv.made = []
    parts: dict[str, dict[str, Any]] = {
        'libero': {}, 'libero.libero': {'get_libero_path': lambda name: f'/libero/{name}'},
        'libero.libero.benchmark': {'get_benchmark_dict': lambda: {
            name: lambda name=name: Suite(name) for name in SUITES}},
        'libero.libero.envs': {'OffScreenRenderEnv': FakeEnv}}
    for name, attributes in parts.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr('vla_pruner_ros.evaluation.environments.libero.libero_scene.'
                        'choose_backend', lambda: 'none')
    monkeypatch.setattr(FakeEnv, 'solved_after', 10**6)
    install_jpeg(monkeypatch)


def install_jpeg(monkeypatch: Any) -> None:
    """Let Pillow read JPEGs where simplejpeg is not installed: near enough, not to the bit."""
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        import io

        from PIL import Image
        fake = ModuleType('simplejpeg')
        fake.decode_jpeg = lambda data, *args, **named: np.asarray(  # type: ignore[attr-defined]
            Image.open(io.BytesIO(data)).convert('RGB'))
        monkeypatch.setitem(sys.modules, 'simplejpeg', fake)
