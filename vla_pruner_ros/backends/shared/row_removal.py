# SPDX-License-Identifier: Apache-2.0
"""The hot path: one pass over a decoder in which visual rows are really removed before layer K.

What it knows: the decoder's layers, where the visual, text and action rows are, and a selector
that answers which visual tokens stay.  What it does not know: which method selects, images, words,
heads.  The whole of it, for a cut before layer K:

    for every layer:
        keys and values of all rows that enter
        layer K-1:   capture what the selector wants to see; cut: only the rows it keeps go on
        last layer:  trim: only the action rows go on
        attention output and feed-forward of the rows that go on

Removal is exact: position ids stay the original ones, kept rows keep their order, layers below K
remember all rows and the others only the kept ones.  Without a cut the pass is the decoder's own
``forward``, bit for bit.
"""
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vla_pruner_ros.backends.shared.attention_rows import attention_rows, causal_mask
from vla_pruner_ros.backends.shared.captured_signals import (
    ActionAttention,
    build_signals,
    Captured,
    check_cut,
)
from vla_pruner_ros.backends.shared.decoder import Decoder, DecoderLayer
from vla_pruner_ros.backends.shared.kv_cache import capacities, KvCache
from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.pruners.interface import Feedback
from vla_pruner_ros.core.token_selector import TokenSelector


@dataclass(frozen=True)
class PassResult:
    """Outcome of a prefill.

    Attributes:
        hidden: (1, R, D) normed hidden states of the action rows, or of all remaining rows.
        kept: per image, sorted indices of the visual tokens that stayed.
    """

    hidden: Tensor
    kept: tuple[Tensor, ...]


@dataclass(frozen=True)
class _Rows:
    """Rows inside the decoder: hidden states, their original row numbers and rotary factors."""

    x: Tensor        # (1, n, D)
    numbers: Tensor  # (n,)
    cos: Tensor      # (1, n, head_dim)
    sin: Tensor

    def pick(self, local: Tensor) -> '_Rows':
        """Return the rows at ``local``; positions travel with their rows."""
        return _Rows(self.x[:, local], self.numbers[local], self.cos[:, local], self.sin[:, local])


@dataclass(frozen=True)
class _Entered:
    """One layer after its first half: keys and values of all rows, queries of none yet."""

    layer: DecoderLayer
    rows: _Rows
    normed: Tensor  # (1, n, D)
    keys: Tensor    # (1, Hkv, n, head_dim)
    values: Tensor
    columns: slice  # of the visual rows that are present
    causal: bool

    def queries(self, span: slice) -> Tensor:
        """Rotated queries (1, H, R, head_dim) of the rows in ``span``."""
        rows = self.rows
        return self.layer.self_attn.queries(self.normed[:, span], rows.cos[:, span],
                                            rows.sin[:, span])

    def mask(self, numbers: Tensor) -> Tensor | None:
        """Which rows may be looked at by those with the original ``numbers``; None = all."""
        return causal_mask(numbers, self.rows.numbers) if self.causal else None

    def weights(self, queries: Tensor, numbers: Tensor) -> Tensor:
        """Attention (1, H, R, C) of query rows to the visual columns that are present."""
        return attention_rows(queries, self.keys, self.layer.self_attn.head_dim ** -0.5,
                              self.columns, self.mask(numbers))

    def weights_of(self, span: slice) -> Tensor:
        """Attention (1, H, R, C) of the rows in ``span`` to the visual columns present."""
        return self.weights(self.queries(span), self.rows.numbers[span])

    def output_of(self, span: slice) -> Tensor:
        """Attention output (1, R, D) of the rows in ``span``."""
        return self.layer.self_attn.attend(self.queries(span), self.keys, self.values,
                                           self.mask(self.rows.numbers[span]), False)


