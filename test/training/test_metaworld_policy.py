# SPDX-License-Identifier: Apache-2.0
"""The shipped policy in closed loop, the gate's selections, and the arithmetic of the reports."""
import json

import numpy as np
import pytest
import torch

pytest.importorskip('metaworld')

from vla_pruner_ros.backends.pocket.pocket_files import load_pocket  # noqa: E402
from vla_pruner_ros.backends.shipped_policies import DEFAULT, FOLDERS  # noqa: E402
from vla_pruner_ros.core.errors import ConfigError  # noqa: E402
from vla_pruner_ros.robots.metaworld.metaworld_robot import MetaworldRobot  # noqa: E402
from vla_pruner_ros.training import success_rate as evaluation
from vla_pruner_ros.training.discrimination_gate import verdict  # noqa: E402
from vla_pruner_ros.training.gate_selection import choose, visual_attention  # noqa: E402
from vla_pruner_ros.training.success_rate import predict, run_part, solves_episode  # noqa: E402

SEEDS = (900_000, 900_001, 900_002)


@pytest.fixture(scope='module')
def model():
    torch.set_num_threads(1)
    return load_pocket()


@pytest.fixture(scope='module')
def robot():
    robot = MetaworldRobot('reach-v3', 900_000)
    yield robot
    robot.close()


def sequence(model, robot):
    robot.reset(900_000)
    seen = robot.observe()
    image = torch.from_numpy(seen.images['corner'].copy()).permute(2, 0, 1)[None] / 255.0
    text = torch.tensor([model.config.tokenize(robot.instruction)])
    with torch.no_grad():
        return model.assemble(model.encode_image(image), text,
                              torch.from_numpy(seen.state)[None]), text


@pytest.mark.parametrize('task', list(load_pocket().config.instructions))
def test_the_shipped_policy_solves_at_least_two_of_three_fixed_seeds(model, task):
    robot = MetaworldRobot(task, SEEDS[0])
    solved = [solves_episode(model, robot, seed, horizon=4) for seed in SEEDS]
    robot.close()
    assert sum(solved) >= 2


def test_an_episode_is_reproducible(model, robot):
    paths = []
    for _ in range(2):
        solves_episode(model, robot, 900_001, 4, 'random', 0.5)
        paths.append((robot.step_count, robot.observe().joint_positions))
    assert paths[0][0] == paths[1][0] and np.array_equal(paths[0][1], paths[1][1])


def test_a_chunk_is_finite_and_clipped(model, robot):
    (_, text) = sequence(model, robot)
    chunk = predict(model, robot, text, 'full', 1.0, np.random.default_rng(0))
    assert chunk.shape == (8, 4) and np.isfinite(chunk).all() and np.abs(chunk).max() <= 1


def test_action_attention_finds_the_ball(model, robot):
    (embeds, _, words, actions), _ = sequence(model, robot)
    keep = choose(model, embeds, words, actions, 'action', 0.25, np.random.default_rng(0))
    column, row, _ = robot.project(robot.raw[-3:], 'corner')
    assert len(keep) == 49 and int(row // 16) * 14 + int(column // 16) in keep.tolist()


def test_attention_equals_a_plain_softmax_on_the_first_layer(model, robot):
    (embeds, layout, _, actions), _ = sequence(model, robot)
    one = load_pocket()
    one.decoder.layers = one.decoder.layers[:1]
    layer = one.decoder.layers[0]
    cos, sin = one.decoder.rotary(torch.arange(embeds.shape[1])[None], embeds.dtype)
    with torch.no_grad():
        q, k, _ = layer.self_attn.project(layer.input_layernorm(embeds), cos, sin)
        wanted = torch.zeros(196)
        for head in range(q.shape[1]):
            for row in range(actions.start, actions.stop):
                scores = (k[0, head] @ q[0, head, row]) / q.shape[-1] ** 0.5
                wanted += scores.softmax(0)[layout.start:layout.stop]
    wanted /= q.shape[1] * (actions.stop - actions.start)
    assert torch.allclose(visual_attention(one, embeds, actions), wanted, atol=1e-6)


def test_best_and_worst_tokens_are_disjoint_and_random_ones_follow_the_seed(model, robot):
    (embeds, _, words, actions), _ = sequence(model, robot)

    def pick(mode, seed=0, kept=0.25):
        return choose(model, embeds, words, actions, mode, kept, np.random.default_rng(seed))

    assert pick('full') is None
    assert not set(pick('action').tolist()) & set(pick('worst').tolist())
    assert torch.equal(pick('random', 1), pick('random', 1))
    assert not torch.equal(pick('random', 1), pick('random', 2))
    with pytest.raises(ConfigError, match='best.*action'):
        pick('best')
    with pytest.raises(ConfigError, match='kept'):
        pick('action', kept=0.0)


@pytest.mark.parametrize('successes, passed', [
    ((50, 40, 20, 5), True), ((50, 40, 21, 5), False), ((50, 40, 20, 13), False),
    ((50, 0, 0, 0), False)])
def test_the_gate_wants_twice_the_random_success_and_a_failing_worst_choice(successes, passed):
    assert verdict(dict(zip(('full', 'action', 'random', 'worst'), successes))) is passed


def test_evaluation_counts_successes_and_names_failed_seeds(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(evaluation, 'run_part', lambda job: [
        {'seed': seed, 'solved': seed % 4 != 0, 'steps': seed % 100} for seed in job['seeds']])
    evaluation.main(['--weights', str(FOLDERS[DEFAULT]), '--tasks', 'reach-v3', '--episodes', '8',
                     '--jobs', '1', '--out', str(tmp_path / 'out' / 'result.json')])
    row = json.loads((tmp_path / 'out' / 'result.json').read_text())['rows'][0]
    assert row['successes'] == 6 and row['rate'] == 0.75
    assert row['interval'] == [0.4093, 0.9285]  # 0.66889 -+ 0.25963
    assert row['failed_seeds'] == [900_000, 900_004]
    assert json.loads(capsys.readouterr().out)['interval'] == row['interval']


@pytest.mark.parametrize('arguments', [{'episodes': 0}, {'episodes': 1, 'horizon': 9}])
def test_unusable_evaluation_arguments_are_refused(arguments):
    with pytest.raises(ConfigError):
        evaluation.evaluate(FOLDERS[DEFAULT], 'reach-v3', **arguments)


def test_a_worker_reports_every_seed(model):
    rows = run_part({'weights': FOLDERS[DEFAULT], 'task': 'reach-v3', 'seeds': [900_003],
                     'horizon': 8, 'mode': 'full', 'kept': 1.0})
    assert [row['seed'] for row in rows] == [900_003] and rows[0]['steps'] > 0
