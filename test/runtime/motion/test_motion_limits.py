# SPDX-License-Identifier: Apache-2.0
"""Nothing that is sent breaks a limit: the follower over random wishes, states and limits."""
from fakes import make_parameters, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_pruner_ros.runtime.motion.motion_limits import brake, follow, MotionLimits
from vla_pruner_ros.runtime.motion.motion_spaces import JointSpace, PoseSpace
from vla_pruner_ros.runtime.motion.timed_path import TimedPath

STEP, SECOND = 25_000_000, 10**9
NO_BOX = np.zeros(0)
TINY = 1e-9


def limits(velocity=(np.inf, np.inf), acceleration=(np.inf, np.inf), low=NO_BOX, high=NO_BOX):
    return MotionLimits(*(np.array(one, float) for one in (velocity, acceleration, low, high)))


def run(bounds, rows, start, speed=(0.0, 0.0), row_s=0.05):
    """Follow rows of two joints that are ``row_s`` apart."""
    space = JointSpace(2)
    times = (np.arange(len(rows)) * row_s * SECOND).astype(np.int64)
    wanted = TimedPath.through(space, times, np.array(rows, float))
    return follow(space, bounds, wanted, np.array(start, float), np.array(speed, float), 0,
                  int(times[-1]), STEP)


def with_start(found, start, speed):
    return (np.vstack([[start], found.points]), np.vstack([[speed], found.velocities]))


def cubic_extremes(points, speeds):
    """Largest velocity and acceleration of the cubics between the points, per coordinate."""
    step = STEP / SECOND
    shares = np.linspace(0.0, 1.0, 5)[:, None, None]
    whole = np.diff(points, axis=0)
    first, last = speeds[:-1] * step, speeds[1:] * step
    velocity = ((6 * shares - 6 * shares**2) * whole + (3 * shares**2 - 4 * shares + 1) * first
                + (3 * shares**2 - 2 * shares) * last) / step
    acceleration = ((6 - 12 * shares) * whole + (6 * shares - 4) * first
                    + (6 * shares - 2) * last) / step**2
    return np.abs(velocity).max(axis=(0, 1)), np.abs(acceleration).max(axis=(0, 1))


ROWS = st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=12)
SPEEDS = st.floats(0.05, 3.0)


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, fastest=SPEEDS, force=st.floats(0.1, 20.0), data=st.data())
def test_velocity_acceleration_and_box_hold_for_any_wish(rows, fastest, force, data):
    bounds = limits((fastest,) * 2, (force,) * 2, (-0.5, -0.4), (0.5, 0.6))
    start = data.draw(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.4, 0.6)))
    # Velocities from which the walls can still be kept.
    room = [min(0.5 - start[0], start[0] + 0.5), min(0.6 - start[1], start[1] + 0.4)]
    speed = [data.draw(st.floats(-1, 1)) * min(
        fastest, np.sqrt(max(2 * force * (one - force * (STEP / SECOND)**2 / 8), 0.0)))
        for one in room]
    found = run(bounds, rows, start, speed)
    points, speeds = with_start(found, start, speed)
    velocity, acceleration = cubic_extremes(points, speeds)
    assert (velocity <= fastest + 1e-6).all()
    assert (acceleration <= force + 1e-5).all()
    assert (points >= np.array([-0.5, -0.4]) - TINY).all()
    assert (points <= np.array([0.5, 0.6]) + TINY).all()
    assert not speeds[-1].any()


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, fastest=SPEEDS)
def test_a_velocity_limit_alone_holds(rows, fastest):
    found = run(limits((fastest,) * 2), rows, rows[0])
    points, speeds = with_start(found, rows[0], (0.0, 0.0))
    assert np.abs(speeds).max() <= fastest + TINY
    assert (np.abs(np.diff(points, axis=0)) <= fastest * STEP / SECOND + TINY).all()


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_a_box_alone_holds(rows):
    found = run(limits(low=(-0.2, -0.2), high=(0.2, 0.2)), rows, (0.0, 0.0))
    assert np.abs(found.points).max() <= 0.2 + TINY


