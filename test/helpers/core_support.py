# SPDX-License-Identifier: Apache-2.0
"""Shared by the core tests: the table of methods, signals, and a backend that computes nothing."""
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vla_pruner_ros.core.backend_interface import Backend, Prediction
from vla_pruner_ros.core.parameter_declarations import Parameters, PRUNERS
from vla_pruner_ros.core.pruners import make_pruner
from vla_pruner_ros.core.pruners.interface import Feedback, Needs, Pruner, Signals
from vla_pruner_ros.core.types import CameraSpec, Observation, PolicySpec

#: Every method that really selects; each core invariant is tested over all of them.
SELECTING = tuple(name for name in PRUNERS if name != 'none')

#: What each method asks of a causal model, by hand from its paper.
NEEDS = {
    'none': Needs(),
    'random': Needs(),
    'uniform': Needs(),
    'fastv': Needs(prefill_rows='last_token'),
    'sparsevlm': Needs(prefill_rows='text', text_states=True),
    'divprune': Needs(),
    'prefill_only': Needs(prefill_rows='last_token'),
    'action_only': Needs(action_rows='latter_half'),
    'score_fusion': Needs(prefill_rows='last_token', action_rows='latter_half'),
    'flashvla': Needs(attention_output=True),
    'vla_pruner': Needs(prefill_rows='last_token', action_rows='latter_half'),
}


def make_spec(**changes: Any) -> PolicySpec:
    """One 8 x 8-token camera, deltas and gripper out, 20 Hz, chunks of 8."""
    values: dict[str, Any] = {
        'name': 'toy', 'cameras': (CameraSpec('corner', 32, 32),),
        'state_names': ('x', 'y', 'z', 'gripper'), 'action_names': ('dx', 'dy', 'dz', 'gripper'),
        'action_kind': 'ee_delta', 'action_horizon': 8, 'control_dt': 0.05, 'grid_rows': 8,
        'grid_cols': 8, 'decoder_layers': 4, 'gripper_index': 3}
    return PolicySpec(**{**values, **changes})


def make_signals(rows: int = 8, cols: int = 8, width: int = 16, seed: int = 0, image: int = 0,
                 step: int = 0, text: int = 5) -> Signals:
    """Random signals with everything a method may ask for."""
    random = torch.Generator().manual_seed(seed)
    tokens = rows * cols

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    return Signals(image=image, grid=(rows, cols), features=draw(tokens, width),
                   prefill_attention=draw(text, tokens).softmax(-1), text_states=draw(text, width),
                   visual_states=draw(tokens, width), attention_output=draw(tokens, width),
                   step=step)


def give_signals(features: Any, **values: Any) -> Signals:
    """Signals of one image of a single row of tokens, from plain lists."""
    given = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    wide = torch.tensor(features, dtype=torch.float64)
    return Signals(image=0, grid=(1, len(wide)), features=wide, **given)


def show(pruner: Pruner, attention: Sequence[float], kept: Sequence[int] | None = None,
         tokens: int | None = None, image: int = 0) -> None:
    """One model run with one image, seen by the pruner."""
    tokens = len(attention) if tokens is None else tokens
    indices = list(range(tokens)) if kept is None else list(kept)
    pruner.observe(Feedback(image, torch.tensor(indices),
                            torch.tensor(attention, dtype=torch.float64), tokens))
    pruner.end_step()


def ready_pruner(name: str, tokens: int, seed: int = 0, **changes: Any) -> Pruner:
    """A pruner that may cut now: memories are filled with random attention."""
    parameters = Parameters().changed({'pruner': name, 'seed': seed, **changes})
    pruner = make_pruner(parameters, make_spec(decoder_layers=32), causal=True)
    random = np.random.default_rng(seed)
    while pruner.hold_reason():
        show(pruner, random.random(tokens).tolist())
    return pruner


def observation(instruction: str = 'reach', stamp_ns: int = 0, grey: int = 100,
                **changes: Any) -> Observation:
    """A grey image, a still arm."""
    values: dict[str, Any] = {
        'images': {'corner': np.full((32, 32, 3), grey, dtype=np.uint8)},
        'state': np.zeros(4), 'instruction': instruction, 'stamp_ns': stamp_ns,
        'pose': ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))}
    return Observation(**{**values, **changes})


class ToyBackend(Backend):
    """Answers ``actions`` and lets the pruner choose among random signals."""

    def __init__(self, spec: PolicySpec | None = None,
                 actions: Callable[[int], np.ndarray] | None = None):
        self.spec = spec or make_spec()
        self.calls = 0
        self.resets = 0
        self.fail: Exception | None = None
        self.selectors: list[Any] = []
        self._actions = actions or (lambda call: self.chunk(0.01))

    def chunk(self, value: float, gripper: float = 1.0) -> np.ndarray:
        """The same motion in every row; its row number is in the last motion column."""
        actions = np.full((self.spec.action_horizon, len(self.spec.action_names)), value)
        if self.spec.gripper_index is not None:
            actions[:, self.spec.gripper_index] = gripper
        return actions

    def predict_action_chunk(self, observation: Observation, selector: Any) -> Prediction:
        """Count, maybe fail, choose, feed back."""
        self.calls += 1
        self.selectors.append(selector)
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        rows, cols = self.spec.grid_rows, self.spec.grid_cols
        images = range(len(self.spec.cameras))
        kept = [torch.arange(rows * cols) for _ in images]
        if selector.cut_layer is not None:
            kept = selector.choose([make_signals(rows, cols, image=image, step=selector.step)
                                    for image in images])
        selector.feedback([Feedback(image, one, torch.arange(len(one)) / 100.0, rows * cols)
                           for image, one in zip(images, kept)])
        return Prediction(self._actions(self.calls), tuple(one.numpy() for one in kept),
                          {'decoder': 1.0}, flops=5.0)

    def reset(self) -> None:
        """Count."""
        self.resets += 1
