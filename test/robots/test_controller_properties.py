# SPDX-License-Identifier: Apache-2.0
"""Whatever the trajectory: continuous, except where the real one steps, by what it steps."""
from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from trajectory_fakes import joint_message, MS, NOW, one_joint, PERIOD, pose_message, run

from vla_pruner_ros.robots.controllers.controller_interface import control_times
from vla_pruner_ros.robots.controllers.make_controller import make_controller
from vla_pruner_ros.robots.controllers.plan_sampling import between
from vla_pruner_ros.robots.controllers.timed_plan import Waypoint
from vla_pruner_ros.robots.controllers.value_spaces import JointSpace, PoseSpace

POSITION = st.floats(-2.0, 2.0)
#: Rows of a trajectory: milliseconds since the row before, position.
ROWS = st.lists(st.tuples(st.integers(5, 120), POSITION), min_size=1, max_size=6)
VERSION = st.sampled_from(['humble', 'jazzy', 'kilted'])
quick = settings(max_examples=60, deadline=None)


def timed(rows, begin=0):
    times = begin + np.cumsum([milliseconds for milliseconds, _ in rows])
    return dict(zip(times.tolist(), (position for _, position in rows)))


def fastest(start, rows):
    """Largest speed per millisecond of a linear way through rows from ``start``."""
    times, places = [0, *rows], [start, *rows.values()]
    return float(np.max(np.abs(np.diff(places)) / np.diff(times)))


@quick
@given(rows=ROWS, start=POSITION, version=VERSION, stamped=st.booleans())
def test_a_trajectory_that_lies_ahead_never_steps(rows, start, version, stamped):
    rows = timed(rows)
    controller = one_joint(at=start, version=version)
    sent = joint_message(NOW if stamped else 0, rows)
    path = run(controller, max(rows) + 20, arrivals={0: sent})[:, 0]
    limit = fastest(start, rows) * PERIOD / MS
    assert np.abs(np.diff(path, prepend=start)).max() <= limit + 1e-9
    assert path[-1] == pytest.approx(list(rows.values())[-1])


@quick
@given(rows=ROWS, start=POSITION, age=st.integers(0, 400), version=VERSION)
def test_a_first_waypoint_that_is_past_steps_to_what_is_due(rows, start, age, version):
    rows = {0: rows[0][1], **timed(rows)}
    assume(age < max(rows))
    controller = one_joint(at=start, version=version)
    assert controller.receive(joint_message(NOW - age * MS, rows), NOW)
    due = age + (0 if version == 'humble' else PERIOD // MS)
    expected = np.interp(due, list(rows), list(rows.values()))
    step = controller.command(NOW).position[0] - start
    assert step == pytest.approx(expected - start, abs=1e-9)


@quick
@given(old=ROWS, new=ROWS, arrival=st.integers(2, 60), version=VERSION)
def test_a_replacement_that_lies_ahead_goes_on_from_a_robot_that_follows(old, new, arrival,
                                                                         version):
    old, new = timed(old), timed(new)
    controller = one_joint(version=version)
    path = run(controller, 4 * arrival + max(new) + 8,
               arrivals={0: joint_message(0, old), 4 * arrival: joint_message(0, new)})[:, 0]
    at = path[arrival - 1]
    limit = max(fastest(0.0, old), fastest(at, new)) * PERIOD / MS
    assert np.abs(np.diff(path)).max() <= limit + 1e-9


@quick
@given(rows=ROWS, seed=st.integers(0, 99), jitter=st.integers(0, 1999))
def test_with_jitter_humble_still_commands_the_plan_of_that_moment(rows, seed, jitter):
    rows = {0: 0.0, **timed(rows)}
    controller = one_joint(version='humble')
    assert controller.receive(joint_message(NOW - MS, rows), NOW - MS)
    for now in control_times(NOW + 2 * MS, NOW + max(rows) * MS, jitter_ns=jitter * 1000,
                             seed=seed):
        due = np.interp((now - NOW + MS) / MS, list(rows), list(rows.values()))
        assert controller.command(now).position[0] == pytest.approx(due, abs=1e-9)


@quick
@given(rows=ROWS, at=st.floats(0.0, 1.0))
def test_ideal_is_where_the_waypoints_are(rows, at):
    rows = {0: rows[0][1], **timed(rows)}
    controller = one_joint('ideal')
    assert controller.receive(joint_message(NOW, rows), NOW)
    milliseconds = at * max(rows)
    due = np.interp(int(milliseconds * MS) / MS, list(rows), list(rows.values()))
    assert controller.command(NOW + int(milliseconds * MS)).position[0] == pytest.approx(due)


@quick
@given(numbers=st.lists(POSITION, min_size=6, max_size=6), span=st.floats(0.01, 2.0))
def test_a_segment_begins_and_ends_with_what_both_points_say(numbers, span):
    ends = [Waypoint(0, *(np.array([one]) for one in part)) for part in (numbers[:3], numbers[3:])]
    for passed, end in ((0.0, ends[0]), (span, ends[1])):
        found = between(JointSpace(1), *ends, span, passed)
        assert found.position == pytest.approx(end.position, abs=1e-9)
        assert found.velocity == pytest.approx(end.velocity, abs=1e-6)
        assert found.acceleration == pytest.approx(end.acceleration, abs=1e-3)


POSE = st.lists(st.floats(-1.0, 1.0), min_size=7, max_size=7).filter(
    lambda pose: np.linalg.norm(pose[3:]) > 0.1)


def unit(pose):
    return np.append(pose[:3], np.array(pose[3:]) / np.linalg.norm(pose[3:]))


@quick
@given(first=POSE, second=POSE, twists=st.lists(st.floats(-1, 1), min_size=12, max_size=12),
       passed=st.floats(0.05, 0.95))
def test_a_hand_s_velocity_is_the_rate_of_its_pose(first, second, twists, passed):
    space, small = PoseSpace(), 1e-5
    ends = (Waypoint(0, unit(first), np.array(twists[:6])),
            Waypoint(0, unit(second), np.array(twists[6:])))
    before, now, after = (between(space, *ends, 1.0, passed + shift)
                          for shift in (-small, 0.0, small))
    rate = space.difference(before.position, after.position) / (2 * small)
    np.testing.assert_allclose(now.velocity, rate, atol=1e-4)
    last = between(space, *ends, 1.0, 1.0)
    np.testing.assert_allclose(last.velocity, twists[6:], atol=1e-6)


@quick
@given(first=POSE, second=POSE, passed=st.integers(0, 100))
def test_a_hand_turns_at_one_rate_between_poses(first, second, passed):
    hand, space = make_controller('ideal'), PoseSpace()
    hand.feedback(unit(first), NOW)
    assert hand.receive(pose_message(0, {100: second}), NOW)
    reached = hand.command(NOW + passed * MS).position
    whole = space.difference(unit(first), unit(second))
    np.testing.assert_allclose(space.difference(unit(first), reached), whole * passed / 100,
                               atol=1e-9)
    assert np.linalg.norm(reached[3:]) == pytest.approx(1.0)


@quick
@given(values=st.lists(POSITION, min_size=3, max_size=3), order=st.permutations([0, 1, 2]),
       version=VERSION)
def test_the_order_of_the_joints_in_a_message_does_not_matter(values, order, version):
    names = ('a', 'b', 'c')
    controller = make_controller('jtc', joints=names, version=version)
    controller.feedback(np.zeros(3), NOW)
    message = joint_message(0, {0: [values[i] for i in order]}, names=[names[i] for i in order])
    assert controller.receive(message, NOW)
    assert list(controller.command(NOW).position) == values
