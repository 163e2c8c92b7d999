# SPDX-License-Identifier: Apache-2.0
"""OpenVLA as one module tree with the published tensor names, and nothing around it.

    image -> two towers -> projector -> [BOS] visual(256 per image) rest-of-prompt -> Llama

What it knows: how embeddings are made and put in order.  What it does not know: words, pixels'
normalisation, greedy decoding, pruners, files.
"""
from dataclasses import dataclass

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from vla_pruner_ros.backends.openvla.vision_towers import TowerShape, VisionBackbone
from vla_pruner_ros.backends.shared.decoder import Decoder, DecoderConfig


@dataclass(frozen=True)
class ModelShape:
    """Everything that fixes the tensors of an OpenVLA.

    Attributes:
        towers: DINOv2, then SigLIP.
        decoder: the language model.
        vocab: rows of the embedding and of the output layer.
        lm_head: build the output layer (OpenVLA decodes tokens, OFT does not).
    """

    towers: tuple[TowerShape, TowerShape]
    decoder: DecoderConfig
    vocab: int
    lm_head: bool = True


class Projector(nn.Module):
    """Visual features to language embeddings: three linear layers with the exact GELU between."""

    def __init__(self, vision: int, language: int):
        super().__init__()
        self.fc1 = nn.Linear(vision, 4 * vision)
        self.fc2 = nn.Linear(4 * vision, language)
        self.fc3 = nn.Linear(language, language)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., vision) to (..., language)."""
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(x)))))


class EmbeddedDecoder(Decoder):
    """The decoder with its word embeddings, as they are stored together."""

    def __init__(self, config: DecoderConfig, vocab: int):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(vocab, config.hidden_size)


class LanguageModel(nn.Module):
    """Decoder and output layer."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.model = EmbeddedDecoder(shape.decoder, shape.vocab)
        if shape.lm_head:
            self.lm_head = nn.Linear(shape.decoder.hidden_size, shape.vocab, bias=False)


class OpenVlaModel(nn.Module):
    """The policy network; see the module docstring."""

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape = shape
        self.vision_backbone = VisionBackbone(*shape.towers)
        self.projector = Projector(sum(self.vision_backbone.widths), shape.decoder.hidden_size)
        self.language_model = LanguageModel(shape)

    @property
    def decoder(self) -> Decoder:
        """The language model's layers."""
        return self.language_model.model

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (B, n, hidden) of token ids (B, n)."""
        return self.language_model.model.embed_tokens(ids)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (..., vocab) of normed hidden rows."""
        return self.language_model.lm_head(hidden)

    def encode(self, images: Tensor, language: Tensor | None = None) -> Tensor:
        """Visual tokens (B, n * 256, hidden) of normalised images (B, 6 * n, H, W)."""
        return self.projector(self.vision_backbone(images, language))

    def recompute_buffers(self, device: torch.device) -> None:
        """Make what is not stored: a model built without memory has no rotary frequencies."""
        config = self.decoder.config
        exponent = torch.arange(0, config.head_dim, 2).float() / config.head_dim
        self.decoder.inv_freq = (1.0 / config.rope_theta ** exponent).to(device)


def join(words: Tensor, visual: Tensor) -> Tensor:
    """Put ``visual`` (B, V, hidden) after the first word of ``words`` (B, n, hidden)."""
    return torch.cat((words[:, :1], visual, words[:, 1:]), dim=1)