def test_what_asks_for_nothing_too_much_is_followed():
    rows = [[0.01 * i, 0.0] for i in range(9)]  # 0.2 per second
    found = run(limits((1.0, 1.0), (50.0, 50.0), (-1, -1), (1, 1)), rows, (0.0, 0.0), (0.2, 0.0))
    wanted = np.interp(found.times_ns, np.arange(9) * 0.05 * SECOND, np.arange(9) * 0.01)
    assert np.abs(found.points[:, 0] - wanted)[:12].max() < 2e-4
    assert found.points[-1] == pytest.approx([0.08, 0.0], abs=1e-4)
    assert found.counts.get('max_velocity', 0) == 0


def test_too_fast_a_wish_takes_longer_and_arrives():
    found = run(limits((0.2, 0.2)), [[0.0, 0.0], [0.4, 0.0]], (0.0, 0.0))
    assert found.points[-1][0] == pytest.approx(0.4, abs=1e-3)
    assert found.times_ns[-1] >= 2.0 * SECOND - STEP  # 0.4 at 0.2 per second
    assert found.counts['max_velocity'] > 10


def test_outside_the_box_the_robot_may_come_back_but_goes_no_further_out():
    bounds = limits((1.0, 1.0), (10.0, 10.0), (-0.2, -0.2), (0.2, 0.2))
    out = run(bounds, [[0.3, 0.0], [0.9, 0.0]], (0.3, 0.0))
    assert out.points[:, 0].max() <= 0.3 + TINY
    back = run(bounds, [[0.3, 0.0], [0.0, 0.0]], (0.3, 0.0), row_s=0.5)
    assert back.points[-1][0] == pytest.approx(0.0, abs=1e-3)


def test_a_robot_at_its_wall_stays_there():
    found = run(limits((1.0, 1.0), (10.0, 10.0), (-0.2, -0.2), (0.2, 0.2)),
                [[0.2, 0.0], [0.9, 0.0]], (0.2, 0.0))
    assert np.abs(found.points[:, 0] - 0.2).max() < TINY and found.counts['position'] > 0


@settings(max_examples=60, deadline=None)
@given(turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3), fastest=SPEEDS)
def test_rotation_limits_hold_on_the_sphere(turn, fastest):
    space = PoseSpace()
    start = np.array([0, 0, 0, 0, 0, 0, 1.0])
    goal = space.plus(start, np.array([0, 0, 0, *turn]))
    wanted = TimedPath.through(space, np.array([0, 50_000_000]), np.stack([start, goal]))
    bounds = MotionLimits(np.full(6, fastest), np.full(6, np.inf), NO_BOX, NO_BOX)
    found = follow(space, bounds, wanted, start, np.zeros(6), 0, 50_000_000, STEP)
    points = np.vstack([[start], found.points])
    for before, after in zip(points[:-1], points[1:]):
        assert (np.abs(space.minus(after, before)) <= fastest * STEP / SECOND + 1e-9).all()
    assert np.abs(space.minus(points[-1], goal)).max() < 1e-3 or len(points) > 80


@pytest.mark.parametrize('force, seconds', [(np.inf, 0.1), (2.0, 0.5)])
def test_braking_takes_the_time_that_the_limit_allows(force, seconds):
    found = brake(JointSpace(2), limits(acceleration=(force, force)), np.zeros(2),
                  np.array([1.0, 0.0]), 0, STEP)
    assert found.times_ns[-1] / SECOND == pytest.approx(seconds, abs=0.026)
    assert found.points[-1][0] == pytest.approx(seconds / 2, abs=0.02)
    assert not found.velocities[-1].any()


def test_limits_come_from_the_parameters_the_stricter_one_wins():
    spec = make_spec()
    found = MotionLimits.of(make_parameters(max_velocity=[0.5], max_step=[0.01, 0.02, 0.03, 9.0],
                                            max_acceleration=[1.0, 2.0, 3.0]), spec, 6)
    assert found.velocity.tolist()[:3] == pytest.approx([0.2, 0.4, 0.5])  # 0.01 per 50 ms
    assert found.acceleration.tolist()[:3] == [1.0, 2.0, 3.0] and found.any
    assert not MotionLimits.of(make_parameters(), spec, 6).any
