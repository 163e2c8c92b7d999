# SPDX-License-Identifier: Apache-2.0
"""Robots that are driven by absolute targets at 250 Hz instead of differences at 20 Hz."""
import numpy as np
import pytest

pytest.importorskip('metaworld')

from vla_pruner_ros.core.errors import ConfigError, UnsafeActionError  # noqa: E402
from vla_pruner_ros.robots.policy_parameters import real_time_parameters  # noqa: E402
from vla_pruner_ros.robots.robot_for_task import make_robot  # noqa: E402

CYCLE = 0.004
STILL = np.zeros(3)
FASTEST = 0.8  # m/s per axis, as with differences: 40 mm in 50 ms


@pytest.fixture(scope='module', params=['push-v3', 'pick-colour'])
def robot(request):
    robot = make_robot(request.param, 3)
    yield robot
    robot.close()


def hold(robot, place, seconds, opening=1.0):
    for _ in range(round(seconds / CYCLE)):
        robot.track(place, opening, STILL, CYCLE)


def test_the_hand_comes_to_its_target_and_stays_there(robot):
    robot.reset(3)
    place = robot.position + np.array([0.03, -0.04, 0.05])
    hold(robot, place, 1.0)
    assert np.allclose(robot.position, place, atol=5e-4)


def test_a_hand_sent_where_it_was_measured_does_not_sink(robot):
    robot.reset(3)
    hold(robot, robot.position, 0.6)
    before = robot.position
    for _ in range(10):
        hold(robot, robot.position, 0.1)
    assert np.allclose(robot.position, before, atol=2e-3)


def test_a_moving_target_is_followed_without_lag(robot):
    robot.reset(3)
    begin, way, apart = robot.position, np.array([0.06, 0.04, 0.03]), []
    for cycle in range(1, 251):
        share = 0.5 - 0.5 * np.cos(np.pi * cycle / 250)
        rate = 0.5 * np.pi * np.sin(np.pi * cycle / 250)  # per second
        robot.track(begin + share * way, 1.0, rate * way, CYCLE)
        apart.append(robot.hand_state()[0] - begin - share * way)
    assert np.abs(apart).max() < 3e-3  # 6 mm at this speed without the lead


def test_the_hand_is_no_faster_than_an_action_can_make_it(robot):
    robot.reset(3)
    hold(robot, robot.position, 0.2)
    begin = robot.position
    hold(robot, begin + np.array([0.0, 0.0, 0.2]), 0.1)
    assert 0.01 < robot.position[2] - begin[2] <= 0.1 * FASTEST + 2e-3


def test_steps_and_the_end_of_an_episode_go_by_simulated_time(robot):
    robot.reset(3)
    high = robot.position + np.array([0, 0, 0.1])
    hold(robot, high, 1.02)  # the last step is noticed when the next one begins
    assert robot.step_count == 20 and not robot.truncated
    cycles = 255
    while not robot.truncated:
        robot.track(high, 1.0, STILL, CYCLE)
        cycles += 1
    assert cycles * CYCLE == pytest.approx(robot.task.step_limit * 0.05, abs=2 * CYCLE)
    assert not robot.success
    with pytest.raises(ConfigError, match='the episode is over'):
        robot.track(high, 1.0, STILL, CYCLE)
    robot.reset(3)
    assert robot.step_count == 0 and not robot.truncated


def test_the_work_space_that_a_policy_is_told_is_where_the_hand_can_go(robot):
    told = real_time_parameters(robot.task.name)
    for corner in ('position_low', 'position_high'):
        robot.reset(3)
        place = robot.position
        place[2] = told[corner][2]  # along z nothing is in the way but the ends
        hold(robot, place, 1.5)
        assert robot.position[2] == pytest.approx(told[corner][2], abs=0.015)
        hold(robot, place + np.sign(place[2] - 0.15) * np.array([0, 0, 0.05]), 0.4)
        assert robot.position[2] == pytest.approx(told[corner][2], abs=0.015)
    assert len(told['tracking_tolerance']) == 6


def test_a_picture_shows_the_instant_it_was_taken_at(robot):
    robot.reset(3)
    hold(robot, robot.position, 0.1)
    camera = robot.cameras[0]
    draw = robot.pictures()
    now = draw(camera)
    hold(robot, robot.position + np.array([0.0, 0.05, 0.05]), 0.5)
    assert np.array_equal(draw(camera), now)
    assert not np.array_equal(robot.pictures()(camera), now)


def test_the_senses_are_those_of_an_observation_without_its_pictures(robot):
    robot.reset(3)
    seen, felt = robot.observe(), robot.sense()
    assert not felt.images and tuple(seen.images) == robot.cameras
    assert np.array_equal(seen.state, felt.state) and seen.time == felt.time
    assert np.array_equal(seen.joint_positions, felt.joint_positions)


@pytest.mark.parametrize('target, opening, velocity', [
    ([0, 0], 1.0, STILL), ([0, 0, np.nan], 1.0, STILL), (STILL, np.inf, STILL),
    (STILL, 1.0, [np.nan, 0, 0])])
def test_targets_that_are_no_numbers_are_refused(robot, target, opening, velocity):
    with pytest.raises(UnsafeActionError, match='finite'):
        robot.track(target, opening, velocity, CYCLE)


@pytest.mark.parametrize('seconds', [0.0, -1.0, 2.0, float('nan')])
def test_a_cycle_without_a_length_is_refused(robot, seconds):
    robot.reset(3)
    with pytest.raises(ConfigError, match='seconds is'):
        robot.track(robot.position, 1.0, STILL, seconds)


def test_the_gripper_opens_and_closes_by_time(robot):
    robot.reset(3)
    place = robot.position + np.array([0.0, 0.0, 0.05])
    hold(robot, place, 1.0)
    wide = robot.sense().gripper_opening
    hold(robot, place, 1.0, opening=0.0)
    assert robot.sense().gripper_opening < wide - 0.3


def test_balls_slide_by_simulated_time_however_the_hand_is_driven():
    robot = make_robot('follow-moving', 900_000)
    high = robot.position + np.array([0.0, 0.0, 0.1])
    hold(robot, high, 1.504)  # 30 control steps, the next one begun
    tracked = robot.objects
    robot.reset(900_000)
    for _ in range(31):
        robot.apply(np.array([0.0, 0.0, 1.0, -1.0]))
    assert not np.allclose(tracked, make_robot('follow-moving', 900_000).objects, atol=1e-3)
    assert np.allclose(tracked, robot.objects, atol=0.05 * 0.25)  # at most one step apart
    robot.close()


def test_reaching_the_named_thing_solves_the_task():
    robot = make_robot('reach-v3', 900_000)
    goal = robot.privileged().targets[0] + np.array([0.0, 0.0, 0.045])
    for _ in range(500):
        if robot.success:
            break
        robot.track(goal, 1.0, STILL, CYCLE)
    assert robot.success and 0 < robot.step_count < 40
    robot.close()
