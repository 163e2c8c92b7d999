# SPDX-License-Identifier: Apache-2.0
"""Where things are in the language model's input, before and after visual rows were dropped."""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.types import VisualLayout


@dataclass(frozen=True)
class SequenceLayout:
    """Spans of one unpruned input sequence (original row = position id).

    Attributes:
        length: rows in all (T).
        visual: the visual tokens, image after image.
        text: rows of the instruction.  Its last row is the "last prompt token".
        action: rows whose hidden states give the actions: the action queries in parallel decoding,
            the last prompt row in autoregressive decoding; None returns every remaining row.

    Raises:
        BackendError: a span is empty, leaves the sequence, or overlaps the visual tokens.
    """

    length: int
    visual: VisualLayout
    text: slice
    action: slice | None = None

    def __post_init__(self):
        """Check the spans once, so that the hot path does not have to."""
        start, stop = self.visual.start, self.visual.stop
        if not 0 <= start < stop <= self.length:
            raise BackendError(f'visual rows {start}:{stop} do not fit into a sequence of '
                               f'{self.length} rows')
        for name, span in (('text', self.text), ('action', self.action)):
            if span is None:
                continue
            if not 0 <= span.start < span.stop <= self.length:
                raise BackendError(f'{name} rows {span.start}:{span.stop} do not fit into a '
                                   f'sequence of {self.length} rows')
            if span.start < stop and span.stop > start:
                raise BackendError(f'{name} rows {span.start}:{span.stop} overlap the visual rows '
                                   f'{start}:{stop}')

    def image(self, index: int) -> slice:
        """Rows of one image."""
        tokens = self.visual.tokens_per_image
        begin = self.visual.start + index * tokens
        return slice(begin, begin + tokens)

    def semantic(self, kind: str) -> slice:
        """Query rows of the semantic score: ``last_token``, ``text`` or ``all`` of the prompt."""
        if kind == 'last_token':
            return slice(self.text.stop - 1, self.text.stop)
        if kind == 'text':
            return self.text
        if kind == 'all':
            return slice(0, max(self.text.stop, self.visual.stop))
        raise BackendError(f"semantic query {kind!r} is not one of 'last_token', 'text', 'all'")

    def remaining(self, kept: Sequence[Tensor], device: torch.device) -> Tensor:
        """Original rows (n,) that remain when ``kept`` (sorted, per image) stay; ascending."""
        parts: list[Tensor] = [torch.arange(self.visual.start, device=device)]
        for index, one in enumerate(kept):
            parts.append(one.to(device) + self.image(index).start)
        parts.append(torch.arange(self.visual.stop, self.length, device=device))
        return torch.cat(parts)

    def shifted(self, span: slice, present: int) -> slice:
        """Where ``span`` (outside the visual rows) lies when ``present`` rows remain."""
        offset = self.length - present if span.start >= self.visual.stop else 0
        return slice(span.start - offset, span.stop - offset)

    def columns(self, present: int) -> slice:
        """Where the remaining visual rows lie when ``present`` rows remain."""
        return slice(self.visual.start, self.visual.stop - (self.length - present))
