# SPDX-License-Identifier: Apache-2.0
"""How joint_trajectory_controller samples one trajectory (trajectory.cpp: sample and its helpers).

Humble commands what is due now, so its numbers are the plan's own.
"""
import math

import numpy as np
import pytest
from trajectory_fakes import joint_message, MS, NOW, one_joint, pose_message, run

from vla_pruner_ros.robots.controllers.make_controller import make_controller


def sampled(message, milliseconds, at=0.0, **options):
    """Command of Humble at a time after the message came; the robot stays at ``at``."""
    controller = one_joint(at=at, version='humble', **options)
    return run(controller, milliseconds + 1, follow=False, arrivals={0: message})[-1, 0]


def test_positions_are_reached_evenly_from_the_state_at_arrival():
    message = joint_message(0, {100: 1.0, 200: 3.0})
    assert sampled(message, 0) == 0.0
    assert sampled(message, 52) == pytest.approx(0.52)
    assert sampled(message, 152) == pytest.approx(2.04)


def test_velocities_make_it_cubic():
    message = joint_message(0, {80: 1.0}, velocities=[0.0])
    assert sampled(message, 20) == pytest.approx(3 / 16 - 2 / 64)  # 3 s^2 - 2 s^3 at a quarter


def test_accelerations_make_it_quintic():
    message = joint_message(0, {80: 1.0}, velocities=[0.0], accelerations=[0.0])
    assert sampled(message, 20) == pytest.approx(10 / 64 - 15 / 256 + 6 / 1024)


def test_accelerations_without_velocities_send_the_joint_to_zero():
    # interpolate_between_points has no branch for them: the output stays as it was made.
    message = joint_message(0, {100: 1.0, 200: 1.0}, accelerations=[0.0, 0.0])
    assert sampled(message, 52, at=0.7) == 0.0


def test_positions_are_deduced_from_velocities_only_where_there_are_none():
    integrate = {'allow_integration_in_goal_trajectories': True}
    message = joint_message(0, {100: None, 200: None}, velocities=[1.0, 1.0])
    assert sampled(message, 100, **integrate) == pytest.approx(0.05)  # mean speed 0.5
    assert sampled(message, 300, **integrate) == pytest.approx(0.15)
    message = joint_message(0, {100: None}, accelerations=[2.0])
    # Mean acceleration 1: 0.1 per second at the end, 0.05 on the way.
    assert sampled(message, 96, **integrate) != 0
    assert sampled(message, 104, **integrate) == pytest.approx(0.005)


def test_a_measured_velocity_is_the_first_boundary_of_a_cubic():
    controller = one_joint(version='humble')
    controller.feedback(np.array([0.0]), NOW, np.array([1.0]))
    controller.receive(joint_message(0, {100: 0.0}, velocities=[0.0]), NOW)
    setpoint = controller.command(NOW)
    assert (setpoint.position, setpoint.velocity) == (0.0, 1.0)


def test_without_interpolation_the_next_waypoint_is_sent():
    message = joint_message(0, {100: 1.0, 200: 3.0})
    assert sampled(message, 52, interpolation_method='none') == 0.0
    assert sampled(message, 152, interpolation_method='none') == 3.0


def test_after_the_end_the_last_point_stays_with_the_velocity_it_was_given():
    controller = one_joint(version='humble')
    controller.receive(joint_message(0, {100: 1.0}, velocities=[2.0]), NOW)
    controller.command(NOW)
    setpoint = controller.command(NOW + 500 * MS)
    assert (setpoint.position, setpoint.velocity) == (1.0, 2.0)


def test_a_clock_that_jumps_back_in_the_trajectory_sends_the_robot_to_its_end():
    controller = one_joint(version='humble')
    controller.receive(joint_message(0, {0: 0.0, 40: 1.0, 80: 2.0, 120: 3.0}), NOW)
    controller.command(NOW)
    assert controller.command(NOW + 60 * MS).position == pytest.approx(1.5)
    assert controller.command(NOW + 10 * MS).position == 3.0


def test_a_joint_without_end_takes_the_shorter_way():
    controller = make_controller('jtc', joints=('a',), continuous=(True,), version='humble')
    controller.feedback(np.array([3.0]), NOW)
    controller.receive(joint_message(0, {100: -3.0}), NOW)
    controller.command(NOW)
    assert controller.command(NOW + 50 * MS).position == pytest.approx(-math.pi)


def test_half_a_turn_goes_towards_the_larger_number_if_that_is_the_target():
    controller = make_controller('jtc', joints=('a',), continuous=(True,), version='humble')
    controller.feedback(np.array([0.0]), NOW)
    controller.receive(joint_message(0, {100: math.pi}), NOW)
    controller.command(NOW)
    assert controller.command(NOW + 50 * MS).position == pytest.approx(math.pi / 2)


def test_numbers_that_are_not_finite_reach_the_joint():
    # validate_trajectory_msg looks at lengths and times only, in every version.
    assert math.isnan(sampled(joint_message(0, {100: math.nan}), 52))


def test_a_hand_turns_evenly_the_shorter_way():
    hand = make_controller('jtc', version='humble')
    hand.feedback(np.array([0, 0, 0, 0, 0, 0, 1.0]), NOW)
    half = math.sqrt(0.5)
    # A quarter turn about z, written with the sign that means three quarters the other way.
    assert hand.receive(pose_message(0, {100: (1.0, 2.0, 0.0, 0.0, 0.0, -half, -half)}), NOW)
    hand.command(NOW)
    setpoint = hand.command(NOW + 40 * MS)
    angle = 0.4 * math.pi / 2
    expected = [0.4, 0.8, 0.0, 0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)]
    np.testing.assert_allclose(setpoint.position, expected, atol=1e-12)
    np.testing.assert_allclose(setpoint.velocity, [10, 20, 0, 0, 0, 5 * math.pi], atol=1e-9)
