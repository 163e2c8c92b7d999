# SPDX-License-Identifier: Apache-2.0
"""The hooks behind ``VisualPruning``: one policy call, its layout and selector made by the caller.

Hugging Face passes hidden states, mask, positions, rotary factors and cache to every layer call,
so hooks on the layers are enough: before layer K the kept rows are gathered, before every later
layer the shared arguments are re-sliced, and the stock ``DynamicCache`` simply holds shorter
tensors for those layers.  In later passes over that cache the mask's columns are cut likewise.

    with HookedPruning(model, sequence, selector) as pruned:
        out = model(inputs_embeds=embeds, use_cache=True)               # the prompt, once
        out = model(inputs_embeds=token, past_key_values=out.past_key_values)   # any number
    selector.feedback(pruned.feedback())

All passes of one policy call belong inside the block.  Hooks are gone when it ends, however it
ends.  Attention rows are recomputed beside the stock path (one extra key projection per tap), so
this route is slower than ``PrunedPass``.
"""
from typing import Any

import torch
from torch import nn, Tensor

from vla_pruner_ros.backends.shared.attention_rows import attention_rows, causal_mask
from vla_pruner_ros.backends.shared.captured_signals import (
    ActionAttention,
    build_signals,
    Captured,
    check_cut,
)
from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.pruners.interface import Feedback
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.hf import layer_access as hf_layers

Call = tuple[tuple[Any, ...], dict[str, Any]]


