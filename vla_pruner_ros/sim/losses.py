"""Training losses of the shipped policy: behaviour cloning plus privileged auxiliary targets.

The auxiliary heads know where the target and the hand are (the simulator does).  They teach the
patch encoder what a target looks like and the action queries where it is, with far fewer
demonstrations than actions alone would need; the heads are thrown away after training.
"""
from typing import Dict, Optional, Tuple

import torch
from torch import nn, Tensor
import torch.nn.functional as F

from vla_pruner_ros.backends.pocket.model import PocketVLA
from vla_pruner_ros.sim.dataset import Batch

REACH_PIXELS = 20.0  # a patch this close (pixels, centre to point) answers for the point
POSITION_SCALE = 0.1  # metres per unit of the regressed target position
POSITION_CENTRE = (0.0, 0.75, 0.15)  # metres
WEIGHTS = {'chunk': 1.0, 'target': 0.3, 'patch': 0.2, 'offset': 0.2}


class AuxiliaryHeads(nn.Module):
    """Heads that exist only in training.

    ``patch``: per visual token, for target and hand: logit, then column and row offset (patches)
    and depth.  ``target``: per action query, the positions of the two things to find.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.patch = nn.Linear(hidden, 8)
        self.target = nn.Linear(hidden, 6)


def patch_distances(model: PocketVLA, batch: Batch) -> Tensor:
    """Offsets (B, 196, 3, 2) in pixels from every patch centre to both targets and the hand."""
    side, patch = model.config.grid, model.config.patch
    centres = (torch.arange(side).float() + 0.5) * patch
    rows, columns = torch.meshgrid(centres, centres, indexing='ij')
    grid = torch.stack((columns.reshape(-1), rows.reshape(-1)), dim=-1)
    return batch.pixels[:, None, :, :2] - grid[None, :, None, :]


def encode_patches(model: PocketVLA, images: Tensor, keep: Tensor) -> Tensor:
    """Visual tokens (B, K, hidden) of the chosen patches only; equals ``encode_image`` gathered.

    Possible because the encoder is local; it saves the time of the patches left out.
    """
    side, patch = model.config.grid, model.config.patch
    count, chosen = keep.shape
    patches = images.reshape(count, 3, side, patch, side, patch).permute(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(count, side * side, 3, patch, patch)
    index = keep[:, :, None, None, None].expand(-1, -1, 3, patch, patch)
    column = patches.gather(1, index).permute(0, 2, 1, 3, 4)
    tokens = model.stem(column.reshape(count, 3, chosen * patch, patch)) + model.positions[keep]
    return tokens + model.projector(tokens)


def visual_losses(model: PocketVLA, heads: AuxiliaryHeads, visual: Tensor, batch: Batch,
                  keep: Optional[Tensor] = None) -> Dict[str, Tensor]:
    """Patch classification and regression on the visual tokens (B, 196 or K, hidden)."""
    offsets = patch_distances(model, batch)
    depth = ((batch.pixels[:, None, :, 2:] - 1.0) / POSITION_SCALE).expand(
        -1, offsets.shape[1], -1, -1)
    wanted = torch.cat((offsets / model.config.patch, depth), dim=-1)  # (B, 196, 3, 3)
    if keep is not None:
        wanted = wanted.gather(1, keep[:, :, None, None].expand(-1, -1, 3, 3))
    first, second, hand = wanted.unbind(dim=2)
    nearer = first[..., :2].norm(dim=-1) <= second[..., :2].norm(dim=-1)
    wanted = torch.stack((torch.where(nearer[..., None], first, second), hand), dim=2)
    near = wanted[..., :2].norm(dim=-1) < REACH_PIXELS / model.config.patch  # (B, 196 or K, 2)
    logit, place = heads.patch(visual).float().split((2, 6), dim=-1)
    loss = F.binary_cross_entropy_with_logits(logit, near.float(),
                                              pos_weight=torch.tensor(8.0))
    error = F.smooth_l1_loss(place.reshape(wanted.shape), wanted, reduction='none').sum(-1)
    return {'patch': loss, 'offset': (error * near).sum() / near.sum().clamp(min=1)}


def choose_tokens(model: PocketVLA, batch: Batch, count: int) -> Tensor:
    """Indices (B, count) of visual tokens for a shortened training sequence.

    The patches around the targets and the hand always stay, the rest are drawn at random: decoder
    time falls with the sequence while the information that the action needs is still there.
    """
    distance = patch_distances(model, batch).norm(dim=-1).amin(dim=-1)  # (B, 196)
    score = torch.rand_like(distance) + 2.0 * (distance < REACH_PIXELS)
    return score.topk(count, dim=1).indices.sort(dim=1).values


def run_decoder(model: PocketVLA, visual: Tensor, batch: Batch, state: Tensor,
                keep: Optional[Tensor]) -> Tensor:
    """Normed hidden rows (B, chunk, hidden) of the action queries.

    ``visual`` holds the tokens named by ``keep`` (B, K), which differ per sample, or all of them.
    """
    embeds, layout, _, _ = model.assemble(visual, batch.text, state)
    if keep is None:
        return model.decode(embeds)
    after = layout.stop + torch.arange(embeds.shape[1] - layout.start - keep.shape[1])
    before = torch.arange(layout.start)
    positions = torch.cat((before.expand(len(keep), -1), keep + layout.start,
                           after.expand(len(keep), -1)), dim=1)
    return model.decoder(embeds, positions=positions, causal=False)[:, -model.config.chunk:]


def encode(model: PocketVLA, batch: Batch,
           tokens: Optional[int]) -> Tuple[Tensor, Optional[Tensor]]:
    """Visual tokens of all patches, or of ``tokens`` chosen ones with their indices."""
    if tokens is None:
        return model.encode_image(batch.images), None
    keep = choose_tokens(model, batch, tokens)
    return encode_patches(model, batch.images, keep), keep


def policy_losses(model: PocketVLA, heads: AuxiliaryHeads, batch: Batch,
                  tokens: Optional[int] = None,
                  state_noise: float = 0.0) -> Tuple[Tensor, Dict[str, float]]:
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
    visual, keep = encode(model, batch, tokens)
    parts = visual_losses(model, heads, visual, batch, keep)
    state = batch.state
    if state_noise:
        state = state + state_noise * model.state_std * torch.randn_like(state)
    hidden = run_decoder(model, visual, batch, state, keep)
    parts['chunk'] = F.l1_loss(model.head(hidden).float(), batch.chunk)
    wanted = ((batch.places - torch.tensor(POSITION_CENTRE)) / POSITION_SCALE).flatten(1)
    parts['target'] = F.smooth_l1_loss(heads.target(hidden).float(),
                                       wanted[:, None].expand(-1, hidden.shape[1], -1))
    total = sum(WEIGHTS[name] * value for name, value in parts.items())
    return total, {name: float(value.detach()) for name, value in parts.items()}
