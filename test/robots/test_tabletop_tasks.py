# SPDX-License-Identifier: Apache-2.0
"""The tabletop tasks: placement, wording, success and failure, experts, labels."""
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('mujoco')

from vla_pruner_ros.robots.tabletop import episode_placements as episodes
from vla_pruner_ros.robots.tabletop import tabletop_expert as experts
from vla_pruner_ros.robots.tabletop import tabletop_expert_success as expert_success
from vla_pruner_ros.robots.tabletop.success_rules import HOLD_STEPS  # noqa: E402
from vla_pruner_ros.robots.tabletop.tabletop_objects import (  # noqa: E402
    BOWL,
    COLOURS,
    CUBE,
    HALF_HEIGHT,
    HALF_WIDTH,
    LAMP,
    SHAPES,
    touch_points,
)
from vla_pruner_ros.robots.tabletop.tabletop_robot import TabletopRobot  # noqa: E402
from vla_pruner_ros.robots.tasks import TABLETOP_TASKS  # noqa: E402

TOUCH_TASKS = [name for name in TABLETOP_TASKS if name not in ('pick-colour', 'place-bowl')]


@pytest.fixture(scope='module')
def robots():
    made = {}
    yield lambda name: made.setdefault(name, TabletopRobot(name, 0))
    for robot in made.values():
        robot.close()


def drive_to(robot, target, limit=30):
    """Go to a point from above, whatever the instruction says."""
    for _ in range(limit):
        if robot.success or robot.truncated:
            return
        robot.apply(experts._towards(robot.position, target, experts.HOVER, 0.012, -1.0))


@pytest.mark.parametrize('task', TABLETOP_TASKS)
def test_objects_lie_apart_in_the_area_and_fully_in_the_front_picture(robots, task):
    robot = robots(task)
    for seed in range(40):
        robot.reset(seed)
        centres = robot.objects
        gaps = np.linalg.norm(centres[:, None, :2] - centres[None, :, :2], axis=-1)
        assert (gaps + np.eye(len(centres))).min() >= 0.0999 and 2 <= len(centres) <= 5
        for item, centre in zip(robot.episode.items, centres):
            low, high = episodes.AREA_LOW, episodes.AREA_HIGH
            assert (centre[:2] >= low - 1e-9).all() and (centre[:2] <= high + 1e-9).all()
            half = np.array([HALF_WIDTH[item.shape]] * 2 + [HALF_HEIGHT[item.shape]])
            signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
            turn = np.array([[np.cos(item.yaw), -np.sin(item.yaw), 0],
                             [np.sin(item.yaw), np.cos(item.yaw), 0], [0, 0, 1]])
            pixels = robot.project(centre + signs * half @ turn.T, 'front')[:, :2]
            assert pixels.min() > 0 and pixels.max() < 224
        if task not in ('reach-behind',):
            distance = np.linalg.norm(touch_points(centres, robot.privileged().shapes)
                                      - robot.position, axis=1)
            assert distance.min() >= 0.079


def test_a_cube_is_more_than_twenty_pixels_wide_at_the_tables_centre(robots):
    ends = robots('reach-colour').project(
        np.array([[0.42, -0.025, 0.025], [0.42, 0.025, 0.025]]), 'front')
    assert ends[1, 0] - ends[0, 0] > 20


@pytest.mark.parametrize('task', TABLETOP_TASKS)
def test_every_wording_is_short_and_from_a_small_vocabulary(task):
    wordings = [wording for seed in range(60) for wording in TABLETOP_TASKS[task].fill(
        episodes.draw_episode(task, seed).words)]
    assert all(4 <= len(wording.split()) <= 9 and '{' not in wording for wording in wordings)
    assert len(TABLETOP_TASKS[task].wordings) >= 3 and len(set(wordings)) > 8
    assert len({word for wording in wordings for word in wording.split()}) < 25


@pytest.mark.parametrize('task', ['reach-colour', 'reach-shape', 'reach-object', 'pick-colour'])
def test_the_words_name_exactly_one_object(task):
    for seed in range(60):
        episode = episodes.draw_episode(task, seed)
        named = [(SHAPES[item.shape], COLOURS[item.colour]) for item in episode.items]
        shape = episode.words['shape']
        assert named.count((shape, episode.words['colour'])) == 1
        assert named[episode.goals[0]] == (shape, episode.words['colour'])


