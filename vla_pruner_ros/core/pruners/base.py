"""The pruner seam: what a token-selection method may ask for, and what it must answer.

A pruner never sees a model, a cache or a topic.  It says which signals it ``needs`` (nothing else is
computed), gets them per image, and returns which visual tokens to keep.  After the step it is shown
the attention that the action tokens paid.  Methods that need only a score derive from
``ScorePruner``.
"""
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Optional, Tuple

from torch import Tensor

#: Which query rows of the prefill give the semantic score.
SEMANTIC_QUERIES = ('last_token', 'text', 'all')


@dataclass(frozen=True)
class Needs:
    """Signals that a backend must capture for a pruner.

    Attributes:
        prefill_rows: None, or one of ``SEMANTIC_QUERIES``: attention rows at layer
            ``prune_layer - 1``.
        text_states: hidden states of the text and visual rows entering layer ``prune_layer - 1``
            (SparseVLM's raters); requires ``prefill_rows='text'``.
        attention_output: attention output (after ``o_proj``) of the visual rows at layer
            ``prune_layer - 1`` (FlashVLA).
        action_rows: None, ``'latter_half'`` (mean over the latter half of the decoder layers) or
            ``'layer:N'`` (0-based): attention of the action tokens, given back in ``observe``.
    """

    prefill_rows: Optional[str] = None
    text_states: bool = False
    attention_output: bool = False
    action_rows: Optional[str] = None


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
        step: number of policy calls since the last reset, from 0.
    """

    image: int
    grid: Tuple[int, int]
    features: Tensor
    prefill_attention: Optional[Tensor] = None
    text_states: Optional[Tensor] = None
    visual_states: Optional[Tensor] = None
    attention_output: Optional[Tensor] = None
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
        """Return ``budget`` sorted int64 indices in [0, M) of the tokens to keep (0 < budget < M)."""

    def observe(self, feedback: Feedback) -> None:
        """Take in the action attention of one image; called once per image after each step."""

    def end_step(self) -> None:
        """Close a model step (after all images were observed); reused steps do not come here."""

    def reset(self) -> None:
        """Forget everything carried over steps (new episode, instruction, camera, clock jump)."""


class ScorePruner(Pruner):
    """Keeps the top ``budget`` tokens of one score."""

    @abstractmethod
    def score(self, signals: Signals) -> Tensor:
        """Return the (M,) score, higher is kept."""

    def select(self, signals: Signals, budget: int) -> Tensor:
        """Top-``budget`` by score, ascending indices (ties: lower index first)."""
        from vla_pruner_ros.core.pruners.ops import top_k
        return top_k(self.score(signals), budget)