class HookedPruning:
    """Context manager around the passes of one policy call, batch 1.

    Args:
        model: a ``transformers`` decoder, or a model that contains one.
        sequence: spans of the unpruned prompt.
        selector: where to cut, what to capture, which tokens stay.

    Attributes:
        kept: per image, sorted indices of the visual tokens that stayed.
        rows: (n,) original rows that remained; the model's output has exactly these.

    Raises:
        BackendError: the layers are not understood, or the selector asks for what does not exist.
    """

    def __init__(self, model: nn.Module, sequence: SequenceLayout, selector: TokenSelector):
        self._decoder = hf_layers.find_decoder(model)
        self._layers = list(self._decoder.layers)
        self._sequence, self._selector, self._needs = sequence, selector, selector.needs
        self._cut = check_cut(selector, len(self._layers))
        self._actions = ActionAttention(self._needs.action_rows, len(self._layers))
        self._handles: list[Any] = []
        self._decoding: bool | None = None  # None: no pass yet; False: the prompt pass
        self._embeds: Tensor | None = None
        self._captured = Captured()
        tokens = torch.arange(sequence.visual.tokens_per_image)
        self.kept: tuple[Tensor, ...] = (tokens,) * sequence.visual.images
        self.rows = torch.arange(sequence.length)

    @property
    def ran(self) -> bool:
        """Whether the model was run with hooks set."""
        return self._decoding is not None

    @property
    def action_rows(self) -> slice | None:
        """Where the action rows are in the model's (shortened) output of the prompt pass."""
        if self._sequence.action is None:
            return None
        return self._sequence.shifted(self._sequence.action, self.rows.numel())

    def __enter__(self) -> 'HookedPruning':
        """Set the hooks; none at all when there is nothing to cut and nothing to capture."""
        if self._handles or self.ran:
            raise BackendError('HookedPruning serves one policy call; make a new one')
        if self._cut is None and not self._actions.layers:
            return self
        try:
            for index, layer in enumerate(self._layers):
                self._handles.append(layer.register_forward_pre_hook(
                    lambda _m, args, kwargs, i=index: self._before(i, args, kwargs),
                    with_kwargs=True))
                if index in self._actions.layers:
                    self._handles.append(layer.register_forward_hook(
                        lambda _m, args, kwargs, _out, i=index: self._after(i, args, kwargs),
                        with_kwargs=True))
            if self._cut == 0:
                self._handles.append(self._decoder.register_forward_pre_hook(
                    self._before_decoder, with_kwargs=True))
            if self._cut is not None and self._needs.attention_output:
                self._handles.append(
                    self._layers[self._cut - 1].self_attn.register_forward_hook(self._attended))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_error: Any) -> None:
        """Remove every hook."""
        self._remove()

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def feedback(self) -> list[Feedback]:
        """What the action rows looked at, per image (empty when nobody asked)."""
        return self._actions.feedback(self._sequence, self.kept)

    # ---- hooks ----

    def _before(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Cut the arguments of one layer call."""
        hidden, kwargs = hf_layers.arguments(args, kwargs)
        if index == 0:
            self._decoding = self._decoding is not None
            self._check_pass(hidden, kwargs)
        if self._decoding:
            if self._cut and index >= self._cut:
                kwargs['attention_mask'] = self._cut_columns(
                    kwargs.get('attention_mask'))
            return (hidden,), kwargs
        if index == 0:
            self._embeds = hidden.detach()
        if self._cut is not None:
            if index + 1 == self._cut:
                self._capture(index, hidden, kwargs)
            if index == self._cut:
                self._choose(hidden.device)
                hidden = hidden[:, self.rows]
            if index >= self._cut:
                hf_layers.cut_rows(kwargs, self.rows)
        return (hidden,), kwargs

    def _after(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read the attention of the action rows; the arguments are the cut ones."""
        hidden, kwargs = hf_layers.arguments(args, kwargs)
        full = self._cut is None or index < self._cut
        if self._decoding:
            cached = hf_layers.cached_keys(hf_layers.layer_cache(kwargs), index)
            self._actions.add(self._rows(index, hidden, kwargs, slice(0, hidden.shape[1]), full,
                                         cached), full)
        elif self._sequence.action is not None:
            span = self._sequence.shifted(self._sequence.action, hidden.shape[1])
            self._actions.add(self._rows(index, hidden, kwargs, span, full), full)

    def _before_decoder(self, _module: nn.Module, args: tuple[Any, ...],
                        kwargs: dict[str, Any]) -> Call | None:
        """After a cut before layer 0 the cache no longer tells the next position: say it."""
        cache = hf_layers.layer_cache(kwargs)
        if self._decoding is None or cache is None:
            return None
        kwargs = dict(kwargs)
        given = kwargs.get('inputs_embeds')
        given = kwargs.get('input_ids', args[0] if args else None) if given is None else given
        if kwargs.get('position_ids') is None and given is not None:
            begin = (hf_layers.cached_keys(cache, 0).shape[2]
                     + self._sequence.length - self.rows.numel())
            kwargs['position_ids'] = torch.arange(
                begin, begin + given.shape[1], device=given.device)[None]
        mask = kwargs.get('attention_mask')
        if isinstance(mask, Tensor):
            kwargs['attention_mask'] = self._cut_columns(mask)
        return args, kwargs

    def _attended(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """Keep the attention output of the visual rows of layer K-1."""
        if not self._decoding:
            visual = self._sequence.visual
            states = output[0] if isinstance(output, tuple) else output
            self._captured.output = states[:, visual.start:visual.stop].detach()

    # ---- what they do ----

    def _check_pass(self, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        """Refuse a pass that is not the whole prompt, or that does not continue after it."""
        cache, mask = hf_layers.layer_cache(kwargs), kwargs.get('attention_mask')
        if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 4):
            raise BackendError('only masks of shape (1, 1, rows, columns) can be cut; use the '
                               "'sdpa' or 'eager' attention implementation")
        hf_layers.rotary_factors(kwargs)
        hf_layers.check_cache(cache)
        if self._decoding:
            if cache is None:
                raise BackendError('a second pass inside HookedPruning must continue over the '
                                   'cache of the first one')
            return
        length = self._sequence.length
        if hidden.shape[:2] != (1, length):
            raise BackendError(f'the first pass inside HookedPruning has {tuple(hidden.shape)} '
                               f'rows, the layout wants (1, {length}, hidden)')
        if (cache is not None and cache.get_seq_length()) or not hf_layers.fits(mask, length):
            raise BackendError('the first pass inside HookedPruning must be the whole prompt, '
                               'with an empty dynamic cache or none')

    @torch.no_grad()
    def _capture(self, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        """Keep what the selector needs of the input of layer K-1."""
        if self._needs.prefill_rows is not None:
            span = self._sequence.semantic(self._needs.prefill_rows)
            self._captured.prefill = self._rows(index, hidden, kwargs, span, True)
        if self._needs.action_at_cut and self._sequence.action is not None:
            self._captured.action = self._rows(index, hidden, kwargs,
                                               self._sequence.action, True)
        if self._needs.text_states:
            self._captured.states = hidden.detach()

    @torch.no_grad()
    def _rows(self, index: int, hidden: Tensor, kwargs: dict[str, Any], span: slice, full: bool,
              cached: Tensor | None = None) -> Tensor:
        """Attention (1, H, R, C) of the rows in ``span`` to the visual columns present."""
        layer = self._layers[index]
        cos, sin = hf_layers.rotary_factors(kwargs)
        queries = hf_layers.queries(layer, hidden[:, span], cos[:, span], sin[:, span])
        keys = hf_layers.keys(layer, hidden, cos, sin) if cached is None else cached
        length, count = keys.shape[2], hidden.shape[1]
        mask = kwargs.get('attention_mask')
        if not hf_layers.fits(mask, length):
            raise BackendError(f'layer {index}: the mask has {mask.shape[-1]} columns for '
                               f'{length} keys; the cache is not a plain dynamic cache')
        if mask is not None:
            mask = (mask[:, :, span] if mask.shape[2] > 1 else mask)[..., :length]
        elif count > 1 and hf_layers.is_causal(layer):
            order = torch.arange(length, device=hidden.device)
            mask = causal_mask(order[length - count:][span], order)
        present = self._sequence.length if full else self.rows.numel()
        return attention_rows(queries, keys, hf_layers.scale(layer),
                              self._sequence.columns(present), mask)

    @torch.no_grad()
    def _choose(self, device: torch.device) -> None:
        """Ask the selector which rows go on."""
        assert self._embeds is not None  # set when the first layer was entered
        signals = build_signals(self._sequence, self._selector, self._embeds, self._captured)
        self.kept = tuple(self._selector.choose(signals))
        self.rows = self._sequence.remaining(self.kept, device)

    def _cut_columns(self, mask: Tensor | None) -> Tensor | None:
        """Take the dropped prompt columns out of a later pass's mask."""
        return hf_layers.cut_columns(mask, self.rows, self._sequence.length)