def test_one_word_alone_does_not_tell_the_object_of_reach_object():
    for seed in range(60):
        episode = episodes.draw_episode('reach-object', seed)
        goal = episode.items[0]
        assert sum(item.colour == goal.colour for item in episode.items) >= 2
        assert sum(item.shape == goal.shape for item in episode.items) >= 2


def test_left_right_near_and_far_are_as_the_front_picture_shows_them(robots):
    robot, sides = robots('reach-relation'), set()
    for seed in range(40):
        robot.reset(seed)
        kinds = [(item.shape, item.colour) for item in robot.episode.items]
        assert kinds.count(kinds[0]) == 2 and kinds[0] == kinds[1]
        named, other = robot.project(robot.objects[:2], 'front')
        side = robot.episode.words['side']
        assert {'left': named[0] < other[0], 'right': named[0] > other[0],
                'near': named[1] > other[1], 'far': named[1] < other[1]}[side]
        sides.add(side)
    assert sides == {'left', 'right', 'near', 'far'}


def colourful(image):
    """Mask of the pixels that can only be a red, green, blue or yellow object."""
    image = image.astype(int)
    return image.max(axis=-1) - image.min(axis=-1) > 90


def test_the_wall_hides_the_cubes_from_the_front_camera_but_not_from_the_wrist(robots):
    robot = robots('reach-behind')
    for seed in range(25):
        robot.reset(seed)
        seen = robot.observe().images
        assert not colourful(seen['front']).any()
        assert colourful(seen['wrist']).sum() > 150
        for centre in robot.project(robot.objects, 'wrist')[:, :2]:
            assert (centre > 4).all() and (centre < 220).all()
    robot.data.mocap_pos[robot.model.body('wall').mocapid[0]] = (0, 0, -1)  # control: no wall
    robot._mujoco.mj_forward(robot.model, robot.data)
    assert colourful(robot.render('front')).sum() > 100


@pytest.mark.parametrize('task', TABLETOP_TASKS)
def test_the_expert_solves_every_task(robots, task):
    robot = robots(task)
    for seed in range(6):
        assert expert_success.run_expert(robot, seed, 0.0) == 'success', seed
        assert robot.step_count < robot.task.step_limit


@pytest.mark.parametrize('task', TABLETOP_TASKS)
def test_the_expert_recovers_from_noise_on_the_executed_actions(robots, task):
    noise = expert_success.NOISE.get(task, 0.3)
    ends = [expert_success.run_expert(robots(task), seed, noise) for seed in range(10)]
    assert ends.count('success') >= 9, ends


@pytest.mark.parametrize('task', TOUCH_TASKS)
def test_touching_a_wrong_object_first_ends_the_episode(robots, task):
    robot = robots(task)
    robot.reset(2 if task != 'reach-behind' else next(
        seed for seed in range(50) if len(episodes.draw_episode(task, seed).items) == 3))
    wrong = 2  # never named first; in follow-moving the ball that never moves
    drive_to(robot, touch_points(robot.objects, robot.privileged().shapes)[wrong])
    assert robot.truncated and not robot.success
    assert robot.step_count < robot.task.step_limit and robot.judge.failed


def test_two_cubes_must_be_touched_in_order_and_the_first_becomes_a_lamp(robots):
    robot = robots('touch-two')
    robot.reset(4)
    first, second = touch_points(robot.objects, robot.privileged().shapes)[:2]
    assert np.allclose(robot.privileged().targets, [first, second])
    drive_to(robot, second)
    assert robot.judge.failed and robot.truncated
    robot.reset(4)
    before = robot.render('front')
    while robot.judge.stage == 0:
        robot.apply(robot.expert_action())
    seen = robot.privileged()
    assert seen.colours[0] == LAMP and not robot.success
    assert np.allclose(seen.targets, [second, second])
    column, row = robot.project(seen.objects[0], 'front')[:2].astype(int)
    robot.apply(np.array([0, 0, 1, -1.0]))
    patch = robot.render('front')[row - 4:row + 5, column - 4:column + 5].reshape(-1, 3)
    old = before[row - 4:row + 5, column - 4:column + 5].reshape(-1, 3)
    assert patch.min(axis=1).max() > 150 > old.min(axis=1).max()
    drive_to(robot, second)
    assert robot.success and not robot.truncated
    robot.reset(4)
    assert robot.privileged().colours[0] != LAMP


