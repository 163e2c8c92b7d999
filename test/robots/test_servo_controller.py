# SPDX-License-Identifier: Apache-2.0
"""MoveIt Servo as a consumer of twists (servo_calcs.cpp of Humble, servo_node.cpp of Jazzy)."""
import math

import numpy as np
import pytest
from trajectory_fakes import MS, NOW, twist_message

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.controllers.make_controller import make_controller
from vla_pruner_ros.robots.controllers.servo_smoothing import AccelerationLimited, Butterworth

HOME = np.array([0.4, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0])


def servo(**options):
    """Servo that was idle for 200 ms: it has a window of measured states."""
    controller = make_controller('servo', **options)
    for milliseconds in range(-200, 0, 4):
        controller.feedback(HOME, NOW + milliseconds * MS)
        controller.command(NOW + milliseconds * MS)
    return controller


def drive(controller, until_ms, stop_ms=10**9, every_ms=20, **twist):
    """Poses at 250 Hz; a fresh twist comes every 20 ms until ``stop_ms``."""
    poses = []
    for milliseconds in range(0, until_ms, 4):
        now = NOW + milliseconds * MS
        if milliseconds % every_ms == 0 and milliseconds < stop_ms:
            controller.receive(twist_message(now, **twist), now)
        poses.append(controller.command(now).position)
        controller.feedback(poses[-1], now)
    return np.array(poses)


def test_the_low_pass_filter_of_positions_runs_at_two_by_two_and_a_coefficient_of_the_speed():
    for coefficient in (1.5, 4.0):
        poses = drive(servo(butterworth_filter_coeff=coefficient), 2000, linear=(0.1, 0.0, 0.0))
        assert poses[-1, 0] - poses[-251, 0] == pytest.approx(0.1 * 2 / (2 + coefficient))


def test_humble_is_not_faster_than_that():
    poses = drive(servo(version='humble'), 2000, linear=(0.1, 0.0, 0.0))
    assert 0.02 < poses[-1, 0] - poses[-251, 0] <= 0.1 * 4 / 7 + 1e-3


def test_without_smoothing_the_hand_moves_as_asked_and_a_latency_later():
    poses = drive(servo(smoothing='none'), 600, linear=(0.1, 0.0, 0.0))
    moved = poses[:, 0] - HOME[0]
    assert np.abs(moved[:22]).max() < 1e-9  # the waypoint for 100 ms is left for at 90 ms
    assert moved[-1] - moved[-26] == pytest.approx(0.01)  # 100 ms


@pytest.mark.parametrize('version', ['humble', 'jazzy'])
def test_rotation_follows_the_angular_velocity_in_the_base_frame(version):
    poses = drive(servo(version=version), 2000, angular=(0.0, 0.0, 0.5))
    angles = 2 * np.arctan2(poses[:, 5], poses[:, 6])
    assert np.allclose(poses[:, :3], HOME[:3]) and np.allclose(poses[:, 3:5], 0)
    assert 0.1 < angles[-1] - angles[-251] < 0.3 and np.isclose(np.linalg.norm(poses[-1, 3:]), 1)


