# SPDX-License-Identifier: Apache-2.0
"""Absolute tracking of timed targets: the reference for the other controllers."""
import math

import numpy as np
import pytest
from trajectory_fakes import joint_message, MS, NOW, one_joint, pose_message, run, time

from vla_pruner_ros.robots.controllers.make_controller import make_controller


def test_targets_are_met_at_their_times_from_where_the_robot_is():
    rows = run(one_joint('ideal', at=1.0), 252, arrivals={100: joint_message(NOW + 100 * MS,
                                                                             {100: 2.0})})[:, 0]
    assert rows[25] == 1.0 and rows[37] == pytest.approx(1.48) and rows[50] == rows[-1] == 2.0


def test_a_new_message_is_followed_at_once_from_where_the_robot_is_told_to_be():
    first = joint_message(0, {100: 1.0, 200: 2.0, 300: 3.0})
    second = joint_message(0, {100: 0.0, 200: 0.0})  # at 152 ms: from 1.52 to 0 at 252 ms
    rows = run(one_joint('ideal'), 400, arrivals={0: first, 152: second})[:, 0]
    assert rows[38] == pytest.approx(1.52) and rows[50] == pytest.approx(1.52 * 0.52)
    assert rows[63] == pytest.approx(0.0)
    assert np.abs(np.diff(rows)).max() == pytest.approx(1.52 / 25)  # no step at an old waypoint


def test_a_message_for_later_replaces_what_lies_behind_its_stamp():
    first = joint_message(0, {100: 1.0, 200: 2.0, 300: 3.0})
    second = joint_message(NOW + 200 * MS, {100: 0.0})  # arrives at 152 ms
    rows = run(one_joint('ideal'), 400, arrivals={0: first, 152: second})[:, 0]
    assert rows[38] == pytest.approx(1.52) and rows[50] == pytest.approx(2.0)
    assert rows[75] == pytest.approx(0.0)


def test_a_first_waypoint_that_is_past_is_a_step_to_the_row_that_is_due():
    late = joint_message(NOW - 100 * MS, {0: 1.0, 200: 3.0})
    assert run(one_joint('ideal'), 1, arrivals={0: late})[0, 0] == pytest.approx(2.0)


def test_the_measurement_counts_only_at_the_start():
    controller = one_joint('ideal')
    controller.receive(joint_message(0, {100: 1.0}), NOW)
    controller.feedback(np.array([9.0]), NOW + 48 * MS)
    assert controller.command(NOW + 50 * MS).position == pytest.approx(0.5)


def test_velocities_of_the_message_are_used():
    controller = one_joint('ideal')
    controller.receive(joint_message(0, {0: 0.0, 80: 1.0}, velocities=[0.0, 0.0]), NOW)
    assert controller.command(NOW + 20 * MS).position == pytest.approx(3 / 16 - 2 / 64)


def test_the_last_target_is_held_still_and_covered_until_its_time():
    controller = one_joint('ideal')
    assert controller.covered_until_ns is None
    controller.receive(joint_message(0, {100: 1.0}), NOW)
    assert controller.covered_until_ns == NOW + 100 * MS
    setpoint = controller.command(NOW + 101 * MS)
    assert (setpoint.position, setpoint.velocity) == (1.0, 0.0)


def test_a_hand_turns_evenly_about_one_axis():
    hand = make_controller('ideal')
    hand.feedback(np.array([0.1, 0, 0, 0, 0, 0, 1.0]), NOW)
    assert hand.receive(pose_message(0, {100: (0.2, 0, 0, 1, 0, 0, 0)}), NOW)  # half a turn
    pose = hand.command(NOW + 25 * MS).position
    np.testing.assert_allclose(pose, [0.125, 0, 0, math.sin(math.pi / 8), 0, 0,
                                      math.cos(math.pi / 8)], atol=1e-12)


@pytest.mark.parametrize('reason, rows', [('not_finite', {100: math.nan}), ('no_points', {})])
def test_unusable_messages_are_refused(reason, rows):
    controller = one_joint('ideal')
    assert controller.receive(joint_message(0, rows), NOW).reason == reason
    assert controller.command(NOW).position == 0.0


def test_a_message_before_the_first_measurement_is_refused():
    controller = make_controller('ideal', joints=('a',))
    assert controller.receive(joint_message(0, {100: 1.0}), NOW).reason == 'no_feedback'


@pytest.mark.parametrize('kind', ['jtc', 'ideal'])
def test_ros_messages_are_read_as_namespaces_are(kind):
    messages = pytest.importorskip('trajectory_msgs.msg')
    duration = pytest.importorskip('builtin_interfaces.msg').Duration
    message = messages.JointTrajectory(joint_names=['a'], points=[
        messages.JointTrajectoryPoint(positions=[1.0], time_from_start=duration(
            sec=0, nanosec=100 * MS))])
    stamp = time(NOW)
    message.header.stamp.sec, message.header.stamp.nanosec = stamp.sec, stamp.nanosec
    rows = run(one_joint(kind), 105, arrivals={0: message})
    assert rows[-1, 0] == pytest.approx(1.0)
