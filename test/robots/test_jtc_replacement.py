# SPDX-License-Identifier: Apache-2.0
"""What a new message does to a moving robot (JointTrajectoryController::update), by version."""
import numpy as np
import pytest
from trajectory_fakes import joint_message, MS, NOW, one_joint, run

VERSIONS = ('humble', 'jazzy', 'kilted')
RAMP = joint_message(0, {1000: 1.0})


@pytest.mark.parametrize('version', VERSIONS)
def test_a_new_message_discards_the_old_one(version):
    rows = run(one_joint(version=version), 2000,
               arrivals={0: RAMP, 100: joint_message(0, {100: 0.5})})
    assert rows[-1, 0] == 0.5 and rows.max() == 0.5


def test_a_cycle_commands_what_is_due_now_in_humble_and_one_period_later_since_jazzy():
    at = {version: run(one_joint(version=version), 101, arrivals={0: RAMP})[-1, 0]
          for version in VERSIONS}
    assert at['humble'] == pytest.approx(0.100)
    assert at['jazzy'] == at['kilted'] == pytest.approx(0.104)


def test_the_way_to_the_first_waypoint_begins_at_the_measurement():
    # The robot never moves, so a new message begins with a step back to where it is.
    new = {0: RAMP, 100: joint_message(0, {100: 0.5})}
    rows = run(one_joint(version='humble'), 105, follow=False, arrivals=new)[:, 0]
    assert rows[24:27] == pytest.approx([0.096, 0.0, 0.02])


def test_humble_in_open_loop_begins_at_the_last_command_and_loses_one_cycle():
    new = {0: RAMP, 100: joint_message(0, {100: 0.5})}
    rows = run(one_joint(version='humble', open_loop_control=True), 105, follow=False,
               arrivals=new)[:, 0]
    assert rows[24:27] == pytest.approx([0.096, 0.096, 0.096 + 0.404 * 0.04])


@pytest.mark.parametrize('version', ['jazzy', 'kilted'])
def test_from_the_desired_state_the_first_step_spans_two_cycles(version):
    # The last command was meant for now, but counts from the cycle before.
    controller = one_joint(version=version, interpolate_from_desired_state=True)
    controller.command(NOW - 4 * MS)
    controller.receive(joint_message(0, {100: 1.0}), NOW)
    assert controller.command(NOW).position == pytest.approx(8 / 104)


@pytest.mark.parametrize('version, expected', [('humble', 2.0), ('jazzy', 2.04), ('kilted', 2.04)])
def test_a_first_waypoint_that_is_past_is_a_position_step(version, expected):
    message = joint_message(NOW - 100 * MS, {0: 1.0, 200: 3.0})
    rows = run(one_joint(version=version), 1, arrivals={0: message})
    assert rows[0, 0] == pytest.approx(expected)  # from rest at 0


def test_a_stamp_that_has_passed_leaves_less_time_for_the_first_way():
    rows = run(one_joint(version='humble'), 9, arrivals={0: joint_message(NOW - 90 * MS,
                                                                          {100: 1.0})})[:, 0]
    assert rows == pytest.approx([0.0, 0.4, 0.8])  # 100 per second in place of 10


def test_a_zero_stamp_starts_at_arrival():
    rows = run(one_joint(version='humble'), 153, arrivals={100: joint_message(0, {100: 1.0})})
    assert rows[25, 0] == 0.0 and rows[-1, 0] == pytest.approx(0.52)


def test_of_two_messages_between_cycles_the_newer_one_counts():
    controller = one_joint(version='humble')
    controller.receive(joint_message(0, {0: 7.0}), NOW)
    controller.receive(joint_message(0, {0: 8.0}), NOW)
    assert controller.command(NOW).position == 8.0


def test_before_any_message_the_measured_position_is_held():
    controller = one_joint(at=0.3)
    assert run(controller, 100)[:, 0] == pytest.approx(0.3)
    assert controller.covered_until_ns is None


def test_the_timeout_holds_where_the_robot_is():
    controller = one_joint(version='humble', cmd_timeout=0.1)
    rows = run(controller, 213, follow=False, arrivals={0: joint_message(0, {100: 1.0})})[:, 0]
    assert rows[50:53] == pytest.approx([1.0, 1.0, 0.0])  # at 200, 204 and 208 ms
    assert controller.holds['timeout'] == 1 and controller.covered_until_ns is None


def test_a_broken_tolerance_holds_where_the_robot_is():
    controller = one_joint(version='humble', path_tolerance=0.1)
    rows = run(controller, 113, follow=False, arrivals={0: RAMP})[:, 0]
    assert rows[25:28] == pytest.approx([0.1, 0.1, 0.0])  # at 100, 104 (not written) and 108 ms
    assert controller.holds['tolerance'] == 1


def test_covered_is_the_time_until_the_last_waypoint_of_the_newest_message():
    controller = one_joint()
    controller.receive(joint_message(0, {100: 1.0}), NOW + MS)
    assert controller.covered_until_ns == NOW + 101 * MS
    controller.command(NOW + 4 * MS)
    assert controller.covered_until_ns == NOW + 104 * MS
    controller.receive(joint_message(NOW, {700: 1.0}), NOW + 5 * MS)
    assert controller.covered_until_ns == NOW + 700 * MS


def test_speed_scaling_slows_the_trajectory_down():
    rows = run(one_joint(speed_scaling=0.5), 201, arrivals={0: RAMP})
    assert rows[-1, 0] == pytest.approx(0.104)  # half of 200 ms and one cycle


def test_the_velocity_steps_at_every_waypoint_of_positions():
    controller = one_joint(version='humble')
    controller.receive(joint_message(0, {100: 1.0, 200: 1.5}), NOW)
    assert controller.command(NOW).velocity == pytest.approx(10.0)
    assert np.allclose(controller.command(NOW + 100 * MS).velocity, 5.0)


def test_the_look_ahead_does_not_move_on_what_the_tolerance_is_measured_against():
    # 1 ms of the trajectory per cycle, so the look ahead of 4 ms passes every waypoint first.
    controller = one_joint(speed_scaling=0.25, path_tolerance=0.1)
    rows = run(controller, 800, arrivals={0: joint_message(0, {50: 0.5, 100: 0.0, 150: 0.5})})
    assert rows[96:98, 0] == pytest.approx([0.0, 0.01]) and rows[-1, 0] == pytest.approx(0.5)
    assert controller.holds['tolerance'] == 0
