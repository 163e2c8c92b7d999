# SPDX-License-Identifier: Apache-2.0
"""The hot path: one pass over a decoder in which visual rows are really removed before layer K.

What it knows: the decoder's layers, where the visual, text and action rows are, and a selector
that answers which visual tokens stay.  What it does not know: which method selects, images, words,
heads.

Removal is exact: position ids stay the original ones, kept rows keep their order, layers below K
remember all rows and the others only the kept ones.  Two savings follow from what is needed later:

* the selection needs only keys and a few query rows of layer K-1, so that layer computes attention
  output and feed-forward for the kept rows alone;
* the last layer computes them for the action rows alone.

Without a cut the pass is the decoder's own ``forward``, bit for bit.
"""
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vla_pruner_ros.backends.shared.attention_rows import attention_rows, causal_mask
from vla_pruner_ros.backends.shared.captured_signals import (
    ActionAttention,
    build_signals,
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
        rows: (n,) original row of every row that remained after the cut.
    """

    hidden: Tensor
    kept: tuple[Tensor, ...]
    rows: Tensor


@dataclass(frozen=True)
class _State:
    """Rows inside the decoder: hidden states, their original row numbers and rotary factors."""

    x: Tensor     # (1, n, D)
    rows: Tensor  # (n,)
    cos: Tensor   # (1, n, head_dim)
    sin: Tensor

    def pick(self, local: Tensor) -> '_State':
        """Return the rows at ``local``; positions travel with their rows."""
        return _State(self.x[:, local], self.rows[local], self.cos[:, local], self.sin[:, local])


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
        self._causal, self._room, self._last = causal, decode_room, layers - 1
        self._cut = check_cut(selector, layers)
        self._trim = sequence.action is not None and (
            (self._cut is not None) if trim is None else trim)
        self._needs = selector.needs
        self._actions = ActionAttention(self._needs.action_rows, layers)
        self._embeds: Tensor | None = None
        self._kept: tuple[Tensor, ...] = ()
        self._next = sequence.length  # position id of the next decoded row, whatever was dropped
        self.cache: KvCache | None = None

    @torch.no_grad()
    def prefill(self, embeds: Tensor) -> PassResult:
        """Run all layers over ``embeds`` (1, T, D), dropping visual rows before the cut layer.

        Raises:
            BackendError: another shape than the layout's, or a selector that breaks its promise.
        """
        sequence = self._sequence
        if embeds.dim() != 3 or embeds.shape[:2] != (1, sequence.length):
            raise BackendError(f'embeddings have shape {tuple(embeds.shape)}, the layout wants '
                               f'(1, {sequence.length}, hidden)')
        self._embeds, self._next = embeds, sequence.length
        self.cache = self._allocate(embeds)
        rows = torch.arange(sequence.length, device=embeds.device)
        self._kept = (rows[:sequence.visual.tokens_per_image],) * sequence.visual.images
        state = _State(embeds, rows, *self._decoder.rotary(rows[None], embeds.dtype))
        if self._cut == 0:
            state = state.pick(self._choose(None, None, None, None))
        for index, layer in enumerate(self._decoder.layers):
            state = self._layer(index, layer, state)
        hidden = self._decoder.norm(state.x)
        if sequence.action is not None and not self._trim:
            hidden = hidden[:, sequence.shifted(sequence.action, hidden.shape[1])]
        return PassResult(hidden, self._kept, sequence.remaining(self._kept, embeds.device))

    def _layer(self, index: int, layer: DecoderLayer, state: _State) -> _State:
        """Keys and values of all rows; attention output and feed-forward of the rows needed."""
        attention, sequence = layer.self_attn, self._sequence
        normed = layer.input_layernorm(state.x)
        keys, values = attention.keys_values(normed, state.cos, state.sin)
        if self.cache is not None:
            self.cache.append(index, keys, values)

        needed: Tensor | None = None  # local rows whose output is read later, None = all
        visual_output: Tensor | None = None
        if index + 1 == self._cut:
            if self._needs.attention_output:
                visual_output = self._visual_output(layer, state, normed, keys, values)
            needed = self._choose_after(layer, state, normed, keys, visual_output)
        elif index == self._last and self._trim:
            span = sequence.shifted(sequence.action, state.rows.numel())
            needed = torch.arange(span.start, span.stop, device=state.x.device)

        out, mask = state, None
        if needed is not None:
            out, normed = state.pick(needed), normed[:, needed]
            mask = causal_mask(out.rows, state.rows) if self._causal else None
        queries = attention.queries(normed, out.cos, out.sin)
        if index in self._actions.layers and sequence.action is not None:
            last = index == self._last and self._trim
            span = slice(0, None) if last else sequence.shifted(sequence.action, out.rows.numel())
            self._actions.add(self._weights(layer, queries[:, :, span], out.rows[span], state.rows,
                                            keys), full=self._cut is None or index < self._cut)
        x = out.x + attention.attend(queries, keys, values, mask,
                                     self._causal and needed is None)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        return replace(out, x=x)

    def _weights(self, layer: DecoderLayer, queries: Tensor, rows: Tensor, present: Tensor,
                 keys: Tensor) -> Tensor:
        """Attention (1, H, R, C) of query ``rows`` to the visual columns among ``present``."""
        mask = causal_mask(rows, present) if self._causal else None
        return attention_rows(queries, keys, layer.self_attn.head_dim ** -0.5,
                              self._sequence.columns(present.numel()), mask)

    def _visual_output(self, layer: DecoderLayer, state: _State, normed: Tensor, keys: Tensor,
                       values: Tensor) -> Tensor:
        """Attention output (1, V, D) of the visual rows, kept and dropped."""
        visual = slice(self._sequence.visual.start, self._sequence.visual.stop)
        queries = layer.self_attn.queries(normed[:, visual], state.cos[:, visual],
                                          state.sin[:, visual])
        mask = causal_mask(state.rows[visual], state.rows) if self._causal else None
        return layer.self_attn.attend(queries, keys, values, mask, False)

    def _choose_after(self, layer: DecoderLayer, state: _State, normed: Tensor, keys: Tensor,
                      visual_output: Tensor | None) -> Tensor:
        """Capture what the selector needs of layer K-1 and return the rows that go on."""
        def weights(span: slice) -> Tensor:
            queries = layer.self_attn.queries(normed[:, span], state.cos[:, span],
                                              state.sin[:, span])
            return self._weights(layer, queries, state.rows[span], state.rows, keys)

        needs, action = self._needs, self._sequence.action
        semantic = None
        if needs.prefill_rows is not None:
            semantic = weights(self._sequence.semantic(needs.prefill_rows))
        acting = weights(action) if needs.action_at_cut and action is not None else None
        return self._choose(semantic, state.x if needs.text_states else None, visual_output,
                            acting)

    def _choose(self, weights: Tensor | None, states: Tensor | None,
                output: Tensor | None, action: Tensor | None) -> Tensor:
        """Ask the selector; return the remaining rows in ascending order."""
        assert self._embeds is not None
        signals = build_signals(self._sequence, self._selector, self._embeds, weights, states,
                                output, action)
        self._kept = tuple(self._selector.choose(signals))
        return self._sequence.remaining(self._kept, self._embeds.device)

    def _allocate(self, embeds: Tensor) -> KvCache | None:
        """Memory for the prompt and ``decode_room`` rows; the sizes depend on the budget alone."""
        if self._room is None:
            return None
        full, visual = self._sequence.length, self._sequence.visual
        cut = len(self._decoder.layers) if self._cut is None else self._cut
        short = full - visual.images * (visual.tokens_per_image - self._selector.budget)
        rooms = capacities(len(self._decoder.layers), cut, full, short, self._room)
        return KvCache(self._decoder.config, rooms, embeds)

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
        rows = torch.arange(self._next, self._next + count, device=embeds.device)
        self._next += count
        cos, sin = self._decoder.rotary(rows[None], embeds.dtype)
        x = embeds
        for index, layer in enumerate(self._decoder.layers):
            attention = layer.self_attn
            q, k, v = attention.project(layer.input_layernorm(x), cos, sin)
            keys, values = self.cache.append(index, k, v)
            mask = None
            if self._causal and count > 1:
                order = torch.arange(keys.shape[2], device=embeds.device)
                mask = causal_mask(order[-count:], order)
            if index in self._actions.layers:
                start = self._sequence.visual.start
                cut_here = self._cut is not None and index >= self._cut
                width = sum(one.numel() for one in self._kept) if cut_here else (
                    self._sequence.visual.stop - start)
                self._actions.add(
                    attention_rows(q, keys, attention.head_dim ** -0.5,
                                   slice(start, start + width), mask), full=not cut_here)
            x = x + attention.attend(q, keys, values, mask, False)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self._decoder.norm(x)

    def feedback(self) -> list[Feedback]:
        """What the action rows looked at, per image (empty when nobody asked)."""
        return self._actions.feedback(self._sequence, self._kept)
