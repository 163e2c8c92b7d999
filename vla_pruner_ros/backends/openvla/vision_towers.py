# SPDX-License-Identifier: Apache-2.0
"""The two vision towers of OpenVLA: DINOv2 and SigLIP, with the published tensor names.

Features are the output of the SECOND-TO-LAST block, without the final norm and without the class
and register tokens (arXiv 2406.09246 and its published code), so the last block, the final norm
and SigLIP's pooling head are never built.  Both towers use the exact GELU; position embeddings
are added before the class and register tokens are put in front.

With FiLM (OpenVLA-OFT, arXiv 2502.19645) every block scales and shifts its features between
attention and feed-forward, by projections of the mean language embedding. This file does not
know images, checkpoints or what the features are used for.
"""
from dataclasses import dataclass

import torch
from torch import nn, Tensor
import torch.nn.functional as F

LAYER_NORM_EPS = 1e-6


@dataclass(frozen=True)
class TowerShape:
    """Shape of one tower.

    Attributes:
        width: channels of a token.
        blocks: blocks that are run (one less than the published depth).
        heads: attention heads.
        inner: width of the feed-forward network.
        patch: side of a patch in pixels.
        grid: patches per side.
        registers: register tokens; None = neither these nor a class token.
        layer_scale: blocks scale their residuals (DINOv2).
        language: width of the language embedding of FiLM; None = no FiLM.
    """

    width: int
    blocks: int
    heads: int
    inner: int
    patch: int
    grid: int
    registers: int | None = None
    layer_scale: bool = False
    language: int | None = None


class LayerScale(nn.Module):
    """One learned factor per channel (``gamma`` elsewhere; renamed in the published files)."""

    def __init__(self, width: int):
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the last dimension."""
        return x * self.scale_factor


class VisionAttention(nn.Module):
    """Plain self-attention over all tokens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, D) to the same shape."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, N, D/H) each
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, width))


class VisionMLP(nn.Module):
    """Feed-forward network with the exact GELU."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, both residual."""

    def __init__(self, shape: TowerShape):
        super().__init__()
        width = shape.width
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = VisionAttention(width, shape.heads)
        self.ls1 = LayerScale(width) if shape.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = VisionMLP(width, shape.inner)
        self.ls2 = LayerScale(width) if shape.layer_scale else nn.Identity()

    def attend(self, x: Tensor) -> Tensor:
        """Attention half."""
        return x + self.ls1(self.attn(self.norm1(x)))

    def feed(self, x: Tensor) -> Tensor:
        """Feed-forward half."""
        return x + self.ls2(self.mlp(self.norm2(x)))

    def forward(self, x: Tensor, language: Tensor | None = None) -> Tensor:
        """Map (B, N, D) to the same shape; ``language`` is not used."""
        return self.feed(self.attend(x))


class FilmBlock(nn.Module):
    """A block whose features are modulated by the mean language embedding between its halves."""

    def __init__(self, shape: TowerShape, language: int):
        super().__init__()
        self.block = Block(shape)
        self.scale = nn.Linear(language, shape.width)
        self.shift = nn.Linear(language, shape.width)

    def forward(self, x: Tensor, language: Tensor) -> Tensor:
        """Map (B, N, D) to the same shape, given the mean embedding (B, language)."""
        x = self.block.attend(x)
        x = x * (1 + self.scale(language)[:, None]) + self.shift(language)[:, None]
        return self.block.feed(x)


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens, row by row."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, H/p * W/p, D)."""
        return self.proj(image).flatten(2).transpose(1, 2)


class Tower(nn.Module):
    """One vision transformer up to its second-to-last block."""

    def __init__(self, shape: TowerShape):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.patch_embed = PatchEmbed(width, shape.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.grid ** 2, width))
        if shape.registers is not None:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
            self.reg_token = nn.Parameter(torch.zeros(1, shape.registers, width))
        self.blocks = nn.ModuleList(
            Block(shape) if shape.language is None else FilmBlock(shape, shape.language)
            for _ in range(shape.blocks))

    def forward(self, image: Tensor, language: Tensor | None = None) -> Tensor:
        """Features (B, grid * grid, D) of a normalised image (B, 3, H, W).

        Args:
            image: normalised with this tower's own mean and deviation.
            language: mean language embedding (B, language); needed by FiLM blocks only.
        """
        x = self.patch_embed(image) + self.pos_embed
        front = 0
        if self.shape.registers is not None:
            batch = x.shape[0]
            x = torch.cat((self.cls_token.expand(batch, -1, -1),
                           self.reg_token.expand(batch, -1, -1), x), dim=1)
            front = 1 + self.shape.registers
        for block in self.blocks:
            x = block(x, language)
        return x[:, front:]


class VisionBackbone(nn.Module):
    """Both towers over the same images, features side by side on the channels."""

    def __init__(self, first: TowerShape, second: TowerShape):
        super().__init__()
        self.featurizer = Tower(first)
        self.fused_featurizer = Tower(second)

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of the two towers."""
        return self.featurizer.shape.width, self.fused_featurizer.shape.width

    def forward(self, images: Tensor, language: Tensor | None = None) -> Tensor:
        """Features (B, n * tokens, D1 + D2), image after image.

        Args:
            images: (B, 6 * n, H, W); per image three channels for each tower.
            language: mean language embedding (B, language), with FiLM.
        """
        parts = [torch.cat((self.featurizer(one[:, :3], language),
                            self.fused_featurizer(one[:, 3:], language)), dim=2)
                 for one in images.split(6, dim=1)]
        return torch.cat(parts, dim=1)
