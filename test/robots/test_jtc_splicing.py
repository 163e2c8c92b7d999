# SPDX-License-Identifier: Apache-2.0
"""Versions that keep part of the old trajectory: 6.9 until the stamp, master blends it."""
import numpy as np
import pytest
from trajectory_fakes import joint_message, MS, NOW, one_joint, run

from vla_pruner_ros.robots.controllers.make_controller import make_controller
from vla_pruner_ros.robots.controllers.spline_upsampling import knot_velocities

RAMP = joint_message(0, {0: 0.0, 1000: 1.0})


def test_until_the_stamp_the_old_trajectory_goes_on_and_then_the_new_one_steps():
    new = joint_message(NOW + 200 * MS, {0: 5.0, 1000: 5.0})
    rows = run(one_joint('jtc_splicing', version='6.9'), 210, arrivals={0: RAMP, 100: new})[:, 0]
    assert rows[49:51] == pytest.approx([0.2, 5.0])  # at 196 and 200 ms


def test_from_rest_a_future_first_waypoint_at_the_stamp_is_a_step_in_6_9_only():
    # A chunk whose stamp is the time of its first row: others move there meanwhile.
    chunk = joint_message(NOW + 100 * MS, {0: 1.0, 100: 2.0})
    kept = run(one_joint('jtc_splicing', version='6.9'), 101, arrivals={0: chunk})[:, 0]
    assert kept[24:] == pytest.approx([0.0, 1.04])
    gone = run(one_joint('jtc'), 101, arrivals={0: chunk})[:, 0]
    assert gone[24:] == pytest.approx([1.0, 1.04]) and gone[12] == pytest.approx(0.52)


def test_a_message_for_now_drops_one_that_waits():
    controller = one_joint('jtc_splicing', version='6.9')
    rows = run(controller, 300, arrivals={0: joint_message(NOW + 200 * MS, {0: 5.0}),
                                          100: joint_message(0, {50: 1.0})})
    assert rows.max() == 1.0


def test_a_blend_reaches_the_old_motion_at_the_stamp_and_leaves_it_there():
    # Old: 1 per second.  New from 200 ms on, its first waypoint 100 ms later.
    new = joint_message(NOW + 200 * MS, {100: 0.0})
    rows = run(one_joint('jtc_splicing'), 320, arrivals={0: RAMP, 100: new})[:, 0]
    assert rows[49] == pytest.approx(0.196)  # at 196 ms, one cycle later than without the blend
    assert rows[62] == pytest.approx(0.196 * 0.48)  # 252 of 300 ms
    assert rows[75] == pytest.approx(0.0)
    assert np.abs(np.diff(rows)).max() < 0.009


def test_a_blend_begins_a_past_trajectory_now_and_not_at_the_row_that_is_due():
    past = joint_message(NOW - 100 * MS, {100: 5.0, 300: 7.0})
    blended = run(one_joint('jtc_splicing'), 205, arrivals={0: RAMP, 100: past})[:, 0]
    replaced = run(one_joint('jtc'), 105, arrivals={0: RAMP, 100: past})[:, 0]
    assert replaced[25] == pytest.approx(6.04)
    assert blended[25] < 0.5 and blended[49] == pytest.approx(5.0)  # 100 ms later


def test_a_single_waypoint_is_replaced_also_where_others_are_blended():
    past = joint_message(NOW - 100 * MS, {100: 5.0, 300: 7.0})
    rows = run(one_joint('jtc_splicing'), 105, arrivals={0: joint_message(0, {1000: 1.0}),
                                                         100: past})[:, 0]
    assert rows[25] == pytest.approx(6.04)


@pytest.mark.parametrize('kind, expected', [('jtc_splicing', 0.5), ('jtc', 0.1)])
def test_a_joint_that_the_new_message_leaves_out_moves_on_only_where_it_blends(kind, expected):
    controller = make_controller(kind, joints=('a', 'b'), allow_partial_joints_goal=True)
    controller.feedback(np.zeros(2), NOW)
    both = joint_message(0, {0: (0.0, 0.0), 1000: (1.0, 1.0)}, names=('a', 'b'))
    rows = run(controller, 1200, arrivals={0: both,
                                           100: joint_message(0, {100: 0.3}, names=('a',))})
    assert rows[125, 1] == pytest.approx(expected, abs=0.005)
    assert rows[-1] == pytest.approx([0.3, 1.0 if kind == 'jtc_splicing' else 0.1], abs=0.001)


def test_knot_velocities_make_the_acceleration_continuous():
    times, ways = np.array([0.0, 1.0, 2.0]), np.array([[1.0], [1.0]])
    # v0 + 4 v1 + v2 = 3 (1 + 1)
    assert knot_velocities(times, ways)[:, 0] == pytest.approx([0.0, 1.5, 0.0])
    assert knot_velocities(times, ways, np.array([1.0]))[:, 0] == pytest.approx([1.0, 1.25, 0.0])


def test_upsampling_at_rest_stops_at_the_first_row_of_every_chunk_and_continuous_does_not():
    def speeds(upsampling):
        controller = one_joint('jtc_splicing', positions_upsampling=upsampling,
                               policy_frequency=10)
        for start, until in ((0, 152), (152, 248)):  # in the middle of a motion of 1 per second
            rows = {i: start / 1000 + 0.1 * (i + 1) for i in range(4)}
            message = joint_message(0, rows)
            for point in message.points:  # no times at all: the frequency gives them
                point.time_from_start.sec = point.time_from_start.nanosec = 0
            run(controller, until, start, arrivals={start: message})
        return controller.command(NOW + 248 * MS).velocity
    assert speeds('rest') == pytest.approx(0.0)
    assert speeds('continuous') > 0.5


def test_chunks_with_velocities_are_not_upsampled():
    controller = one_joint('jtc_splicing', positions_upsampling='rest')
    controller.receive(joint_message(0, {0: 0.0, 100: 1.0, 200: 1.0}, velocities=[0.0] * 3), NOW)
    controller.command(NOW)
    assert controller.command(NOW + 96 * MS).velocity == pytest.approx(0.0)
