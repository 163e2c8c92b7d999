# SPDX-License-Identifier: Apache-2.0
"""What the unpruned model's action tokens look at: the yardstick for a pruner's choice."""
from collections.abc import Sequence

import numpy as np

from vla_pruner_ros.core.backend_interface import Backend
from vla_pruner_ros.core.pruners.interface import Feedback, Needs
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import Observation


class AttentionProbe(TokenSelector):
    """Cuts nothing, asks for the action attention and keeps it."""

    def __init__(self, tokens_per_image: int, action_layers: str = 'latter_half'):
        """Read ``action_layers`` as the parameter of that name says."""
        super().__init__(None, 0, tokens_per_image)
        self._layers = action_layers
        self.scores: dict[int, np.ndarray] = {}

    @property
    def needs(self) -> Needs:
        """Only the action rows."""
        return Needs(action_rows=self._layers)

    def feedback(self, feedbacks: Sequence[Feedback]) -> None:
        """Keep the scores per image."""
        for one in feedbacks:
            self.scores[one.image] = one.action_attention.detach().cpu().double().numpy()


def action_attention(backend: Backend, observation: Observation,
                     action_layers: str) -> tuple[np.ndarray, ...]:
    """Run the model unpruned once more; per image (M,) action attention, () if it gives none."""
    probe = AttentionProbe(backend.spec.tokens_per_image, action_layers)
    backend.predict_action_chunk(observation, probe)
    return tuple(probe.scores[image] for image in sorted(probe.scores))
