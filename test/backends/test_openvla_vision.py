# SPDX-License-Identifier: Apache-2.0
"""Vision towers against a slow reference written out head by head, and what must not matter."""
import math

from openvla_checkpoint import default_rule
import pytest
import torch

from vla_pruner_ros.backends.openvla.prismatic_model import join, Projector
from vla_pruner_ros.backends.openvla.vision_towers import Tower, TowerShape, VisionBackbone

DINO = TowerShape(width=8, blocks=2, heads=2, inner=12, patch=4, grid=3, registers=4,
                  layer_scale=True)
SIGLIP = TowerShape(width=6, blocks=2, heads=3, inner=10, patch=4, grid=3)
FILM = TowerShape(width=8, blocks=2, heads=2, inner=12, patch=4, grid=3, registers=4,
                  layer_scale=True, language=5)


def filled(module):
    with torch.no_grad():
        for name, one in module.named_parameters():
            one.copy_(default_rule(name, tuple(one.shape)))
    return module.double().eval()


def norm(x, weight, bias):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-6) * weight + bias


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def reference(tower, image, language=None, activation=gelu):
    """(tokens, width) of one image (3, H, W), loops over patches and heads."""
    shape, w = tower.shape, dict(tower.named_parameters())
    rows = []
    for y in range(shape.grid):
        for x in range(shape.grid):
            patch = image[:, y * shape.patch:(y + 1) * shape.patch,
                          x * shape.patch:(x + 1) * shape.patch]
            rows.append((w['patch_embed.proj.weight'] * patch).sum((1, 2, 3))
                        + w['patch_embed.proj.bias'])
    x = torch.stack(rows) + w['pos_embed'][0]
    if shape.registers is not None:
        x = torch.cat([w['cls_token'][0], w['reg_token'][0], x])
    size = shape.width // shape.heads
    for index in range(shape.blocks):
        def get(name, index=index):
            inner = 'block.' if shape.language else ''
            return w[f'blocks.{index}.{inner}{name}']
        n = norm(x, get('norm1.weight'), get('norm1.bias'))
        qkv = n @ get('attn.qkv.weight').T + get('attn.qkv.bias')
        heads = []
        for head in range(shape.heads):
            q, k, v = (qkv[:, part * shape.width + head * size:][:, :size] for part in range(3))
            heads.append(torch.softmax(q @ k.T / math.sqrt(size), -1) @ v)
        a = torch.cat(heads, 1) @ get('attn.proj.weight').T + get('attn.proj.bias')
        x = x + (a * get('ls1.scale_factor') if shape.layer_scale else a)
        if language is not None:
            scale, shift = (w[f'blocks.{index}.{part}.weight'] @ language
                            + w[f'blocks.{index}.{part}.bias'] for part in ('scale', 'shift'))
            x = x * (1 + scale) + shift
        n = norm(x, get('norm2.weight'), get('norm2.bias'))
        m = activation(n @ get('mlp.fc1.weight').T + get('mlp.fc1.bias'))
        m = m @ get('mlp.fc2.weight').T + get('mlp.fc2.bias')
        x = x + (m * get('ls2.scale_factor') if shape.layer_scale else m)
    return x[0 if shape.registers is None else 1 + shape.registers:]


def image(seed=0):
    return torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(seed),
                       dtype=torch.float64)


@pytest.mark.parametrize('shape', [DINO, SIGLIP])
@torch.no_grad()
def test_a_tower_equals_the_slow_reference(shape):
    tower = filled(Tower(shape))
    got = tower(image()[None])[0]
    assert got.shape == (9, shape.width)
    assert (got - reference(tower, image())).abs().max() < 1e-10


@torch.no_grad()
def test_the_approximate_gelu_would_be_noticed():
    def rough(x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))

    tower = filled(Tower(SIGLIP))
    wrong = reference(tower, image(), activation=rough)
    assert (tower(image()[None])[0] - wrong).abs().max() > 1e-6


@torch.no_grad()
def test_film_scales_and_shifts_between_attention_and_feed_forward():
    tower = filled(Tower(FILM))
    language = torch.linspace(-1, 1, 5, dtype=torch.float64)
    got = tower(image()[None], language[None])[0]
    assert (got - reference(tower, image(), language)).abs().max() < 1e-10
    other = tower(image()[None], -language[None])[0]
    assert (got - other).abs().max() > 1e-3


@torch.no_grad()
def test_images_follow_each_other_and_towers_lie_side_by_side():
    backbone = filled(VisionBackbone(DINO, SIGLIP))
    first, second = (torch.cat([image(seed), image(seed + 10)])[None] for seed in (1, 2))
    got = backbone(torch.cat([first, second], dim=1))[0]
    assert got.shape == (18, 14)
    # The convolution of two images at once may round differently in the last bit.
    close = {'rtol': 0, 'atol': 1e-12}
    torch.testing.assert_close(got[:9, :8], backbone.featurizer(first[:, :3])[0], **close)
    torch.testing.assert_close(got[:9, 8:], backbone.fused_featurizer(first[:, 3:])[0], **close)
    torch.testing.assert_close(got[9:], backbone(second)[0], **close)


def test_the_projector_widens_four_times_and_ends_in_the_language_width():
    shapes = {name: tuple(one.shape) for name, one in Projector(14, 20).named_parameters()}
    assert shapes['fc1.weight'] == (56, 14)
    assert shapes['fc2.weight'] == (20, 56)
    assert shapes['fc3.weight'] == (20, 20)


def test_visual_tokens_stand_behind_the_first_word():
    words, visual = torch.arange(3.0).view(1, 3, 1), torch.full((1, 2, 1), 9.0)
    assert join(words, visual).flatten().tolist() == [0, 9, 9, 1, 2]
