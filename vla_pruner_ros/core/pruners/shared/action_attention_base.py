# SPDX-License-Identifier: Apache-2.0
"""What methods share that remember where the action tokens looked.

They cannot prune before the memory is full (warm-up), ask for one unpruned step from time to time
(refresh), and take the memory over when only a setting changed.
"""
from dataclasses import replace

from torch import Tensor

from vla_pruner_ros.core.attention_memory import ActionMemory
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners.interface import (
    AttentionPruner,
    Feedback,
    Needs,
    Pruner,
    required,
    resolve_query,
    Signals,
)
from vla_pruner_ros.core.pruners.shared.token_ops import share
from vla_pruner_ros.core.whole_number import layer_number


class ActionAttentionPruner(AttentionPruner):
    """Base of the methods that use the smoothed action score.

    Args:
        prune_layer: K.
        semantic_query: prompt rows of the semantic score.
        action_layers: layers of the action attention, ``'latter_half'`` or ``'layer:N'``.
        memory: smoothing over past steps.
        scores: ``'history'``, ``'current'`` (the action rows of this step, at the layer before the
            cut: no memory, no warm-up) or ``'both'`` (their mean, each scaled to sum to one).
    """

    reference_layer = 3

    def __init__(self, prune_layer: int = 1, semantic_query: str = 'last_token',
                 action_layers: str = 'latter_half', memory: ActionMemory | None = None,
                 scores: str = 'history'):
        super().__init__(prune_layer, semantic_query)
        self.action_layers, self.scores = action_layers, scores
        self.memory = ActionMemory() if memory is None else memory

    @classmethod
    def check(cls, parameters: Parameters, prune_layer: int, decoder_layers: int,
              causal: bool) -> None:
        """Refuse action scores that the model cannot give, and layers that it does not have.

        Raises:
            ConfigError: current action scores of a model that has none before its cut, or action
                attention of a layer behind the last one.
        """
        if parameters.action_scores != 'history' and (causal or prune_layer == 0):
            why = ('this model decodes its actions one after another' if causal else
                   'a cut before layer 0 has no attention to read')
            raise ConfigError(f'action_scores is {parameters.action_scores!r}, but {why}; '
                              "accepted here: 'history'")
        layer = layer_number(parameters.action_layers)
        if (parameters.action_scores != 'current' and layer is not None
                and layer >= decoder_layers):
            raise ConfigError(f'action_layers is {parameters.action_layers!r}, but the decoder '
                              f'has layers 0 to {decoder_layers - 1}')

    @classmethod
    def build(cls, parameters: Parameters, prune_layer: int, causal: bool) -> Pruner:
        """Make one with a fresh memory; the preset must already be applied."""
        memory = ActionMemory(parameters.temporal_window, parameters.temporal_decay,
                              carry=parameters.unseen == 'carry',
                              refresh_period=parameters.refresh_period,
                              reversed_decay=parameters.reversed_decay)
        return cls(prune_layer, resolve_query(parameters.semantic_query, causal),
                   parameters.action_layers, memory, parameters.action_scores)

    @property
    def needs(self) -> Needs:
        """Prefill attention at the cut and action attention at the end."""
        return replace(self.action_needs, prefill_rows=self.semantic_query)

    @property
    def action_needs(self) -> Needs:
        """Action attention at the end, at the cut, or both."""
        return Needs(action_rows=None if self.scores == 'current' else self.action_layers,
                     action_at_cut=self.scores != 'history')

    def hold_reason(self) -> str:
        """``warm_up`` until the window is full, ``refresh`` when due."""
        return '' if self.scores == 'current' else self.memory.hold_reason()

    def action_score(self, signals: Signals) -> Tensor:
        """(M,) action score: smoothed over the past steps, of this step, or the mean of both."""
        if self.scores == 'history':
            return self.memory.smoothed(signals.image)
        current = required(signals.action_attention, 'action_attention', self.name).mean(dim=0)
        if self.scores == 'current':
            return current
        return 0.5 * (share(current) + share(self.memory.smoothed(signals.image)))

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
        """Keep the memory if it was read from the same layers, up to the last step."""
        if (isinstance(previous, ActionAttentionPruner) and previous.scores != 'current'
                and previous.action_layers == self.action_layers):
            self.memory.adopt(previous.memory)