def test_a_stale_twist_lets_jazzy_run_out_through_the_filter():
    poses = drive(servo(), 1000, stop_ms=400, linear=(0.1, 0.0, 0.0))
    speeds = np.diff(poses[:, 0]) / 0.004
    # Last stamp 380 ms: stale at 480, executed 100 ms later; the waypoint before is at 570.
    assert speeds[400 // 4:552 // 4] == pytest.approx(0.4 / 7, rel=0.01)
    ending = speeds[564 // 4:580 // 4]
    assert (np.diff(ending) < 0).all() and 0 <= ending[-1] < 0.025
    assert np.abs(speeds[580 // 4:]).max() < 1e-9


def test_a_stale_twist_stops_humble_at_once():
    poses = drive(servo(version='humble'), 1000, stop_ms=400, linear=(0.1, 0.0, 0.0))
    speeds = np.diff(poses[:, 0]) / 0.004
    still = np.flatnonzero(np.abs(speeds) > 1e-9)[-1]
    assert 440 <= 4 * still <= 520  # nothing is published from 480 ms on
    assert speeds[still - 1] > 0.06


def test_humble_starts_from_rest_at_every_message_where_the_robot_reports_no_velocity():
    # Each message is one point, which the controller reaches by a cubic from the measured state.
    poses = drive(servo(version='humble'), 2000, linear=(0.1, 0.0, 0.0))
    speeds = np.diff(poses[-100:, 0]) / 0.004
    assert speeds.min() == pytest.approx(0.0, abs=1e-9) and speeds.max() > 0.08


@pytest.mark.parametrize('version', ['humble', 'jazzy', 'kilted'])
def test_old_and_unstamped_twists_do_nothing(version):
    controller = servo(version=version)
    assert controller.receive(twist_message(NOW - 100 * MS, (1, 0, 0)), NOW).reason == 'stale'
    assert controller.receive(twist_message(0, (1, 0, 0)), NOW).reason == 'stale'
    assert controller.receive(twist_message(NOW - 99 * MS, (1, 0, 0)), NOW)
    poses = []
    controller = servo(version=version)
    for milliseconds in range(0, 400, 4):
        now = NOW + milliseconds * MS
        controller.receive(twist_message(now - 100 * MS, (1, 0, 0)), now)
        poses.append(controller.command(now).position)
    assert np.allclose(poses, HOME)


def test_in_humble_a_twist_without_a_stamp_rides_on_the_one_before():
    controller = servo(version='humble')
    drive(controller, 40, stop_ms=4, linear=(0.1, 0, 0))
    controller.receive(twist_message(0, (0, 0.1, 0)), NOW + 40 * MS)
    poses = [controller.command(NOW + milliseconds * MS).position
             for milliseconds in range(40, 300, 4)]
    assert poses[-1][1] > HOME[1]


def test_an_unknown_frame_stops_jazzy_until_a_good_twist_comes():
    controller = servo()
    bad = controller.receive(twist_message(NOW, (0.1, 0, 0), frame='camera'), NOW)
    assert bad.reason == 'unknown_frame' and 'base_link' in bad.detail
    assert np.allclose(drive(controller, 100, linear=(0.1, 0, 0), frame='camera'), HOME)
    assert drive(controller, 1000, linear=(0.1, 0, 0))[-1, 0] > HOME[0]


def test_an_unknown_frame_ends_the_process_of_humble():
    controller = servo(version='humble')
    drive(controller, 100, linear=(0.1, 0, 0), frame='camera')
    assert controller.receive(twist_message(NOW, (0.1, 0, 0)), NOW).reason == 'crashed'


def test_an_empty_frame_is_the_planning_frame_in_humble_only():
    assert servo(version='humble').receive(twist_message(NOW, (0.1, 0, 0), frame=''), NOW)
    assert servo().receive(twist_message(NOW, (0.1, 0, 0), frame=''), NOW).reason \
        == 'unknown_frame'


def test_a_known_frame_is_turned_into_the_planning_frame():
    frames = {'tool0': np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])}  # its x is our y
    poses = drive(servo(frames=frames), 500, linear=(0.1, 0, 0), frame='tool0')
    assert poses[-1, 1] > 0.01 and np.allclose(poses[:, 0], HOME[0])


def test_numbers_that_are_not_finite_are_refused():
    for version in ('humble', 'jazzy'):
        assert servo(version=version).receive(twist_message(NOW, (math.nan, 0, 0)), NOW).reason \
            == 'not_finite'
    assert servo().receive(twist_message(NOW, (math.inf, 0, 0)), NOW).reason == 'not_finite'
    assert servo(version='humble').receive(twist_message(NOW, (math.inf, 0, 0)), NOW)


def test_jazzy_limits_the_speed_that_humble_passes_on():
    def speed(**options):
        poses = drive(servo(**options), 1000, linear=(0.0, 3.0, 4.0))
        return np.linalg.norm(poses[-1, :3] - poses[-26, :3]) / 0.1
    assert speed(smoothing='none') == pytest.approx(0.4)
    assert speed(version='humble') > 1.0


def test_unitless_commands_are_scaled_and_humble_refuses_more_than_one():
    poses = drive(servo(smoothing='none', command_in_type='unitless'), 600, linear=(0.5, 0, 0))
    assert poses[-1, 0] - poses[-26, 0] == pytest.approx(0.5 * 0.4 * 0.1)
    humble = servo(version='humble', command_in_type='unitless')
    assert humble.receive(twist_message(NOW, (1.5, 0, 0)), NOW).reason == 'too_fast'


def test_the_filter_answers_a_step_by_hand():
    low_pass = Butterworth(1.5)
    low_pass.reset(np.zeros(1), np.zeros(1))
    # y = 0.4 (x + x_before + 0.5 y_before)
    outputs = [low_pass.smooth(np.ones(1), np.zeros(1))[0][0] for _ in range(3)]
    assert outputs == pytest.approx([0.4, 0.88, 0.976])


def test_the_acceleration_limit_starts_brakes_and_arrives():
    limited = AccelerationLimited(1.0, 0.01)
    limited.reset(np.zeros(1), np.zeros(1))
    position, velocity = limited.smooth(np.array([0.01]), np.array([1.0]))
    assert (position[0], velocity[0]) == pytest.approx((1e-4, 0.01))  # a t^2, a t
    position, velocity = limited.smooth(np.array([0.01]), np.array([1.0]))
    assert (position[0], velocity[0]) == pytest.approx((3e-4, 0.02))
    # The target is behind: no point on the way back can be reached, so it only brakes.
    position, velocity = limited.smooth(np.array([-1.0]), np.array([0.0]))
    assert (position[0], velocity[0]) == pytest.approx((4e-4, 0.01))


@pytest.mark.parametrize('options, message', [
    ({'version': 'humble', 'smoothing': 'none'}, 'smoothing'),
    ({'publish_period': 0.05}, 'a third of'),
    ({'publish_period': 0.0}, 'publish_period'),
    ({'command_in_type': 'knots'}, 'speed_units, unitless'),
    ({'butterworth_filter_coeff': 1.0}, 'more than 1'),
    ({'smoothing': 'acceleration', 'max_acceleration': 0.0}, 'max_acceleration'),
])
def test_unusable_parameters_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make_controller('servo', **options)
