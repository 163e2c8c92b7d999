# SPDX-License-Identifier: Apache-2.0
"""The pruner seam: what a token-selection method may ask for, and what it must answer.

A pruner never sees a model, a cache or a topic.  It says which signals it ``needs`` (nothing else
is computed), gets them per image, and returns which visual tokens to keep.  After the step it is
shown the attention that the action tokens paid.  Methods that need only a score derive from
``ScorePruner``.
"""
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners.shared.token_ops import top_k


@dataclass(frozen=True)
class Needs:
    """Signals that a backend must capture for a pruner.

    Attributes:
        prefill_rows: None, ``'last_token'``, ``'text'`` or ``'all'``: attention rows of the prompt
            at layer ``prune_layer - 1``.
        text_states: hidden states of the text and visual rows entering layer ``prune_layer - 1``
            (SparseVLM's raters); requires ``prefill_rows='text'``.
        attention_output: attention output (after ``o_proj``) of the visual rows at layer
            ``prune_layer - 1`` (FlashVLA).
        action_rows: None, ``'latter_half'`` (mean over the latter half of the decoder layers) or
            ``'layer:N'`` (0-based): attention of the action tokens, given back in ``observe``.
        action_at_cut: attention of the action rows of THIS step at layer ``prune_layer - 1``; only
            models that decode their actions in parallel have these rows in the prompt's pass.
    """

    prefill_rows: str | None = None
    text_states: bool = False
    attention_output: bool = False
    action_rows: str | None = None
    action_at_cut: bool = False


@dataclass(frozen=True)
class Signals:
    """Signals of one image at the cut (M = its visual tokens, D = hidden size).

    Attributes:
        image: index of the image.
        grid: (rows, cols) of its visual tokens.
        features: (M, D) projector output embeddings.
        prefill_attention: (R, M) head-averaged attention of the asked rows to the visual tokens.
        text_states: (R, D) hidden states of the text rows.
        visual_states: (M, D) hidden states of the visual rows (with ``text_states``).
        attention_output: (M, D).
        action_attention: (A, M) head-averaged attention of the action rows to the visual tokens.
        step: number of policy calls since the last reset, from 0.
    """

    image: int
    grid: tuple[int, int]
    features: Tensor
    prefill_attention: Tensor | None = None
    text_states: Tensor | None = None
    visual_states: Tensor | None = None
    attention_output: Tensor | None = None
    action_attention: Tensor | None = None
    step: int = 0


@dataclass(frozen=True)
class Feedback:
    """What the action tokens looked at in the step that just ended, for one image.

    Attributes:
        image: index of the image.
        kept: (n,) sorted indices of the tokens that were visible.
        action_attention: (n,) attention mean over action tokens, heads and the asked layers, for
            exactly those tokens.
        tokens: M.
    """

    image: int
    kept: Tensor
    action_attention: Tensor
    tokens: int


class Pruner(ABC):
    """A visual-token selection method; holds only the state that its method carries over steps."""

    #: Name in the registry, also shown in diagnostics.
    name: ClassVar[str]
    #: Paper or origin, one line.
    source: ClassVar[str] = ''
    #: Prune layer of the paper on a decoder of 32 layers; 0 = before the first layer.
    reference_layer: ClassVar[int] = 0
    #: The method reads signals at layer ``prune_layer - 1``, so it cannot cut before layer 0.
    reads_decoder: ClassVar[bool] = False

    @classmethod
    def check(cls, parameters: Parameters, prune_layer: int, decoder_layers: int,
              causal: bool) -> None:
        """Refuse settings that this method cannot run with; the default accepts all.

        Args:
            parameters: snapshot, its preset applied.
            prune_layer: K, which exists in the decoder.
            decoder_layers: layers of the decoder.
            causal: the prefill runs under a causal mask.

        Raises:
            ConfigError: names the setting and what is accepted.
        """

    @classmethod
    def build(cls, parameters: Parameters, prune_layer: int, causal: bool) -> 'Pruner':
        """Make one from a parameter snapshot; ``causal`` tells the mask of the model."""
        return cls(prune_layer)

    def __init__(self, prune_layer: int = 0):
        """Cut before decoder layer ``prune_layer`` (0 = before the first layer)."""
        self.prune_layer = prune_layer

    @property
    def needs(self) -> Needs:
        """Signals wanted; the default wants none beyond the embeddings."""
        return Needs()

    def hold_reason(self) -> str:
        """Return why this step must run unpruned (``'warm_up'``, ``'refresh'``) or ``''``."""
        return ''

    @abstractmethod
    def select(self, signals: Signals, budget: int) -> Tensor:
        """Return the ``budget`` (0 < budget < M) ascending int64 indices of the tokens to keep."""

    def observe(self, feedback: Feedback) -> None:
        """Take in the action attention of one image; called once per image after each step."""

    def end_step(self) -> None:
        """Close a model step (after all images were observed); reused steps do not come here."""

    def reset(self) -> None:
        """Forget everything carried over steps (new episode, instruction, camera, clock jump)."""

    def inherit(self, previous: 'Pruner') -> None:
        """Take over what ``previous`` remembers, where that is still valid for this method."""


class ScorePruner(Pruner):
    """Keeps the top ``budget`` tokens of one score."""

    @abstractmethod
    def score(self, signals: Signals) -> Tensor:
        """Return the (M,) score, higher is kept."""

    def select(self, signals: Signals, budget: int) -> Tensor:
        """Top-``budget`` by score, ascending indices (ties: lower index first)."""
        return top_k(self.score(signals), budget)


class AttentionPruner(Pruner):
    """Reads prefill attention at layer ``prune_layer - 1``: the semantic score.

    ``S_vl[m] = mean over the asked prompt rows of A[i, m]`` (heads are averaged by the backend).
    """

    reads_decoder = True

    def __init__(self, prune_layer: int = 1, semantic_query: str = 'last_token'):
        """Read the rows named by ``semantic_query`` (see ``Needs.prefill_rows``)."""
        super().__init__(prune_layer)
        self.semantic_query = semantic_query

    @classmethod
    def build(cls, parameters: Parameters, prune_layer: int, causal: bool) -> 'Pruner':
        """Resolve ``auto``: an all-rows or text mean under a causal mask favours early patches."""
        return cls(prune_layer, resolve_query(parameters.semantic_query, causal))

    @property
    def needs(self) -> Needs:
        """Prefill attention of the asked rows."""
        return Needs(prefill_rows=self.semantic_query)

    def semantic_score(self, signals: Signals) -> Tensor:
        """(M,) semantic score."""
        return required(signals.prefill_attention, 'prefill_attention', self.name).mean(dim=0)


def resolve_query(semantic_query: str, causal: bool) -> str:
    """Turn ``auto`` into the rows that work: last token on causal models, text otherwise."""
    if semantic_query != 'auto':
        return semantic_query
    return 'last_token' if causal else 'text'


def required(signal: Tensor | None, what: str, pruner: str) -> Tensor:
    """Return a signal that the pruner asked for, or say that the backend left it out.

    Raises:
        BackendError: the signal is None.
    """
    if signal is None:
        raise BackendError(f'pruner {pruner!r} asked for {what} and the backend did not '
                           'capture it')
    return signal
