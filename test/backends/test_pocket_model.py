# SPDX-License-Identifier: Apache-2.0
"""PocketVLA: sequence layout, token removal, locality, words, checkpoints, shipped weights."""
from dataclasses import replace
import json

import numpy as np
import pytest
from safetensors.torch import load_file
import torch

from vla_pruner_ros.backends.pocket.pocket_files import load_pocket, save_pocket
from vla_pruner_ros.backends.pocket.pocket_model import PocketConfig, PocketVLA
from vla_pruner_ros.backends.shipped_policies import DEFAULT, FOLDERS, WEIGHTS_FILE
from vla_pruner_ros.core.errors import BackendError, ConfigError, InputError


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    config = PocketConfig(
        words=('<unk>', 'ball', 'reach', 'red', 'the'),
        instructions={'reach-v3': 'reach the ball'},
        state_mean=(0.0, 0.6, 0.2, 0.5), state_std=(0.1, 0.1, 0.1, 0.3),
        hidden=32, inner=48, layers=2, heads=2)
    return PocketVLA(config).eval()


def inputs(batch=1):
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(batch, 3, 224, 224, generator=generator), torch.tensor([[2, 4, 1]] * batch),
            torch.rand(batch, 4, generator=generator))


def test_the_sequence_is_begin_visual_state_words_queries(model):
    image, text, state = inputs()
    visual = model.encode_image(image)
    embeds, layout, words, actions = model.assemble(visual, text, state)
    assert visual.shape == (1, 196, 32) and embeds.shape == (1, 1 + 196 + 1 + 3 + 8, 32)
    assert (layout.start, layout.stop, layout.rows, layout.cols) == (1, 197, 14, 14)
    assert (words, actions) == (slice(198, 201), slice(201, 209))
    assert torch.equal(embeds[:, layout.start:layout.stop], visual)
    assert torch.equal(embeds[:, words], model.words(text))


def test_keeping_all_tokens_is_bit_identical_to_no_pruning(model):
    full = model(*inputs())
    assert full.shape == (1, 8, 4)
    assert torch.equal(full, model(*inputs(), keep=torch.arange(196)))


def test_dropping_tokens_changes_the_answer(model):
    assert not torch.allclose(model(*inputs()), model(*inputs(), keep=torch.arange(0, 196, 4)))


def masked_pass(model, embeds, layout, keep):
    """Answer with the dropped tokens hidden from everybody instead of removed."""
    visible = torch.ones(embeds.shape[1], dtype=torch.bool)
    visible[layout.start:layout.stop] = False
    visible[layout.start + keep] = True
    mask = visible[None, None, None].expand(1, 1, len(visible), -1)
    return model.head(model.decoder(embeds, mask=mask)[:, -8:])


def test_a_pruned_pass_equals_masking_the_dropped_tokens(model):
    image, text, state = (value.double() if value.is_floating_point() else value
                          for value in inputs())
    double = PocketVLA(model.config).double().eval()
    keep = torch.arange(5, 196, 7)
    embeds, layout, _, _ = double.assemble(double.encode_image(image), text, state)
    masked = masked_pass(double, embeds, layout, keep)
    pruned = double(image, text, state, keep=keep)
    assert (masked - pruned).abs().max() < 1e-10
    unrotated = double.head(double.decoder(  # negative control: positions renumbered
        torch.cat((embeds[:, :1], embeds[:, 1:197][:, keep], embeds[:, 197:]), 1),
        causal=False)[:, -8:])
    assert (unrotated - pruned).abs().max() > 1e-6


def test_a_visual_token_sees_only_its_own_patch(model):
    image, _, _ = inputs()
    changed = image.clone()
    changed[..., 32:48, 64:80] = 0.5  # row 2, column 4
    moved = (model.encode_image(image) - model.encode_image(changed)).abs().amax(-1)[0]
    assert torch.nonzero(moved).flatten().tolist() == [2 * 14 + 4]


@pytest.fixture(scope='module')
def two_cameras(model):
    torch.manual_seed(1)
    return PocketVLA(replace(model.config, cameras=('front', 'wrist'))).eval()


def test_pictures_of_two_cameras_follow_each_other_and_are_told_apart(two_cameras):
    images, text, state = torch.rand(1, 2, 3, 224, 224), *inputs()[1:]
    visual = two_cameras.encode_image(images)
    embeds, layout, words, _ = two_cameras.assemble(visual, text, state)
    assert visual.shape == (1, 392, 32) and (layout.images, layout.stop) == (2, 393)
    assert words == slice(394, 397) and torch.equal(embeds[:, 1:393], visual)
    changed = images.clone()
    changed[:, 1, :, :16, 16:32] = 0.5  # second camera, second patch of the first row
    moved = (two_cameras.encode_image(changed) - visual).abs().amax(-1)[0]
    assert torch.nonzero(moved).flatten().tolist() == [196 + 1]
    same = two_cameras.encode_image(images[:, :1].expand(-1, 2, -1, -1, -1))
    assert not torch.allclose(same[:, :196], same[:, 196:], atol=1e-3)


