"""What methods share that remember where the action tokens looked.

They cannot prune before the memory is full (warm-up), ask for one unpruned step from time to time
(refresh), and take the memory over when only a setting changed.
"""
from typing import Optional

from torch import Tensor

from vla_pruner_ros.core.parameters import Parameters
from vla_pruner_ros.core.pruners.base import (
    AttentionPruner,
    Feedback,
    Needs,
    Pruner,
    resolve_query,
    Signals,
)
from vla_pruner_ros.core.temporal import ActionMemory


class ActionAttentionPruner(AttentionPruner):
    """Base of the methods that use the smoothed action score.

    Args:
        prune_layer: K.
        semantic_query: prompt rows of the semantic score.
        action_layers: layers of the action attention, ``'latter_half'`` or ``'layer:N'``.
        memory: smoothing over past steps.
    """

    reference_layer = 3

    def __init__(self, prune_layer: int = 1, semantic_query: str = 'last_token',
                 action_layers: str = 'latter_half', memory: Optional[ActionMemory] = None):
        super().__init__(prune_layer, semantic_query)
        self.action_layers = action_layers
        self.memory = ActionMemory() if memory is None else memory

    @classmethod
    def build(cls, parameters: Parameters, prune_layer: int, causal: bool) -> Pruner:
        """Make one with a fresh memory; the preset must already be applied."""
        memory = ActionMemory(parameters.temporal_window, parameters.temporal_decay,
                              carry=parameters.unseen == 'carry',
                              refresh_period=parameters.refresh_period)
        return cls(prune_layer, resolve_query(parameters.semantic_query, causal),
                   parameters.action_layers, memory)

    @property
    def needs(self) -> Needs:
        """Prefill attention at the cut and action attention at the end."""
        return Needs(prefill_rows=self.semantic_query, action_rows=self.action_layers)

    def hold_reason(self) -> str:
        """``warm_up`` until the window is full, ``refresh`` when due."""
        return self.memory.hold_reason()

    def action_score(self, signals: Signals) -> Tensor:
        """(M,) smoothed action score of the past steps."""
        return self.memory.smoothed(signals.image)

    def observe(self, feedback: Feedback) -> None:
        """Remember one image's action attention."""
        self.memory.observe(feedback.image, feedback.kept, feedback.action_attention,
                            feedback.tokens)

    def end_step(self) -> None:
        """Count the model run."""
        self.memory.end_step()

    def reset(self) -> None:
        """Forget the past steps."""
        self.memory.clear()

    def inherit(self, previous: Pruner) -> None:
        """Keep the memory if it was read from the same layers."""
        if (isinstance(previous, ActionAttentionPruner)
                and previous.action_layers == self.action_layers):
            self.memory.adopt(previous.memory)
