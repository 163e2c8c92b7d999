# SPDX-License-Identifier: Apache-2.0
"""Training of the shipped policy on made-up demonstrations: data, losses, schedule, resuming."""
from dataclasses import replace
import json

import numpy as np
import pytest
import torch

pytest.importorskip('mujoco')

from vla_pruner_ros.backends.pocket.pocket_files import load_pocket  # noqa: E402
from vla_pruner_ros.core.errors import ConfigError  # noqa: E402
from vla_pruner_ros.robots.tasks import get_task  # noqa: E402
from vla_pruner_ros.training import train_policy as train
from vla_pruner_ros.training.demonstration_dataset import Demonstrations  # noqa: E402
from vla_pruner_ros.training.train_policy import make_config, Schedule, Trainer  # noqa: E402
from vla_pruner_ros.training.training_losses import (  # noqa: E402
    choose_tokens,
    encode_patches,
    patch_offsets,
    policy_losses,
)

TASKS = ('reach-v3', 'push-v3')
ROWS = 12


PLACES = np.array([[[-0.05, 0.85, 0.1]] * 2, [[0.05, 0.7, 0.02], [-0.05, 0.85, 0.1]]])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two shards of noise images from two cameras with plausible labels."""
    path = tmp_path_factory.mktemp('demos')
    rng = np.random.default_rng(0)
    for task, places in zip(TASKS, PLACES):
        np.save(path / f'{task}-0.npy',
                rng.integers(0, 255, (ROWS + 3, 2, 224, 224, 3)).astype(np.uint8))
        points = rng.uniform(8, 216, (ROWS, 2, 8, 3)).astype(np.float32)
        points[:, :, 6:] = np.nan  # three objects
        np.savez(path / f'{task}-0.npz',
                 state=rng.normal((0, 0.6, 0.2, 0.5), 0.05, (ROWS, 4)).astype(np.float32),
                 chunk=rng.uniform(-1, 1, (ROWS, 8, 4)).astype(np.float32),
                 places=np.tile(places.astype(np.float32), (ROWS, 1, 1)), points=points,
                 colours=np.tile([0, 1, 2, -1, -1], (ROWS, 1)),
                 shapes=np.tile([0, 3, -1, -1, -1], (ROWS, 1)),
                 wordings=np.array(['\n'.join(get_task(task).wordings)] * ROWS),
                 cameras=np.array(['front wrist'] * ROWS), seed=np.arange(ROWS))
    return path


@pytest.fixture(scope='module')
def data(folder):
    return Demonstrations(folder, TASKS)


def trainer(data, folder, minutes=60.0, seed=0):
    return Trainer(data, make_config(data, 32, 2), {'reach-v3': 2, 'push-v3': 2},
                   Schedule(minutes), folder, seed)


def test_the_last_episodes_are_held_out_and_missing_shards_are_named(data, folder):
    assert data.frames('reach-v3') == ROWS - 1 and data.frames('reach-v3', held_out=True) == 1
    with pytest.raises(ConfigError, match='drawer-open-v3'):
        Demonstrations(folder, ['drawer-open-v3'])


def test_a_batch_is_never_padded_and_marks_what_each_task_must_find(data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, {'reach-v3': 1, 'push-v3': 1}, np.random.default_rng(0))
    assert batch.images.shape == (2, 2, 224, 224, 3) and batch.images.dtype == torch.uint8
    assert batch.text.shape[1] in (4, 5, 6)
    assert (batch.text > 0).all()  # no unknown word
    for places in batch.places:
        assert any(np.allclose(places, one) for one in PLACES)


def test_tasks_keep_their_share_whatever_the_number_of_words(data, folder):
    run, rng, found = trainer(data, folder), np.random.default_rng(0), 0
    for _ in range(150):
        batch = data.batch(run.config, {'reach-v3': 1, 'push-v3': 3}, rng)
        found += int((batch.places[:, 0, 2] == batch.places[:, 1, 2]).sum())
    assert 105 < found < 195  # 150 of 600 in the mean, standard deviation 11 and more


def test_the_wording_belongs_to_the_frame(data, folder):
    run, rng = trainer(data, folder), np.random.default_rng(0)
    puck = run.config.words.index('puck')
    for _ in range(10):
        batch = data.batch(run.config, run.counts, rng)
        push = batch.places[:, 0, 2] != batch.places[:, 1, 2]
        assert torch.equal((batch.text == puck).any(dim=1), push)


def test_a_shifted_picture_takes_its_labels_along(data, folder):
    config = trainer(data, folder).config
    plain = data._sample('push-v3', 3, 5, config, np.random.default_rng(0), 0)
    moved = data._sample('push-v3', 3, 5, config, np.random.default_rng(0), 2)
    for camera in (0, 1):
        right, down = np.round(moved['points'][camera, 0, :2]
                               - plain['points'][camera, 0, :2]).astype(int)
        wanted = np.roll(plain['images'][camera], (down, right), axis=(0, 1))[5:-5, 5:-5]
        assert np.array_equal(moved['images'][camera, 5:-5, 5:-5], wanted)
    assert np.isnan(moved['points'][:, 6:]).all()


def test_encoding_some_patches_equals_encoding_all_and_gathering(data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, run.counts, np.random.default_rng(0), jitter=0.1)
    keep = torch.tensor([[0, 17, 195, 300], [3, 14, 100, 391]] * 2)
    pixels = batch.images / 255.0 * batch.gain[:, :, None, None] + batch.bias[:, :, None, None]
    whole = run.model.encode_image(pixels.permute(0, 1, 4, 2, 3))
    wanted = whole.gather(1, keep[..., None].expand(-1, -1, 32))
    assert torch.allclose(encode_patches(run.model, batch, keep), wanted, atol=1e-5)


def test_shortened_sequences_keep_the_patches_of_objects_and_hand(data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, run.counts, np.random.default_rng(0))
    offsets = patch_offsets(run.model, batch)
    keep = choose_tokens(offsets, 48)
    assert keep.shape == (4, 48) and (keep.diff(dim=1) > 0).all()
    distances = offsets.norm(dim=-1)[:, :, 2:6]  # hand and three objects
    for camera in (0, 196):
        nearest = camera + distances[:, camera:camera + 196].argmin(dim=1)
        for row, wanted, near in zip(keep.tolist(), nearest.tolist(),
                                     distances[:, camera:camera + 196].amin(dim=1).tolist()):
            assert {one for one, far in zip(wanted, near) if far < 10} <= set(row)


def test_a_target_gets_no_more_patches_than_any_other_object(data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, run.counts, np.random.default_rng(0))
    offsets = patch_offsets(run.model, batch)
    changed = offsets.clone()
    changed[:, :, :2] = 0.0  # a target everywhere
    torch.manual_seed(0)
    first = choose_tokens(offsets, 48)
    torch.manual_seed(0)
    assert torch.equal(first, choose_tokens(changed, 48))


def test_a_shortened_sequence_of_all_tokens_gives_the_full_loss_and_the_model_s_answer(
        data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, run.counts, np.random.default_rng(0))
    full, parts = policy_losses(run.model, run.heads, batch)
    short = policy_losses(run.model, run.heads, batch, tokens=392)[0]
    assert torch.allclose(full, short, atol=1e-5)
    answer = run.model(batch.images.permute(0, 1, 4, 2, 3) / 255.0, batch.text, batch.state)
    error = float((answer.detach() - batch.chunk).abs().mean())
    assert parts['chunk'] == pytest.approx(error, abs=1e-5)


def test_unknown_colours_and_shapes_and_missing_objects_teach_nothing(data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, run.counts, np.random.default_rng(0))
    parts = policy_losses(run.model, run.heads, batch)[1]
    unknown = replace(batch, colours=torch.full_like(batch.colours, -1))
    assert parts['colour'] > 0 and policy_losses(run.model, run.heads, unknown)[1]['colour'] == 0
    points = batch.points.clone()
    points[:, :, 3:] = float('nan')
    loss, parts = policy_losses(run.model, run.heads, replace(batch, points=points))
    assert torch.isfinite(loss) and parts['shape'] == 0


def test_the_learning_rate_warms_up_and_falls_and_the_phases_follow_the_clock():
    schedule = Schedule(60, peak=1.0)
    assert schedule.learning_rate(0.0, 0) == pytest.approx(0.01)
    assert schedule.learning_rate(0.0, 99) == pytest.approx(1.0)
    assert schedule.learning_rate(1.0, 9999) == pytest.approx(0.03)
    assert [schedule.phase(x) for x in (0.0, 0.05, 0.8, 1.0)] == [
        'encoder', 'short', 'full', 'full']


def test_an_image_free_run_never_sees_a_picture(data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, run.counts, np.random.default_rng(0))
    other = replace(batch, images=255 - batch.images)
    assert policy_losses(run.model, run.heads, batch)[0] != policy_losses(
        run.model, run.heads, other)[0]
    run.model.config = replace(run.config, image_free=True)
    assert policy_losses(run.model, run.heads, batch)[0] == policy_losses(
        run.model, run.heads, other)[0]


def test_training_lowers_the_loss_of_a_few_frames(data, folder):
    run = trainer(data, folder)
    run.schedule = Schedule(60, encoder=0.0, short=0.0)  # full sequences from the start
    losses = [run.train_step()['target'] for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_a_killed_run_continues_and_its_weights_can_be_loaded(data, folder, tmp_path):
    run = trainer(data, tmp_path)
    for _ in range(3):
        run.train_step()
    run.elapsed = 100.0
    run.save()
    again = trainer(data, tmp_path, seed=5)
    assert again.resume() and again.step == 3 and again.elapsed == 100.0
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    assert torch.equal(load_pocket(tmp_path).words.weight,
                       run.average['words.weight'].half().float())
    assert not trainer(data, tmp_path / 'new').resume()


def test_a_run_can_start_from_another_one_with_fewer_words(data, folder, tmp_path):
    earlier = Trainer(Demonstrations(folder, ['push-v3']),
                      make_config(Demonstrations(folder, ['push-v3']), 32, 2), {'push-v3': 1},
                      Schedule(1), tmp_path, 0)
    earlier.save()
    run = trainer(data, tmp_path / 'next', seed=9)
    run.start_from(tmp_path)
    old, new = earlier.config.words, run.config.words
    assert set(old) < set(new)
    assert torch.equal(run.model.words.weight[new.index('puck')],
                       earlier.average['words.weight'][old.index('puck')].half().float())
    assert torch.equal(run.model.queries, earlier.average['queries'].half().float())
    assert run.config.state_mean == earlier.config.state_mean


def test_a_run_with_word_positions_can_start_from_one_without(data, folder, tmp_path):
    trainer(data, tmp_path).save()
    run = Trainer(data, make_config(data, 32, 2, word_positions=True),
                  {'reach-v3': 2, 'push-v3': 2}, Schedule(1), tmp_path / 'next', 1)
    fresh = run.model.word_positions.detach().clone()
    run.start_from(tmp_path)
    assert torch.equal(run.model.word_positions, fresh)
    assert torch.equal(run.average['word_positions'], fresh)


def test_the_command_trains_and_writes_weights_log_and_configuration(folder, tmp_path, capsys):
    train.main(['--demos', str(folder), '--out', str(tmp_path), '--tasks', *TASKS,
                '--per-step', '1', '1', '--minutes', '0.02', '--hidden', '32', '--layers', '1'])
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first['frames'] == {'reach-v3': ROWS - 1, 'push-v3': ROWS - 1}
    assert json.loads((tmp_path / 'log.json').read_text())[-1]['step'] > 0
    assert load_pocket(tmp_path).config.layers == 1