def test_two_cameras_pruned_equal_masking_the_dropped_tokens(two_cameras):
    double = PocketVLA(two_cameras.config).double().eval()
    images, text, state = torch.rand(1, 2, 3, 224, 224).double(), *inputs()[1:]
    state, keep = state.double(), torch.cat((torch.arange(3, 196, 9), torch.arange(200, 392, 5)))
    embeds, layout, _, _ = double.assemble(double.encode_image(images), text, state)
    masked = masked_pass(double, embeds, layout, keep)
    assert (masked - double(images, text, state, keep=keep)).abs().max() < 1e-10
    assert (masked - double(images, text, state)).abs().max() > 1e-6  # negative control


def test_a_global_encoder_lets_every_token_see_every_patch(model):
    torch.manual_seed(2)
    mixed = PocketVLA(replace(model.config, vision_layers=1)).eval()
    image, _, _ = inputs()
    changed = image.clone()
    changed[..., 32:48, 64:80] = 0.5
    moved = (mixed.encode_image(image) - mixed.encode_image(changed)).abs().amax(-1)[0]
    assert (moved > 0).all()
    assert set(model.state_dict()) < set(mixed.state_dict())  # a local policy has no such layers


def test_with_word_positions_a_word_knows_its_place(model):
    torch.manual_seed(3)
    placed = PocketVLA(replace(model.config, word_positions=True)).eval()
    assert set(placed.state_dict()) == {*model.state_dict(), 'word_positions'}
    state = torch.zeros(1, 4)
    for network, differs in ((model, False), (placed, True)):
        first, _, second = network.embed_prompt(torch.tensor([[3, 1, 3]]), state)[0, 1:]
        assert torch.equal(first, second) is not differs


def test_words_are_lower_cased_cut_at_sixteen_and_unknown_ones_are_zero(model):
    assert model.config.tokenize('Reach the RED ball, please!') == [2, 4, 3, 1, 0]
    assert len(model.config.tokenize('ball ' * 10_000)) == 16
    with pytest.raises(InputError):
        model.config.tokenize(' ... ')


def test_a_saved_configuration_is_read_back(model):
    stored = json.loads(json.dumps(model.config.to_json()))
    assert PocketConfig.from_json(stored) == model.config
    with pytest.raises(ConfigError):
        PocketConfig.from_json({'colour': 'red'})


def write_checkpoint(model, folder, change):
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    change(tensors)
    save_pocket(folder, model.config, tensors)


def test_a_checkpoint_comes_back_and_a_bad_one_names_its_tensor(model, tmp_path):
    write_checkpoint(model, tmp_path, lambda tensors: None)
    assert torch.equal(load_pocket(tmp_path)(*inputs()), model(*inputs()))
    write_checkpoint(model, tmp_path, lambda tensors: tensors.pop('begin'))
    with pytest.raises(BackendError, match='missing.*begin'):
        load_pocket(tmp_path)
    write_checkpoint(model, tmp_path, lambda tensors: tensors.update(begin=torch.zeros(3)))
    with pytest.raises(BackendError, match=r'begin is \(3,\)'):
        load_pocket(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(b'not a checkpoint')
    with pytest.raises(BackendError, match='safetensors'):
        load_pocket(tmp_path)
    with pytest.raises(ConfigError, match='nowhere'):
        load_pocket(tmp_path / 'nowhere')


def test_the_shipped_weights_load_are_small_and_know_at_least_three_tasks():
    model = load_pocket()
    assert (FOLDERS[DEFAULT] / WEIGHTS_FILE).stat().st_size <= 16 * 2**20
    tensors = load_file(FOLDERS[DEFAULT] / WEIGHTS_FILE)
    assert all(torch.isfinite(value).all() for value in tensors.values())
    assert len(model.config.instructions) >= 3
    for instruction in model.config.instructions.values():
        assert 0 not in model.config.tokenize(instruction)  # every word is in the vocabulary


def test_the_shipped_policy_reads_the_instruction():
    model = load_pocket()
    image, _, state = inputs()
    chunks = [model(image, torch.tensor([model.config.tokenize(text)]), state).detach().numpy()
              for text in model.config.instructions.values()]
    assert all(np.isfinite(chunk).all() for chunk in chunks)
    assert np.abs(chunks[0] - chunks[1]).max() > 0.05