class PrunedPass:
    """One policy call: ``prefill``, then any number of ``decode`` steps, then ``feedback``.

    Args:
        decoder: the decoder, used read-only.
        sequence: spans of the unpruned input.
        selector: where to cut, what to capture, which tokens stay.
        causal: causal attention; False for parallel decoding.
        decode_room: decode rows to keep memory for; None = no key/value memory at all.
        trim: leave out rows that nothing reads in the last layer; default: only when there is a
            cut, because smaller matrix products may round differently from ``Decoder.forward``.

    Raises:
        BackendError: the cut or the asked rows do not exist in this decoder.
    """

    def __init__(self, decoder: Decoder, sequence: SequenceLayout, selector: TokenSelector,
                 causal: bool, decode_room: int | None = None, trim: bool | None = None):
        layers = len(decoder.layers)
        self._decoder, self._sequence, self._selector = decoder, sequence, selector
        self._causal, self._room = causal, decode_room
        self._cut_layer = check_cut(selector, layers)
        trims = (self._cut_layer is not None) if trim is None else trim
        self._trim_layer = layers - 1 if trims and sequence.action is not None else None
        self._needs = selector.needs
        self._actions = ActionAttention(self._needs.action_rows, layers)
        self._kept: tuple[Tensor, ...] = ()
        self._next = sequence.length  # position id of the next decoded row, whatever was dropped
        self.cache: KvCache | None = None

    # ---- the prompt ----

    @torch.no_grad()
    def prefill(self, embeds: Tensor) -> PassResult:
        """Run all layers over ``embeds`` (1, T, D), dropping visual rows before the cut layer.

        Raises:
            BackendError: another shape than the layout's, or a selector that breaks its promise.
        """
        rows = self._start(embeds)
        if self._cut_layer == 0:
            rows = rows.pick(self._cut(embeds, Captured()))
        for index, layer in enumerate(self._decoder.layers):
            entered = self._enter(index, layer, rows)
            going: Tensor | None = None  # local rows that go on; None = all
            if index + 1 == self._cut_layer:
                going = self._cut(embeds, self._capture(entered))
            elif index == self._trim_layer:
                going = self._trim(rows)
            rows = self._leave(index, entered, going)
        hidden = self._decoder.norm(rows.x)
        action = self._sequence.action
        if action is not None and self._trim_layer is None:
            hidden = hidden[:, self._sequence.shifted(action, hidden.shape[1])]
        return PassResult(hidden, self._kept)

    def _start(self, embeds: Tensor) -> _Rows:
        """Check the input, forget the pass before, make room; all rows, none removed."""
        sequence = self._sequence
        if embeds.dim() != 3 or embeds.shape[:2] != (1, sequence.length):
            raise BackendError(f'embeddings have shape {tuple(embeds.shape)}, the layout wants '
                               f'(1, {sequence.length}, hidden)')
        self._next = sequence.length
        self.cache = self._allocate(embeds)
        numbers = torch.arange(sequence.length, device=embeds.device)
        self._kept = (numbers[:sequence.visual.tokens_per_image],) * sequence.visual.images
        return _Rows(embeds, numbers, *self._decoder.rotary(numbers[None], embeds.dtype))

    def _enter(self, index: int, layer: DecoderLayer, rows: _Rows) -> _Entered:
        """First half of a layer: keys and values of all rows; the memory takes them."""
        normed = layer.input_layernorm(rows.x)
        keys, values = layer.self_attn.keys_values(normed, rows.cos, rows.sin)
        if self.cache is not None:
            self.cache.append(index, keys, values)
        columns = self._sequence.columns(rows.numbers.numel())
        return _Entered(layer, rows, normed, keys, values, columns, self._causal)

    def _capture(self, entered: _Entered) -> Captured:
        """What the selector wants to see of layer K-1, and nothing else."""
        needs, sequence = self._needs, self._sequence
        visual = slice(sequence.visual.start, sequence.visual.stop)
        captured = Captured()
        if needs.attention_output:
            captured.output = entered.output_of(visual)
        if needs.prefill_rows is not None:
            captured.prefill = entered.weights_of(sequence.semantic(needs.prefill_rows))
        if needs.action_at_cut and sequence.action is not None:
            captured.action = entered.weights_of(sequence.action)
        if needs.text_states:
            captured.states = entered.rows.x
        return captured

    def _cut(self, embeds: Tensor, captured: Captured) -> Tensor:
        """Ask the selector; the rows that remain, ascending."""
        signals = build_signals(self._sequence, self._selector, embeds, captured)
        self._kept = tuple(self._selector.choose(signals))
        return self._sequence.remaining(self._kept, embeds.device)

    def _trim(self, rows: _Rows) -> Tensor:
        """Return the action rows: nothing reads the other outputs of the last layer."""
        assert self._sequence.action is not None  # or there would be no trim layer
        span = self._sequence.shifted(self._sequence.action, rows.numbers.numel())
        return torch.arange(span.start, span.stop, device=rows.x.device)

    def _leave(self, index: int, entered: _Entered, going: Tensor | None) -> _Rows:
        """Second half of a layer: attention output and feed-forward of the rows that go on."""
        layer, rows, normed, mask = entered.layer, entered.rows, entered.normed, None
        if going is not None:
            rows, normed = rows.pick(going), normed[:, going]
            mask = entered.mask(rows.numbers)
        queries = layer.self_attn.queries(normed, rows.cos, rows.sin)
        if index in self._actions.layers and self._sequence.action is not None:
            span = (slice(None) if index == self._trim_layer else
                    self._sequence.shifted(self._sequence.action, rows.numbers.numel()))
            self._actions.add(entered.weights(queries[:, :, span], rows.numbers[span]),
                              full=self._sees_all(index))
        x = rows.x + layer.self_attn.attend(queries, entered.keys, entered.values, mask,
                                            self._causal and going is None)
        return replace(rows, x=x + layer.mlp(layer.post_attention_layernorm(x)))

    def _sees_all(self, index: int) -> bool:
        """Tell whether all visual tokens are visible in a layer."""
        return self._cut_layer is None or index < self._cut_layer

    def _allocate(self, embeds: Tensor) -> KvCache | None:
        """Memory for the prompt and ``decode_room`` rows; the sizes depend on the budget alone."""
        if self._room is None:
            return None
        full, visual, layers = self._sequence.length, self._sequence.visual, self._decoder.layers
        cut = len(layers) if self._cut_layer is None else self._cut_layer
        short = full - visual.images * (visual.tokens_per_image - self._selector.budget)
        rooms = capacities(len(layers), cut, full, short, self._room)
        return KvCache(self._decoder.config, rooms, embeds)

    # ---- after the prompt ----

    @torch.no_grad()
    def decode(self, embeds: Tensor) -> Tensor:
        """Run ``embeds`` (1, n, D) after everything so far; (1, n, D) normed hidden states.

        Positions continue at the original next position.  New rows see each other causally when
        the pass is causal, all of each other otherwise.

        Raises:
            BackendError: no memory was asked for, or it is full.
        """
        if self.cache is None or not any(self.cache.lengths):
            raise BackendError('decode() needs a prefill with decode_room')
        count = embeds.shape[1]
        numbers = torch.arange(self._next, self._next + count, device=embeds.device)
        self._next += count
        cos, sin = self._decoder.rotary(numbers[None], embeds.dtype)
        x, start = embeds, self._sequence.visual.start
        for index, layer in enumerate(self._decoder.layers):
            attention = layer.self_attn
            q, k, v = attention.project(layer.input_layernorm(x), cos, sin)
            keys, values = self.cache.append(index, k, v)
            mask = None
            if self._causal and count > 1:
                order = torch.arange(keys.shape[2], device=embeds.device)
                mask = causal_mask(order[-count:], order)
            if index in self._actions.layers:
                full = self._sees_all(index)
                stop = self._sequence.visual.stop if full else (
                    start + sum(one.numel() for one in self._kept))
                self._actions.add(attention_rows(q, keys, attention.head_dim ** -0.5,
                                                 slice(start, stop), mask), full)
            x = x + attention.attend(q, keys, values, mask, False)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self._decoder.norm(x)

    def feedback(self) -> list[Feedback]:
        """What the action rows looked at, per image (empty when nobody asked)."""
        return self._actions.feedback(self._sequence, self._kept)
