"""The backend seam: a policy family behind one call.

A backend knows its checkpoint, its preprocessing and its decoder.  It does not know which pruner
runs: it gets a ``TokenSelector`` (core/selection.py) that says where to cut, which signals to capture
and, when asked at the cut, which visual tokens stay.
"""
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Dict, Tuple

import numpy as np

from vla_pruner_ros.core.selection import TokenSelector
from vla_pruner_ros.core.types import Observation, PolicySpec


@dataclass(frozen=True)
class Prediction:
    """Answer of one model run.

    Attributes:
        actions: (action_horizon, D) float64, un-normalised to the units of the spec.
        kept: per image, sorted kept indices (all of them when nothing was cut).
        stages_ms: ``preprocess``, ``vision``, ``decoder``, ``select``, ``head``.
        flops: multiply-adds of the decoder pass.
    """

    actions: np.ndarray
    kept: Tuple[np.ndarray, ...]
    stages_ms: Dict[str, float] = field(default_factory=dict)
    flops: float = 0.0


class Backend(ABC):
    """One loaded policy."""

    spec: PolicySpec

    @abstractmethod
    def predict_action_chunk(self, observation: Observation,
                             selector: TokenSelector) -> Prediction:
        """Run the model once.

        Raises:
            BackendError: the model cannot answer (e.g. a token outside the action range).
        """

    def reset(self) -> None:
        """Forget per-episode state (most backends have none)."""

    def close(self) -> None:
        """Free device memory."""
