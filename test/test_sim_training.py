"""Training of the shipped policy on made-up demonstrations: data, losses, schedule, resuming."""
from dataclasses import replace
import json

import numpy as np
import pytest
import torch

pytest.importorskip('mujoco')

from vla_pruner_ros.backends.pocket.model import load_pocket  # noqa: E402
from vla_pruner_ros.core.errors import ConfigError  # noqa: E402
from vla_pruner_ros.sim import train  # noqa: E402
from vla_pruner_ros.sim.dataset import Demonstrations  # noqa: E402
from vla_pruner_ros.sim.losses import choose_tokens, encode_patches, patch_distances, policy_losses  # noqa: E402
from vla_pruner_ros.sim.train import make_config, Schedule, Trainer  # noqa: E402

TASKS = ('reach-v3', 'push-v3')
ROWS = 12


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two shards of noise images with plausible labels."""
    path = tmp_path_factory.mktemp('demos')
    rng = np.random.default_rng(0)
    for task in TASKS:
        np.save(path / f'{task}-0.npy',
                rng.integers(0, 255, (ROWS + 3, 224, 224, 3)).astype(np.uint8))
        np.savez(path / f'{task}-0.npz',
                 state=rng.normal((0, 0.6, 0.2, 0.5), 0.05, (ROWS, 4)).astype(np.float32),
                 chunk=rng.uniform(-1, 1, (ROWS, 8, 4)).astype(np.float32),
                 object=np.tile([0.05, 0.7, 0.02], (ROWS, 1)),
                 goal=np.tile([-0.05, 0.85, 0.1], (ROWS, 1)), seed=np.arange(ROWS))
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
    assert batch.images.shape == (2, 3, 224, 224) and 0 <= batch.images.min()
    assert batch.images.max() <= 1 and batch.text.shape[1] in (4, 5, 6)
    assert (batch.text > 0).all()  # no unknown word
    goal, puck = (-0.05, 0.85, 0.1), (0.05, 0.7, 0.02)
    assert torch.allclose(batch.places[0], torch.tensor([goal, goal]))
    assert torch.allclose(batch.places[1], torch.tensor([puck, goal]))


def test_encoding_some_patches_equals_encoding_all_and_gathering(data, folder):
    model = trainer(data, folder).model
    images, keep = torch.rand(2, 3, 224, 224), torch.tensor([[0, 17, 195], [3, 14, 100]])
    whole = model.encode_image(images)
    wanted = whole.gather(1, keep[..., None].expand(-1, -1, 32))
    assert torch.allclose(encode_patches(model, images, keep), wanted, atol=1e-5)


def test_shortened_sequences_keep_the_patches_of_target_and_hand(data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, run.counts, np.random.default_rng(0))
    keep = choose_tokens(run.model, batch, 48)
    assert keep.shape == (4, 48) and (keep.diff(dim=1) > 0).all()
    nearest = patch_distances(run.model, batch).norm(dim=-1).argmin(dim=1)  # (B, 3)
    for row, wanted in zip(keep.tolist(), nearest.tolist()):
        assert set(wanted) <= set(row)


def test_a_shortened_sequence_of_all_tokens_gives_the_full_loss(data, folder):
    run = trainer(data, folder)
    batch = data.batch(run.config, run.counts, np.random.default_rng(0))
    full = policy_losses(run.model, run.heads, batch)[0]
    short = policy_losses(run.model, run.heads, batch, tokens=196)[0]
    assert torch.allclose(full, short, atol=1e-5)


def test_the_learning_rate_warms_up_and_falls_and_the_phases_follow_the_clock():
    schedule = Schedule(60, peak=1.0)
    assert schedule.learning_rate(0.0, 0) == pytest.approx(0.01)
    assert schedule.learning_rate(0.0, 99) == pytest.approx(1.0)
    assert schedule.learning_rate(1.0, 9999) == pytest.approx(0.03)
    assert [schedule.phase(x) for x in (0.0, 0.05, 0.8, 1.0)] == [
        'encoder', 'short', 'full', 'full']


def test_an_image_free_run_never_sees_a_picture(data, folder, monkeypatch):
    run = trainer(data, folder)
    run.config = replace(run.config, image_free=True)
    seen = []
    monkeypatch.setattr(train, 'policy_losses', lambda model, heads, batch, **_: (
        seen.append(float(batch.images.abs().max())), ({}, {'chunk': 0.0}))[1])
    run.validate(1)
    run.config = replace(run.config, image_free=False)
    run.validate(1)
    assert seen[0] == 0.0 and seen[1] > 0.5


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
    assert torch.equal(load_pocket(tmp_path).words.weight, run.average['words.weight'])
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
                       earlier.model.words.weight[old.index('puck')])
    assert torch.equal(run.model.queries, earlier.model.queries)
    assert run.config.state_mean == earlier.config.state_mean


def test_the_command_trains_and_writes_weights_log_and_configuration(folder, tmp_path, capsys):
    train.main(['--demos', str(folder), '--out', str(tmp_path), '--tasks', *TASKS,
                '--per-step', '1', '1', '--minutes', '0.02', '--hidden', '32', '--layers', '1'])
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first['frames'] == {'reach-v3': ROWS - 1, 'push-v3': ROWS - 1}
    assert json.loads((tmp_path / 'log.json').read_text())[-1]['step'] > 0
    assert load_pocket(tmp_path).config.layers == 1
