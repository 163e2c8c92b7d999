# SPDX-License-Identifier: Apache-2.0
"""Fakes of the runtime tests: a policy whose answers can be computed by hand, and messages."""
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from vla_pruner_ros.core.backend_interface import Backend, Prediction
from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners.interface import Feedback, Signals
from vla_pruner_ros.core.types import CameraSpec, PolicySpec

SECOND = 10**9
KNOWN = ('reach', 'push', 'stop')


def make_spec(**changes: Any) -> PolicySpec:
    """One 4 x 4-token camera, hand position and gripper in, deltas and gripper out, 20 Hz."""
    values: dict[str, Any] = {
        'name': 'fake', 'cameras': (CameraSpec('corner', 8, 8),),
        'state_names': ('ee_x', 'ee_y', 'ee_z', 'gripper'),
        'action_names': ('dx', 'dy', 'dz', 'gripper'), 'action_kind': 'ee_delta',
        'action_horizon': 8, 'control_dt': 0.05, 'grid_rows': 4, 'grid_cols': 4,
        'decoder_layers': 2, 'gripper_index': 3, 'max_instruction_words': 8}
    return PolicySpec(**{**values, **changes})


class FakeBackend(Backend):
    """Moves along x by the mean brightness of the tokens kept; attends to bright tokens.

    A white image moves 0.01 per row.  ``fail`` is raised by the next call; ``value`` replaces x.
    """

    def __init__(self, spec: PolicySpec | None = None):
        self.spec = spec or make_spec()
        self.calls: list[Any] = []
        self.fail: Exception | None = None
        self.value: float | None = None

    def example_observation(self) -> Any:
        """Say a word that it knows."""
        return replace(super().example_observation(), instruction=KNOWN[0])

    def predict_action_chunk(self, observation: Any, selector: Any) -> Prediction:
        """Answer with numbers that a test can check by hand."""
        self.calls.append(observation)
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        if not set(observation.instruction.split()) & set(KNOWN):
            raise InputError('unknown_instruction', f'{observation.instruction!r}; known words: '
                                                    f'{", ".join(KNOWN)}')
        bright = [tokens(image) for image in observation.images.values()]
        kept = [torch.arange(16) for _ in bright]
        if selector.cut_layer is not None:
            kept = selector.choose([Signals(index, (4, 4), one[:, None])
                                    for index, one in enumerate(bright)])
        selector.feedback([Feedback(index, chosen, one[chosen], 16)
                           for index, (one, chosen) in enumerate(zip(bright, kept))])
        mean = np.mean([one[chosen].mean() for one, chosen in zip(bright, kept)])
        actions = np.zeros((self.spec.action_horizon, len(self.spec.action_names)))
        actions[:, 0] = mean / 25500 if self.value is None else self.value
        return Prediction(actions, tuple(one.numpy() for one in kept),
                          {'preprocess': 1.0, 'vision': 2.0, 'decoder': 3.0, 'select': 0.5,
                           'head': 1.0}, 100.0)


def tokens(image: np.ndarray) -> torch.Tensor:
    """Mean brightness (16,) of the 4 x 4 blocks of an image."""
    rows, cols = image.shape[0] // 4, image.shape[1] // 4
    grey = image[:4 * rows, :4 * cols].mean(axis=2).reshape(4, rows, 4, cols)
    return torch.from_numpy(grey.mean(axis=(1, 3)).reshape(16))


def make_parameters(**changes: Any) -> Parameters:
    """Parameters of the fake: no pruning, topics as in the messages below."""
    return Parameters().changed({'pruner': 'none', 'token_budget': 0,
                                 'camera_topics': ['corner=/camera/image_raw'], **changes})


def header(stamp_ns: int, frame: str = '') -> SimpleNamespace:
    """A std_msgs/Header."""
    return SimpleNamespace(stamp=SimpleNamespace(sec=stamp_ns // SECOND,
                                                 nanosec=stamp_ns % SECOND), frame_id=frame)


def image(stamp_ns: int, value: int = 255, size: int = 8) -> SimpleNamespace:
    """A grey rgb8 Image."""
    return SimpleNamespace(header=header(stamp_ns), height=size, width=size, encoding='rgb8',
                           is_bigendian=0, step=3 * size, data=bytes([value]) * (3 * size * size))


def joints(stamp_ns: int, names: Sequence[str] = ('gripper',),
           positions: Sequence[float] = (0.5,)) -> SimpleNamespace:
    """A JointState."""
    return SimpleNamespace(header=header(stamp_ns), name=list(names), position=list(positions))


def pose(stamp_ns: int, xyz: Sequence[float] = (0.1, 0.2, 0.3),
         turn: Sequence[float] = (0.0, 0.0, 0.0, 1.0), frame: str = 'base') -> SimpleNamespace:
    """A PoseStamped."""
    point = SimpleNamespace(x=xyz[0], y=xyz[1], z=xyz[2])
    quaternion = SimpleNamespace(x=turn[0], y=turn[1], z=turn[2], w=turn[3])
    return SimpleNamespace(header=header(stamp_ns, frame),
                           pose=SimpleNamespace(position=point, orientation=quaternion))
