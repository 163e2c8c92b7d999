# SPDX-License-Identifier: Apache-2.0
"""PocketVLA: a vision-language-action policy small enough to train and run on two CPU cores.

It has the shape of the OpenVLA family: patches -> projector -> Llama-type decoder -> an action
chunk decoded in parallel (all tokens see each other, as in OpenVLA-OFT, arXiv:2502.19645).  The
patch encoder is LOCAL on purpose: every convolution has stride = kernel, so a visual token knows
only its own 16x16 pixels.  With global mixing before the cut, every token carries the whole
picture and it does not matter which ones a pruner keeps; here it does.  ``vision_layers`` adds
such mixing, as a contrast for comparisons.

Sequence: ``[BOS] visual(196 per camera) [state] words(1..16) action queries(8)``, never padded.
This file does not know pruners, caches or the simulator.
"""
from collections.abc import Mapping
from dataclasses import asdict, dataclass
import math
import re
from typing import Any

import torch
from torch import nn, Tensor

from vla_pruner_ros.backends.shared.decoder import Decoder, DecoderConfig, RMSNorm
from vla_pruner_ros.core.errors import ConfigError, InputError
from vla_pruner_ros.core.types import VisualLayout

UNKNOWN = '<unk>'


@dataclass(frozen=True)
class PocketConfig:
    """Everything about a PocketVLA except its weights; saved as JSON beside them.

    Attributes:
        words: vocabulary; index = token id; entry 0 is ``<unk>``.
        state_names, state_mean, state_std: proprioception and its normalisation.
        action_names, action_scale: ``scale * output`` is metres per control step, or the gripper.
        instructions: task name -> the instruction it was trained with.
        cameras: their images stand one after the other in the sequence, in this order.
        vision_layers: layers in which the visual tokens of all cameras see each other before the
            projector, as in a vision transformer; 0 = a local encoder.
        word_positions: words also carry their place in the instruction.  Rotary positions alone
            tell which word is nearer, which is hard to learn for "the red cube then the blue
            cube" from few demonstrations.
        image_free: trained on black images, as a floor for comparisons.
    """

    words: tuple[str, ...]
    instructions: Mapping[str, str]
    state_mean: tuple[float, ...]
    state_std: tuple[float, ...]
    state_names: tuple[str, ...] = ('x', 'y', 'z', 'gripper_opening')
    action_names: tuple[str, ...] = ('dx', 'dy', 'dz', 'gripper')
    action_scale: tuple[float, ...] = (0.04, 0.04, 0.04, 1.0)
    gripper_open: float = -1.0
    gripper_closed: float = 1.0
    cameras: tuple[str, ...] = ('corner',)
    control_dt: float = 0.05
    image_size: int = 224
    patch: int = 16
    chunk: int = 8
    max_words: int = 16
    hidden: int = 192
    inner: int = 512
    layers: int = 4
    heads: int = 6
    vision_layers: int = 0
    word_positions: bool = False
    image_free: bool = False

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.image_size // self.patch

    def decoder_config(self, layers: int) -> DecoderConfig:
        """Shape of a stack of ``layers`` decoder layers of this width."""
        return DecoderConfig(
            hidden_size=self.hidden, intermediate_size=self.inner, num_hidden_layers=layers,
            num_attention_heads=self.heads, num_key_value_heads=self.heads,
            head_dim=self.hidden // self.heads)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, for ``json.dump``."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> 'PocketConfig':
        """Inverse of ``to_json``.

        Raises:
            ConfigError: a key is missing or unknown.
        """
        try:
            return cls(**{key: tuple(value) if isinstance(value, list) else value
                          for key, value in values.items()})
        except TypeError as error:
            raise ConfigError(f'not a PocketVLA configuration: {error}') from error

    def tokenize(self, instruction: str) -> list[int]:
        """Token ids of an instruction: lower-case words, at most ``max_words`` of them.

        Raises:
            InputError: the instruction holds no word.
        """
        known = {word: index for index, word in enumerate(self.words)}
        words = re.findall(r"[\w'-]+", instruction[:1024].lower())[:self.max_words]
        if not words:
            raise InputError('empty_instruction',
                             f'the instruction holds no word: {instruction[:40]!r}')
        return [known.get(word, 0) for word in words]


def grid_embedding(side: int, size: int) -> Tensor:
    """Sines and cosines of row and column (side * side, size), the start of a learned table."""
    steps = torch.arange(side).float() / side
    bands = size // 4
    rates = math.pi * 2.0 ** (torch.arange(bands).float() * 4.0 / max(bands - 1, 1))
    rows, columns = torch.meshgrid(steps, steps, indexing='ij')
    angles = [axis.reshape(-1, 1) * rates for axis in (rows, columns)]
    parts = [function(angle) for angle in angles for function in (torch.sin, torch.cos)]
    table = torch.zeros(side * side, size)
    table[:, :4 * bands] = torch.cat(parts, dim=-1)
    return table


class PatchStem(nn.Module):
    """Local patch encoder: three convolutions with stride = kernel, 16x16 pixels -> one token."""

    def __init__(self, hidden: int, patch: int):
        super().__init__()
        if patch != 16:
            raise ConfigError(f'patch must be 16, got {patch}')
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 4, 4), nn.GELU(),
            nn.Conv2d(32, 96, 2, 2), nn.GELU(),
            nn.Conv2d(96, hidden, 2, 2))

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) in [0, 1] to (B, H/16 * W/16, hidden), row by row."""
        return self.layers(image * 2.0 - 1.0).flatten(2).transpose(1, 2)


class PocketVLA(nn.Module):
    """The policy network; see the module docstring.

    Methods are separate so that a backend can time and prune between them; ``forward`` is the
    unpruned whole (or, with ``keep``, pruned before layer 0).
    """

    def __init__(self, config: PocketConfig):
        super().__init__()
        self.config = config
        d, grid = config.hidden, config.grid
        self.stem = PatchStem(d, config.patch)
        places = 0.5 * grid_embedding(grid, d)
        self.positions = nn.Parameter(torch.cat([  # a camera is told apart by a random offset
            places + (0.5 * torch.randn(1, d) if number else 0.0)
            for number in range(len(config.cameras))]))
        if config.vision_layers:
            self.mixer = Decoder(config.decoder_config(config.vision_layers))
        self.projector = nn.Sequential(
            RMSNorm(d, 1e-6), nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.words = nn.Embedding(len(config.words), d)
        if config.word_positions:
            self.word_positions = nn.Parameter(torch.randn(config.max_words, d) * 0.3)
        self.state = nn.Sequential(
            nn.Linear(len(config.state_names), d), nn.GELU(), nn.Linear(d, d))
        self.begin = nn.Parameter(torch.randn(1, 1, d) * 0.5)
        self.queries = nn.Parameter(torch.randn(1, config.chunk, d) * 0.5)
        self.decoder = Decoder(config.decoder_config(config.layers))
        self.action = nn.Linear(d, len(config.action_names))
        self.register_buffer('state_mean', torch.tensor(config.state_mean), persistent=False)
        self.register_buffer('state_std', torch.tensor(config.state_std), persistent=False)

    def layout(self) -> VisualLayout:
        """Where the visual tokens stand in the sequence."""
        return VisualLayout(start=1, images=len(self.config.cameras), rows=self.config.grid,
                            cols=self.config.grid)

    def encode_image(self, image: Tensor) -> Tensor:
        """Visual tokens (B, C * 196, hidden) of float images in [0, 1].

        Args:
            image: (B, C, 3, 224, 224) for C cameras; with one camera also (B, 3, 224, 224).
        """
        pixels = image.reshape(-1, *image.shape[-3:])
        tokens = self.stem(pixels).reshape(image.shape[0], -1, self.config.hidden)
        return self.project(tokens + self.positions)

    def project(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Map patch tokens with position embedding (B, K, hidden) to visual tokens.

        Args:
            tokens: of all patches, or of some.
            positions: (B, K) their indices; 0..K-1 when None.
        """
        if self.config.vision_layers:
            tokens = tokens + self.mixer(tokens, positions=positions, causal=False)
        return tokens + self.projector(tokens)

    def embed_prompt(self, text_ids: Tensor, state: Tensor) -> Tensor:
        """State token and words.

        Args:
            text_ids: (B, n) integer token ids.
            state: (B, 4) in the units of ``config.state_names`` (normalised here).

        Returns:
            (B, 1 + n, hidden).
        """
        normal = (state - self.state_mean) / self.state_std
        words = self.words(text_ids)
        if self.config.word_positions:
            words = words + self.word_positions[:text_ids.shape[1]]
        return torch.cat((self.state(normal)[:, None], words), dim=1)

    def assemble(self, visual: Tensor, text_ids: Tensor,
                 state: Tensor) -> tuple[Tensor, VisualLayout, slice, slice]:
        """Build the decoder's input.

        Returns:
            Embeddings (B, T, hidden), the place of the visual tokens, and the slices of the words
            and of the action queries.
        """
        batch = visual.shape[0]
        prompt = self.embed_prompt(text_ids, state)
        embeds = torch.cat((self.begin.expand(batch, -1, -1), visual, prompt,
                            self.queries.expand(batch, -1, -1)), dim=1)
        layout = self.layout()
        words = slice(layout.stop + 1, layout.stop + 1 + text_ids.shape[1])
        return embeds, layout, words, slice(words.stop, words.stop + self.config.chunk)

    def head(self, hidden_rows: Tensor) -> Tensor:
        """Normalised actions (..., 4) of normed hidden rows (..., hidden); 1 is full scale."""
        return self.action(hidden_rows)

    def decode(self, embeds: Tensor, keep: Tensor | None = None) -> Tensor:
        """Normed hidden rows of the action queries (B, chunk, hidden).

        Args:
            embeds: from ``assemble``.
            keep: sorted indices (K,) of the visual tokens that stay, 0..195; None keeps all.  The
                others are removed before layer 0 and the rest keep their original positions.
        """
        positions = torch.arange(embeds.shape[1], device=embeds.device)
        if keep is not None:
            layout = self.layout()
            stays = torch.cat((positions[:layout.start], keep + layout.start,
                               positions[layout.stop:]))
            embeds, positions = embeds[:, stays], stays
        hidden = self.decoder(embeds, positions=positions[None], causal=False)
        return hidden[:, -self.config.chunk:]

    def forward(self, image: Tensor, text_ids: Tensor, state: Tensor,
                keep: Tensor | None = None) -> Tensor:
        """Action chunk (B, 8, 4), normalised (multiply with ``config.action_scale``)."""
        embeds, _, _, _ = self.assemble(self.encode_image(image), text_ids, state)
        return self.head(self.decode(embeds, keep))
