# SPDX-License-Identifier: Apache-2.0
"""Prune visual tokens inside an unmodified ``transformers`` model: one object, one block per step.

    pruning = VisualPruning(model, keep=64)  # lives as long as the model: it remembers
    for image in camera:
        inputs = processor(images=image, text=prompt, return_tensors='pt')
        with pruning.step(inputs['input_ids']) as step:   # one control step
            tokens = model.generate(**inputs, max_new_tokens=7)
        print(step.kept, step.unpruned_reason)

The image tokens are found by the model's own image token id; with ``inputs_embeds`` their rows are
named instead: ``pruning.step(inputs_embeds, visual=slice(1, 65))``.  A plain forward serves as
well as ``generate``; either way the model's output has only the rows ``step.rows``.  One prompt
per step, batch 1, greedy or sampled, over a dynamic cache; beams and ``use_cache=False`` are
refused, and so are decoders with sliding windows or capped attention scores.
"""
from math import isqrt
from typing import Any

from torch import nn, Tensor

from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters, table
from vla_pruner_ros.core.pruners import make_pruner
from vla_pruner_ros.core.pruners.interface import Pruner
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import PolicySpec, VisualLayout
from vla_pruner_ros.hf.layer_access import find_decoder
from vla_pruner_ros.hf.pruning_hooks import HookedPruning

#: Parameters that ``settings`` may hold; two of the group have names of their own here.
SETTINGS = tuple(one.name for one in table()
                 if (one.metadata['group'] == 'pruning' or one.name == 'seed')
                 and one.name not in ('pruner', 'token_budget'))


class PrunedStep(HookedPruning):
    """One control step inside a ``with`` block; made by ``VisualPruning.step``.

    Attributes:
        kept: per image, sorted indices of the visual tokens that stayed.
        rows: (n,) original rows that remained; the output of the prompt's pass has exactly these.
        unpruned_reason: why nothing was cut (``'warm_up'``, ``'budget_all'`` ...), or ``''``.
    """

    def __init__(self, owner: 'VisualPruning', sequence: SequenceLayout, selector: TokenSelector):
        super().__init__(owner.model, sequence, selector)
        self._owner = owner
        self.unpruned_reason = selector.unpruned_reason

    def __exit__(self, *error: Any) -> None:
        """Remove every hook; the method remembers the step if the model answered."""
        super().__exit__(*error)
        if error[0] is None and self.ran:
            self._selector.feedback(self.feedback())
            self._owner.steps += 1


