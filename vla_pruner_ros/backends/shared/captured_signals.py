# SPDX-License-Identifier: Apache-2.0
"""What a pass captures for the token-selection method, whatever route computes the pass."""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.pruners.interface import Feedback, Signals
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.whole_number import layer_number


def check_cut(selector: TokenSelector, layers: int) -> int | None:
    """Return the layer to cut before, or None.

    Raises:
        BackendError: the layer does not exist, or signals are wanted from before the first one.
    """
    cut, needs = selector.cut_layer, selector.needs
    if cut is None:
        return None
    if not 0 <= cut < layers:
        raise BackendError(f'cannot cut before layer {cut}: the decoder has layers '
                           f'0..{layers - 1}')
    if cut == 0 and (needs.prefill_rows or needs.text_states or needs.attention_output
                     or needs.action_at_cut):
        raise BackendError('a cut before layer 0 has no attention to read; use a pruner that '
                           'needs only embeddings, or a prune_layer of at least 1')
    return cut


@dataclass
class Captured:
    """What was seen of layer K-1 (T rows, V of them visual); None where nobody asked.

    Attributes:
        prefill: (1, H, R, V) attention of the semantic rows to the visual columns.
        action: (1, H, A, V) attention of the action rows to the visual columns.
        states: (1, T, D) hidden states that enter the layer.
        output: (1, V, D) attention output of the visual rows.
    """

    prefill: Tensor | None = None
    action: Tensor | None = None
    states: Tensor | None = None
    output: Tensor | None = None


def build_signals(sequence: SequenceLayout, selector: TokenSelector, embeds: Tensor,
                  captured: Captured) -> list[Signals]:
    """One ``Signals`` per image.

    Args:
        sequence: spans of the unpruned sequence.
        selector: asks, and counts the steps.
        embeds: (1, T, D) input embeddings.
        captured: what was asked for of the layer before the cut.
    """
    def mean(attention: Tensor | None) -> Tensor | None:
        return None if attention is None else attention[0].mean(0)  # over heads

    visual, states, output = sequence.visual, captured.states, captured.output
    semantic, acting = mean(captured.prefill), mean(captured.action)
    result = []
    for index in range(visual.images):
        span = sequence.image(index)
        local = slice(span.start - visual.start, span.stop - visual.start)
        result.append(Signals(
            image=index, grid=(visual.rows, visual.cols), features=embeds[0, span],
            prefill_attention=None if semantic is None else semantic[:, local],
            text_states=None if states is None else states[0, sequence.text],
            visual_states=None if states is None else states[0, span],
            attention_output=None if output is None else output[0, local],
            action_attention=None if acting is None else acting[:, local],
            step=selector.step))
    return result


class ActionAttention:
    """Running mean of the attention of action rows to the visual tokens.

    Args:
        asked: ``None``, ``'latter_half'`` or ``'layer:N'`` (see ``Needs.action_rows``).
        layers: number of decoder layers.

    Raises:
        BackendError: no such layer, or an unknown request.
    """

    def __init__(self, asked: str | None, layers: int):
        self.layers = self._resolve(asked, layers)
        self._count = 0
        self._full: Tensor | None = None
        self._short: Tensor | None = None

    @staticmethod
    def _resolve(asked: str | None, layers: int) -> range:
        if asked is None:
            return range(0)
        if asked == 'latter_half':
            return range(layers // 2, layers)
        number = layer_number(asked)
        if number is None:
            raise BackendError(f"action rows {asked!r} are not 'latter_half' or 'layer:N'")
        if number >= layers:
            raise BackendError(f'action attention was asked at layer {number}, the decoder has '
                               f'layers 0..{layers - 1}')
        return range(number, number + 1)

    def add(self, attention: Tensor, full: bool) -> None:
        """Add (1, H, R, C) rows; ``full`` when all visual tokens are visible in that layer."""
        rows = attention[0].mean(0).sum(0)
        self._count += attention.shape[2]
        if full:
            self._full = rows if self._full is None else self._full + rows
        else:
            self._short = rows if self._short is None else self._short + rows

    def feedback(self, sequence: SequenceLayout, kept: Sequence[Tensor]) -> list[Feedback]:
        """Mean per kept token and image; an empty list when no rows were asked for.

        Raises:
            BackendError: rows were asked for, but no action token was computed.
        """
        if not self.layers:
            return []
        if not self._count:
            raise BackendError('action attention was asked for, but the pass had no action rows')
        tokens = sequence.visual.tokens_per_image
        total = torch.zeros(())
        if self._full is not None:
            flat = torch.cat([one + index * tokens for index, one in enumerate(kept)])
            total = self._full[flat.to(self._full.device)]
        if self._short is not None:
            total = self._short if self._full is None else total + self._short
        parts = torch.split(total / self._count, [one.numel() for one in kept])
        return [Feedback(image=index, kept=one, action_attention=part, tokens=tokens)
                for index, (one, part) in enumerate(zip(kept, parts))]
