# SPDX-License-Identifier: Apache-2.0
"""Training losses of the shipped policies: behaviour cloning plus privileged auxiliary targets.

The auxiliary heads know where the objects, the target and the hand are (the simulator does).  They
teach the patch encoder what objects look like, the visual tokens which of them the instruction
means, and the action queries where it is, with far fewer demonstrations than actions alone would
need; the heads are thrown away after training.
"""
from dataclasses import dataclass

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from vla_pruner_ros.backends.pocket.pocket_model import PocketVLA
from vla_pruner_ros.training.demonstration_dataset import Batch
from vla_pruner_ros.training.frame_labels import HAND, OBJECTS, TARGETS

NEAR = 20.0  # pixels, centre to point: a patch this close answers for the point
KEPT_NEAR = (10.0, 22.0)  # pixels; drawn per sample, so that the count of patches tells nothing
POSITION_SCALE = 0.1  # metres per unit of the regressed target position
COLOURS, SHAPES = 5, 4  # classes
WEIGHTS = {'chunk': 1.0, 'target': 0.3, 'ground': 0.3, 'patch': 0.2, 'offset': 0.1,
           'colour': 0.1, 'shape': 0.1}


class AuxiliaryHeads(nn.Module):
    """Heads that exist only in training.

    ``patch``: per visual token before the decoder: logits of object and hand, offsets (patches)
    and depth of both, class logits of the object's colour and shape.  ``ground``: per visual
    token in the middle of the decoder, is it the first, the second target?  ``target``: per action
    query, the way from the hand to both targets.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.patch = nn.Linear(hidden, 8 + COLOURS + SHAPES)
        self.ground = nn.Linear(hidden, 2)
        self.target = nn.Linear(hidden, 6)


@dataclass(frozen=True)
class SeenTokens:
    """Visual tokens that the decoder sees.

    Attributes:
        visual: (B, K, hidden).
        keep: (B, K) their indices.
        offsets: (B, K, 8, 2) pixels from each patch centre to each point of the labels, NaN where
            there is none.
    """

    visual: Tensor
    keep: Tensor
    offsets: Tensor


def patch_offsets(model: PocketVLA, batch: Batch) -> Tensor:
    """Offsets (B, C * 196, 8, 2) in pixels from every patch centre to every point of its image."""
    side, patch = model.config.grid, model.config.patch
    centres = (torch.arange(side).float() + 0.5) * patch
    rows, columns = torch.meshgrid(centres, centres, indexing='ij')
    grid = torch.stack((columns.reshape(-1), rows.reshape(-1)), dim=-1)
    offsets = batch.points[:, :, None, :, :2] - grid[None, None, :, None, :]
    return offsets.flatten(1, 2)


def encode_patches(model: PocketVLA, batch: Batch, keep: Tensor) -> Tensor:
    """Visual tokens (B, K, hidden) of the chosen patches only.

    With a local encoder they equal ``encode_image`` gathered, without the time of the patches
    left out; with a global one the patches left out are not mixed in.
    """
    side, patch = model.config.grid, model.config.patch
    count, chosen = keep.shape
    rows, camera, place = torch.arange(count)[:, None], keep // side ** 2, keep % side ** 2
    tiles = batch.images.reshape(count, -1, side, patch, side, patch, 3)
    pixels = tiles[rows, camera, place // side, :, place % side].float()  # (B, K, 16, 16, 3)
    gain, bias = batch.gain[rows, camera] / 255.0, batch.bias[rows, camera]
    pixels = pixels * gain[:, :, None, None] + bias[:, :, None, None]
    column = pixels.permute(0, 4, 1, 2, 3).reshape(count, 3, chosen * patch, patch)
    if model.config.image_free:
        column = torch.zeros_like(column)
    return model.project(model.stem(column) + model.positions[keep], keep)


def choose_tokens(offsets: Tensor, count: int) -> Tensor:
    """Indices (B, count) of visual tokens for a shortened training sequence.

    The patches around objects and hand stay, the rest are drawn at random: decoder time falls with
    the sequence while the information that the action needs is still there.  Targets get no more
    patches than other objects, else their count would tell which object is meant.
    """
    distance = offsets[:, :, HAND:].norm(dim=-1).nan_to_num(nan=1e6).amin(dim=-1)
    low, high = KEPT_NEAR
    reach = low + (high - low) * torch.rand(len(distance), 1)
    score = torch.rand_like(distance) + 2.0 * (distance < reach)
    return score.topk(count, dim=1).indices.sort(dim=1).values


def encode(model: PocketVLA, batch: Batch, tokens: int | None) -> SeenTokens:
    """Visual tokens of all patches, or of ``tokens`` chosen ones."""
    offsets = patch_offsets(model, batch)
    if tokens is None:
        keep = torch.arange(offsets.shape[1]).expand(len(offsets), -1)
    else:
        keep = choose_tokens(offsets, tokens)
    rows = torch.arange(len(keep))[:, None]
    return SeenTokens(encode_patches(model, batch, keep), keep, offsets[rows, keep])


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask holds; 0 where it never does."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def visual_losses(model: PocketVLA, heads: AuxiliaryHeads, seen: SeenTokens,
                  batch: Batch) -> dict[str, Tensor]:
    """Object and hand in every patch: presence, place, colour, shape."""
    distance = seen.offsets.norm(dim=-1).nan_to_num(nan=1e6)  # (B, K, 8)
    nearest = distance[:, :, OBJECTS].argmin(dim=-1)  # (B, K)
    samples = torch.arange(len(nearest))[:, None]
    tokens = torch.arange(nearest.shape[1])[None]
    camera = seen.keep // model.config.grid ** 2
    wanted = []
    for index in (nearest + OBJECTS.start, torch.full_like(nearest, HAND)):
        offset = seen.offsets[samples, tokens, index] / model.config.patch
        depth = (batch.points[samples, camera, index, 2:] - 0.5) / POSITION_SCALE / 4
        wanted.append(torch.cat((offset, depth), dim=-1))
    goal = torch.stack(wanted, dim=2).nan_to_num()  # (B, K, 2, 3)
    near = goal[..., :2].norm(dim=-1) < NEAR / model.config.patch
    near[..., 0] &= distance[:, :, OBJECTS].amin(dim=-1) < NEAR
    logit, place, colour, shape = heads.patch(seen.visual).float().split(
        (2, 6, COLOURS, SHAPES), dim=-1)
    error = F.smooth_l1_loss(place.reshape(goal.shape), goal, reduction='none').sum(-1)
    parts = {'patch': F.binary_cross_entropy_with_logits(logit, near.float()),
             'offset': masked_mean(error, near)}
    for name, answer, classes in (('colour', colour, batch.colours),
                                  ('shape', shape, batch.shapes)):
        truth = classes.gather(1, nearest)
        entropy = F.cross_entropy(answer.flatten(0, 1), truth.clamp(min=0).flatten(),
                                  reduction='none').reshape(truth.shape)
        parts[name] = masked_mean(entropy, near[..., 0] & (truth >= 0))
    return parts


def run_decoder(model: PocketVLA, seen: SeenTokens, batch: Batch,
                state: Tensor) -> tuple[Tensor, Tensor]:
    """Run the decoder; in the last layer only the action queries, nothing else is used.

    Returns:
        Normed hidden rows (B, chunk, hidden) of the action queries, and the visual tokens
        (B, K, hidden) in the middle of the decoder.
    """
    embeds, layout, _, _ = model.assemble(seen.visual, batch.text, state)
    left_out = layout.stop - layout.start - seen.visual.shape[1]
    positions = torch.arange(embeds.shape[1] + left_out)[None]
    after = positions[:, layout.stop:].expand(len(seen.keep), -1)
    before = positions[:, :layout.start].expand(len(seen.keep), -1)
    positions = torch.cat((before, seen.keep + layout.start, after), dim=1)
    decoder, chunk = model.decoder, model.config.chunk
    cos, sin = decoder.rotary(positions, embeds.dtype)
    x, middle = embeds, embeds
    for number, layer in enumerate(decoder.layers):
        last = number == len(decoder.layers) - 1
        normed = layer.input_layernorm(x)
        keys, values = layer.self_attn.keys_values(normed, cos, sin)
        if last:
            normed, x, cos, sin = (one[:, -chunk:] for one in (normed, x, cos, sin))
        queries = layer.self_attn.queries(normed, cos, sin)
        x = x + layer.self_attn.attend(queries, keys, values, None, False)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        if number == len(decoder.layers) // 2 - 1:
            middle = x
    return decoder.norm(x), middle[:, layout.start:layout.start + seen.visual.shape[1]]


def policy_losses(model: PocketVLA, heads: AuxiliaryHeads, batch: Batch,
                  tokens: int | None = None,
                  state_noise: float = 0.0) -> tuple[Tensor, dict[str, float]]:
    """All losses of one batch.

    Args:
        model: the policy.
        heads: its auxiliary heads.
        batch: the batch.
        tokens: visual tokens per sample that the decoder sees; None for all.
        state_noise: standard deviation added to the state, in its standard deviations.

    Returns:
        The weighted sum and the single values.
    """
    seen = encode(model, batch, tokens)
    parts = visual_losses(model, heads, seen, batch)
    state = batch.state
    if state_noise:
        state = state + state_noise * model.state_std * torch.randn_like(state)
    hidden, middle = run_decoder(model, seen, batch, state)
    parts['chunk'] = F.l1_loss(model.head(hidden).float(), batch.chunk)
    way = ((batch.places - batch.state[:, None, :3]) / POSITION_SCALE).flatten(1)
    parts['target'] = F.smooth_l1_loss(heads.target(hidden).float(),
                                       way[:, None].expand(-1, hidden.shape[1], -1))
    meant = seen.offsets[:, :, TARGETS].norm(dim=-1) < NEAR
    parts['ground'] = F.binary_cross_entropy_with_logits(
        heads.ground(middle).float(), meant.float(), pos_weight=torch.tensor(4.0))
    total = sum((WEIGHTS[name] * value for name, value in parts.items()), torch.zeros(()))
    return total, {name: float(value.detach()) for name, value in parts.items()}