class VisualPruning:
    """Visual-token pruning for one ``transformers`` model, with the memory of its method.

    Args:
        model: a decoder, or a vision-language model that contains one.
        keep: visual tokens to keep per image; 0 or at least as many as the image has = all.
        method: one of the package's methods, ``'vla_pruner'`` (unpruned for the first
            ``temporal_window`` steps), ``'fastv'``, ``'divprune'`` ...
        image_token_id: token that stands for a visual token; None = the model's own.
        images: images of each prompt, row after row without a gap.
        grid: rows and columns of an image's tokens; None = a square, or else one row.
        causal: whether the prompt runs under a causal mask.
        settings: further parameters of the group 'pruning', such as ``prune_layer=2``.

    Attributes:
        steps: control steps since the start or the last ``reset``.

    Raises:
        ConfigError: a setting is unknown or does not fit the decoder.
        BackendError: the decoder's layers are not understood.
    """

    def __init__(self, model: nn.Module, keep: int, method: str = 'vla_pruner', *,
                 image_token_id: int | None = None, images: int = 1,
                 grid: tuple[int, int] | None = None, causal: bool = True, **settings: Any):
        unknown = [name for name in settings if name not in SETTINGS]
        if unknown:
            raise ConfigError(f'unknown setting {unknown[0]!r}; accepted: {", ".join(SETTINGS)}')
        if images < 1:
            raise ConfigError(f'images is {images}; accepted: 1 or more')
        parameters = Parameters().changed({'pruner': method, 'token_budget': keep, **settings})
        spec = PolicySpec(type(model).__name__, (), (), (), 'ee_delta', 1, 1.0, 1, 1,
                          len(find_decoder(model).layers), causal=causal)
        self.model, self.steps = model, 0
        self._pruner: Pruner = make_pruner(parameters, spec, causal)
        self._keep, self._images, self._grid, self._causal = keep, images, grid, causal
        self._image_token = _own_image_token(model) if image_token_id is None else image_token_id

    def reset(self) -> None:
        """Forget the past steps: a new episode, instruction or camera."""
        self._pruner.reset()
        self.steps = 0

    def step(self, prompt: Tensor, visual: slice | None = None, text: slice | None = None,
             action: slice | None = None) -> PrunedStep:
        """Make the context manager around the passes of one control step.

        Args:
            prompt: the whole prompt as the model will get it: ``input_ids`` (1, T) or
                ``inputs_embeds`` (1, T, hidden).
            visual: rows of the visual tokens; None = where ``prompt`` has the image token.
            text: rows of the instruction; None = all rows behind the visual ones.
            action: rows whose attention counts as the actions'; None = the last row and every
                generated token.

        Raises:
            ConfigError: there are no visual rows, or they do not fit ``images`` and ``grid``.
            BackendError: spans overlap, or leave the prompt.
        """
        if prompt.dim() not in (2, 3) or prompt.shape[0] != 1:
            raise ConfigError(f'the prompt has shape {tuple(prompt.shape)}; accepted: input_ids '
                              '(1, T) or inputs_embeds (1, T, hidden)')
        length = prompt.shape[1]
        layout = self._layout(self._find(prompt) if visual is None else visual)
        if action is None and self._causal:
            action = slice(length - 1, length)
        if text is None:
            text = slice(layout.stop, length if self._causal or action is None else action.start)
        sequence = SequenceLayout(length, layout, text, action)
        return PrunedStep(self, sequence, TokenSelector(
            self._pruner, self._keep, layout.tokens_per_image, self.steps))

    def _find(self, prompt: Tensor) -> slice:
        """Rows of the one run of image tokens in ``input_ids``."""
        if prompt.dim() != 2 or self._image_token is None:
            raise ConfigError('the rows of the visual tokens are not known; name them with '
                              'visual=slice(first, last + 1), or give input_ids and an '
                              'image_token_id')
        rows = (prompt[0] == self._image_token).nonzero()[:, 0].tolist()
        if not rows:
            raise ConfigError(f'none of the {prompt.shape[1]} tokens of the prompt is the image '
                              f'token {self._image_token}')
        found = slice(rows[0], rows[-1] + 1)
        if found.stop - found.start != len(rows):
            raise ConfigError(f'the image tokens in rows {found.start}:{found.stop} are not one '
                              'run: other tokens stand between them; accepted: images without a '
                              'gap (no image splitting), or the rows to prune as visual=slice(..)')
        return found

    def _layout(self, visual: slice) -> VisualLayout:
        """Tokens and grid of each image."""
        tokens, rest = divmod(visual.stop - visual.start, self._images)
        if rest or tokens < 1:
            raise ConfigError(f'visual rows {visual.start}:{visual.stop} are not {self._images} '
                              'images of the same size; accepted: a multiple of images')
        side = isqrt(tokens)
        rows, columns = self._grid or ((side, side) if side * side == tokens else (1, tokens))
        if rows * columns != tokens:
            raise ConfigError(f'grid is {rows} x {columns}, but an image has {tokens} tokens')
        return VisualLayout(visual.start, self._images, rows, columns)


def _own_image_token(model: nn.Module) -> int | None:
    """Image token id that the model's configuration names (it changed its name once)."""
    config = getattr(model, 'config', None)
    for name in ('image_token_id', 'image_token_index'):
        found = getattr(config, name, None)
        if isinstance(found, int):
            return found
    return None
