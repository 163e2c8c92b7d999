# SPDX-License-Identifier: Apache-2.0
"""The shipped tabletop policy: solves its tasks, follows the words, cares which tokens stay."""
import numpy as np
import pytest
import torch

pytest.importorskip('mujoco')

from vla_pruner_ros.backends.pocket.pocket_files import load_pocket  # noqa: E402
from vla_pruner_ros.backends.shipped_policies import checkpoint_folder, WEIGHTS_FILE  # noqa: E402
from vla_pruner_ros.robots.robot_for_task import make_robot  # noqa: E402
from vla_pruner_ros.robots.tasks import get_task, TABLETOP_TASKS  # noqa: E402
from vla_pruner_ros.training.success_rate import predict, solves_episode  # noqa: E402

FOLDER = checkpoint_folder('tabletop')
FIRST_SEED = 900_000


@pytest.fixture(scope='module')
def model():
    torch.set_num_threads(1)
    return load_pocket(FOLDER)


@pytest.fixture
def robot(request):
    robot = make_robot(request.param, FIRST_SEED)
    yield robot
    robot.close()


def solved(model, robot, episodes, mode='full', kept=1.0, horizon=4):
    return sum(solves_episode(model, robot, FIRST_SEED + number, horizon, mode, kept)
               for number in range(episodes))


def test_the_weights_are_small_and_every_word_of_every_task_is_known(model):
    assert (FOLDER / WEIGHTS_FILE).stat().st_size <= 16 * 2**20
    assert set(model.config.instructions) == set(TABLETOP_TASKS)
    assert model.config.cameras == ('front', 'wrist') and not model.config.image_free
    words = {'colour': 'green', 'second': 'blue', 'shape': 'post', 'side': 'far'}
    for task in TABLETOP_TASKS:
        for wording in get_task(task).fill(words):
            assert 0 not in model.config.tokenize(wording), wording


@pytest.mark.parametrize('robot', list(TABLETOP_TASKS), indirect=True)
def test_every_task_is_solved_on_most_of_a_few_fixed_seeds(model, robot):
    assert solved(model, robot, 5) >= 3


@pytest.mark.parametrize('robot', ['pick-colour', 'place-bowl'], indirect=True)
def test_the_gripper_closes_when_the_policy_looks_at_every_step(model, robot):
    assert solved(model, robot, 4, horizon=1) >= 3


@pytest.mark.parametrize('robot', ['reach-colour'], indirect=True)
def test_another_named_colour_moves_the_hand_elsewhere(model, robot):
    robot.reset(FIRST_SEED)
    items = robot.episode.items
    ways = []
    for colour in ('red', 'green', 'blue', 'yellow'):
        text = torch.tensor([model.config.tokenize(f'reach the {colour} cube')])
        chunk = predict(model, robot, text, 'full', 1.0, np.random.default_rng(0))
        ways.append(chunk[:, :2].sum(0))
    for colour, way in enumerate(ways):
        [item] = [one for one in items if one.colour == colour]
        there = item.position[:2] - robot.position[:2]
        cosine = way @ there / np.linalg.norm(way) / np.linalg.norm(there)
        assert cosine > 0.8, (colour, way, there)


@pytest.mark.parametrize('robot', ['reach-object'], indirect=True)
def test_well_chosen_tokens_solve_what_random_and_worst_chosen_ones_do_not(model, robot):
    episodes = 12
    best = solved(model, robot, episodes, 'action', 0.0625)
    random = solved(model, robot, episodes, 'random', 0.0625)
    worst = solved(model, robot, episodes, 'worst', 0.0625)
    assert best >= 9 and random <= best - 4 and worst <= 3, (best, random, worst)
