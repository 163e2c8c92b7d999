# SPDX-License-Identifier: Apache-2.0
"""Control cycles that keep the clock's time however irregularly they are asked for."""
import numpy as np
import pytest
from sim_fakes import make_fake
from trajectory_fakes import joint_message, MS, pose_message, SECOND, twist_message

from vla_pruner_ros.core.errors import ConfigError, InputError
from vla_pruner_ros.robots.controlled_robot import CYCLE_NS
from vla_pruner_ros.robots.episode_world import World
from vla_pruner_ros.robots.node.real_time_drive import RealTimeDrive

BEGIN = 50 * SECOND
TURN = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture
def world():
    world = World(16, make=make_fake)
    world.start('reach-colour', 0)
    return world


def started(world, controller='ideal'):
    drive = RealTimeDrive(world, controller)
    drive.begin(BEGIN)
    return drive


def chunk(stamp, rows):
    """``rows``: {ms: x}."""
    return pose_message(stamp, {when: (x, 0.0, 0.2, *TURN) for when, x in rows.items()})


def test_the_robot_is_where_the_clock_says_however_late_the_timer_comes(world):
    drive = started(world)
    assert drive.receive(chunk(BEGIN, {100: 0.01, 200: 0.02}), BEGIN)
    for now in (3, 57, 58, 101, 152):  # milliseconds
        drive.catch_up(BEGIN + now * MS)
        assert world.robot.x == pytest.approx(now * 1e-4, abs=2 * 4e-4)
    assert drive.lost_ns == 0 and world.robot.step_count == 3


def test_a_machine_that_is_too_slow_loses_time_and_does_not_jump(world):
    drive = started(world)
    drive.receive(chunk(BEGIN, {1000: 0.01}), BEGIN)
    drive.catch_up(BEGIN + 700 * MS)
    assert drive.lost_ns == 500 * MS
    assert world.robot.step_count <= 1  # one cycle for all the time that is lost


def test_words_for_the_episode_before_are_not_heard(world):
    drive = started(world)
    assert not drive.receive(chunk(BEGIN - 1, {100: 0.01}), BEGIN)
    drive.stop()
    assert not drive.receive(chunk(BEGIN, {100: 0.01}), BEGIN)
    drive.catch_up(BEGIN + 100 * MS)
    assert world.robot.x == 0.0 and world.robot.step_count == 0


def test_a_message_counts_from_its_arrival_not_from_the_cycles_that_are_late(world):
    """A late trajectory may not be executed in the past."""
    drive = started(world, 'jtc')
    drive.receive(chunk(BEGIN + 96 * MS, {40: 0.008}), BEGIN + 100 * MS)
    assert world.robot.x == 0.0 and world.robot.step_count == 2
    drive.catch_up(BEGIN + 140 * MS)
    assert world.robot.x == pytest.approx(0.008, abs=1e-9)


def test_what_the_controller_refuses_is_an_error_with_its_reason(world):
    drive = started(world, 'jtc')
    with pytest.raises(InputError) as caught:
        drive.receive(pose_message(BEGIN, {}), BEGIN)
    assert caught.value.reason == 'no_points'
    with pytest.raises(InputError):
        drive.receive_gripper(joint_message(BEGIN, {50: np.nan}))


def test_servo_follows_velocities(world):
    drive = started(world, 'servo')
    for beat in range(30):
        now = BEGIN + beat * 32 * MS
        drive.receive(twist_message(now, (0.02, 0.0, 0.0), frame='base'), now)
    drive.catch_up(BEGIN + 30 * 32 * MS)
    assert 0.005 < world.robot.x < 0.0192


def test_an_episode_that_is_over_stands_still(world):
    drive = started(world)
    drive.receive(chunk(BEGIN, {48: 0.03, 148: 0.09}), BEGIN)  # the target lies at 30 mm
    drive.catch_up(BEGIN + 148 * MS)
    assert world.done and world.robot.x == pytest.approx(0.03, abs=3e-3)


def test_a_clock_that_goes_back_does_not_stop_the_robot(world):
    drive = started(world)
    drive.catch_up(BEGIN + SECOND // 10)
    steps = world.robot.step_count
    drive.catch_up(BEGIN - SECOND)
    drive.catch_up(BEGIN - SECOND + 100 * MS)
    assert world.robot.step_count >= steps + 2 and CYCLE_NS == 4 * MS


def test_an_unknown_controller_is_refused_with_the_known_ones(world):
    with pytest.raises(ConfigError, match="'pid'; accepted: ideal, jtc"):
        RealTimeDrive(world, 'pid')
