# SPDX-License-Identifier: Apache-2.0
"""The simulated robot: determinism, shapes, limits, errors; experts; projection."""
import numpy as np
import pytest

pytest.importorskip('metaworld')

from vla_pruner_ros.backends.pocket.pocket_files import load_pocket  # noqa: E402
from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError  # noqa: E402
from vla_pruner_ros.robots import offscreen_rendering as graphics
from vla_pruner_ros.robots.metaworld.metaworld_robot import MetaworldRobot  # noqa: E402
from vla_pruner_ros.robots.tasks import get_task  # noqa: E402
from vla_pruner_ros.training.collect_demonstrations import (  # noqa: E402
    collect,
    FIRST_EVALUATION_SEED,
    record_episode,
)
from vla_pruner_ros.training.demonstration_dataset import Demonstrations  # noqa: E402


@pytest.fixture(scope='module')
def robot():
    robot = MetaworldRobot('reach-v3', 7)
    yield robot
    robot.close()


def test_an_observation_has_the_announced_shapes(robot):
    robot.reset(7)
    seen = robot.observe()
    assert seen.images['corner'].shape == (224, 224, 3)
    assert seen.images['corner'].dtype == np.uint8 and seen.images['corner'].std() > 10
    assert seen.joint_names[:2] == ('right_j0', 'right_j1') and len(seen.joint_names) == 9
    assert seen.joint_positions.shape == (9,) and np.isfinite(seen.joint_positions).all()
    assert seen.state.shape == (4,) and 0 <= seen.gripper_opening <= 1 and seen.time == 0


def test_the_same_seed_and_actions_give_the_same_path_and_another_seed_does_not(robot):
    def path(seed):
        robot.reset(seed)
        first = robot.render()
        for _ in range(5):
            robot.apply(np.array([0.3, 0.5, -0.2, 1.0]))
        return first, robot.observe()

    (image, seen), (again, repeated), (other, _) = path(1), path(1), path(2)
    assert np.array_equal(image, again) and not np.array_equal(image, other)
    assert np.array_equal(seen.joint_positions, repeated.joint_positions)
    assert np.array_equal(seen.images['corner'], repeated.images['corner'])
    assert seen.time == pytest.approx(5 * 0.05)


def test_full_speed_moves_the_hand_about_forty_millimetres_per_control_step(robot):
    robot.reset(3)
    before = robot.observe().ee_position
    for _ in range(5):
        robot.apply(np.array([0.0, 1.0, 0.0, 0.0]))
    moved = robot.observe().ee_position - before
    assert 0.12 < moved[1] <= 0.21 and abs(moved[0]) < 0.02
    robot.reset(3)
    for _ in range(5):
        robot.apply(np.array([0.0, 50.0, 0.0, 0.0]))  # clipped to 1
    assert np.allclose(robot.observe().ee_position - before, moved)


def test_the_gripper_closes_with_plus_one_and_opens_with_minus_one(robot):
    robot.reset(3)
    opening = []
    for value in (1.0, -1.0):
        for _ in range(6):
            robot.apply(np.array([0.0, 0.0, 0.0, value]))
        opening.append(robot.observe().gripper_opening)
    assert opening[0] < 0.6 < opening[1]


def test_an_episode_ends_at_the_step_limit_and_then_wants_a_reset(robot):
    robot.reset(3)
    for _ in range(robot.task.step_limit):
        result = robot.apply(np.zeros(4))
    assert result.truncated and not result.success and result.step == robot.task.step_limit
    with pytest.raises(ConfigError, match='reset'):
        robot.apply(np.zeros(4))
    robot.reset(3)
    assert robot.apply(np.zeros(4)).step == 1


def test_bad_arguments_are_named(robot):
    with pytest.raises(ConfigError, match="'fly-v3'.*reach-v3"):
        MetaworldRobot('fly-v3')
    with pytest.raises(ConfigError, match="corner.*'front'"):
        robot.project(np.zeros(3), 'front')


def test_a_missing_or_unknown_opengl_library_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setenv('MUJOCO_GL', 'crystal-ball')
    with pytest.raises(ConfigError, match='egl'):
        graphics.choose_backend()
    monkeypatch.setenv('MUJOCO_GL', '')
    monkeypatch.setattr(graphics, 'find_backend', lambda: None)
    with pytest.raises(MissingDependencyError, match='libosmesa6'):
        graphics.choose_backend()
    monkeypatch.setenv('MUJOCO_GL', 'OSMESA')
    assert graphics.choose_backend() == 'osmesa'


@pytest.mark.parametrize('task', list(load_pocket().config.instructions))
def test_the_expert_solves_every_shipped_task(task):
    robot = MetaworldRobot(task, 1000)
    while not (robot.success or robot.truncated):
        label = robot.demonstrate(np.zeros(4))
        assert label.shape == (4,) and np.abs(label).max() <= 1
    assert robot.success


def test_a_world_point_is_projected_onto_the_pixels_where_it_is_drawn(robot):
    robot.reset(11)
    image = robot.render().astype(int)
    column, row, depth = robot.project(robot.raw[-3:], 'corner')  # centre of the red ball
    ball = image[int(round(row)), int(round(column))]
    assert ball[0] > 150 and ball[1] < 80 and ball[2] < 80 and 0.5 < depth < 1.5
    red = (image[..., 0] > 180) & (image[..., 1] < 60) & (image[..., 2] < 60)
    near = np.argwhere(red)
    assert np.median(np.linalg.norm(near - [row, column], axis=1)) < 8


def test_a_demonstration_holds_clean_labels_and_repeats_its_last_one(robot):
    rows = record_episode(robot, 12)
    assert robot.success and len(rows) >= 3
    assert all(row['chunk'].shape == (8, 4) and np.abs(row['chunk']).max() <= 1 for row in rows)
    last = rows[-1]['chunk']
    assert np.array_equal(last[2], last[7])
    assert np.abs(rows[0]['chunk'][0, :3]).max() > np.abs(last[0, :3]).max()


def test_a_shard_of_meta_world_becomes_batches_of_one_camera(tmp_path):
    counts = collect('reach-v3', 2, 12, tmp_path)
    data = Demonstrations(tmp_path, ['reach-v3'])
    assert data.cameras == ('corner',) and counts['solved'] == 2
    assert data.frames('reach-v3') + data.frames('reach-v3', held_out=True) == counts['frames']
    assert data.instruction('reach-v3') == 'reach the red ball'
    assert data.wordings() == sorted(get_task('reach-v3').wordings)


def test_demonstrations_cannot_use_evaluation_seeds(tmp_path):
    with pytest.raises(ConfigError, match='below 900000'):
        collect('reach-v3', 2, FIRST_EVALUATION_SEED - 1, tmp_path)
