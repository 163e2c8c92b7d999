# SPDX-License-Identifier: Apache-2.0
"""The backend seam: a policy family behind one call.

A backend knows its checkpoint, its preprocessing and its decoder.  It does not know which pruner
runs: it gets a ``TokenSelector`` (core/token_selector.py) that says where to cut, which signals to
capture and, when asked at the cut, which visual tokens stay.
"""
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import Observation, PolicySpec


@dataclass(frozen=True)
class Prediction:
    """Answer of one model run.

    Attributes:
        actions: (action_horizon, D) float64, un-normalised to the units of the spec.
        kept: per image, sorted kept indices (all of them when nothing was cut).
        stages_ms: ``preprocess``, ``vision``, ``decoder``, ``select``, ``head``.
        flops: multiply-adds of the decoder pass.
        native: see ``ActionChunk.native``.
    """

    actions: np.ndarray
    kept: tuple[np.ndarray, ...]
    stages_ms: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0
    native: np.ndarray | None = None


class Backend(ABC):
    """One loaded policy.

    Attributes:
        spec: what it needs and gives.
        memory: one line for the log about the memory it takes; may be empty.
    """

    spec: PolicySpec
    memory: str = ''

    @abstractmethod
    def predict_action_chunk(self, observation: Observation,
                             selector: TokenSelector) -> Prediction:
        """Run the model once.

        Raises:
            AnswerError: the model ran, its answer is no action (e.g. a token outside their range).
            BackendError: the model cannot run.
        """

    def example_observation(self) -> Observation:
        """Return an input that the policy accepts (warm-up, benchmarks): noise, zero state."""
        random = np.random.default_rng(0)
        return Observation(
            images={one.role: random.integers(0, 256, (one.height, one.width, 3), dtype=np.uint8)
                    for one in self.spec.cameras},
            state=np.zeros(len(self.spec.state_names)), instruction='warm up', stamp_ns=0)

    def reset(self) -> None:
        """Forget per-episode state (most backends have none)."""

    def close(self) -> None:
        """Free device memory."""