def test_the_ball_slides_as_planned_and_reaching_it_early_neither_ends_nor_fails(robots):
    robot = robots('follow-moving')
    for seed in range(12):
        robot.reset(seed)
        slide = robot.episode.slides[0]
        assert slide.item == 0 and 6 <= slide.start <= 14
        positions, early = [robot.objects], False
        while not (robot.success or robot.truncated):
            robot.apply(robot.expert_action())
            positions.append(robot.objects)
            target = robot.privileged().targets[0]
            touching = np.linalg.norm(robot.position - target) < 0.025
            early |= touching and robot.step_count <= slide.start
        path = np.array(positions)  # (steps + 1, 3, 3)
        speed = np.linalg.norm(np.diff(path[:, 0, :2], axis=0), axis=1)
        assert (speed[:slide.start] == 0).all() and speed[slide.start] == pytest.approx(.01, .01)
        assert 0.15 <= np.linalg.norm(path[-1, 0, :2] - path[0, 0, :2]) <= 0.2501
        moving = int((speed > 0).sum())
        assert robot.success and robot.step_count >= slide.start + moving + HOLD_STEPS - 1
        gaps = np.linalg.norm(path[:, [0, 0, 1]] - path[:, [1, 2, 2]], axis=-1)
        assert gaps.min() > 0.07
        if early:
            return
    raise AssertionError('no episode in which the ball was reached before it moved')


def test_another_ball_moves_in_half_of_the_episodes():
    counts = [len(episodes.draw_episode('follow-moving', seed).slides) for seed in range(200)]
    assert 70 < counts.count(2) < 130 and set(counts) == {1, 2}


def swapped(robot, objects):
    """The expert's action if another goal had been named."""
    seen = robot.privileged()
    targets = seen.objects[objects]
    if seen.held:
        targets = targets[[-1, -1]]
    task = robot.task.name
    held = np.linalg.norm(seen.objects[objects[0]] - robot.position) < 0.025
    held = bool(held and robot.opening < 0.6)
    return experts.expert_action(task, robot.position, replace(seen, targets=targets, held=held))


def test_lifting_another_cube_fails(robots):
    robot = robots('pick-colour')
    robot.reset(1)
    while not (robot.success or robot.truncated):
        robot.apply(swapped(robot, [1, 1]))
    assert robot.judge.failed and robot.step_count < robot.task.step_limit
    assert robot.objects[1, 2] > 0.045


def test_filling_another_bowl_fails(robots):
    robot = robots('place-bowl')
    robot.reset(1)
    assert (robot.privileged().shapes == [CUBE, BOWL, BOWL, BOWL]).all()
    while not (robot.success or robot.truncated):
        robot.apply(swapped(robot, [0, 2]))
    assert robot.judge.failed and robot.step_count < robot.task.step_limit
    assert np.linalg.norm(robot.objects[0, :2] - robot.objects[2, :2]) < 0.04


def test_the_next_thing_to_find_is_the_bowl_once_the_cube_is_held(robots):
    robot = robots('place-bowl')
    robot.reset(3)
    seen = robot.privileged()
    assert np.allclose(seen.targets, seen.objects[[0, 1]]) and not seen.held
    while not seen.held:
        robot.apply(robot.expert_action())
        seen = robot.privileged()
    assert np.allclose(seen.targets, seen.objects[[1, 1]])
    while not robot.success:
        robot.apply(robot.expert_action())
    assert np.linalg.norm(robot.objects[0, :2] - robot.objects[1, :2]) < 0.036


def test_the_command_prints_a_table(capsys):
    expert_success.main(['--tasks', 'reach-colour', '--seeds', '2'])
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:3] == ['reach-colour', '40', '100']
