# SPDX-License-Identifier: Apache-2.0
"""Random chunks, delays, stops, limits and hands: nothing that leaves ever breaks a limit."""
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_checks import MovedRobot, TwistRobot
import pytest

AGES = st.integers(0, 600)  # milliseconds
ROWS = st.lists(st.floats(-1, 1), min_size=1, max_size=14)
STEPS = st.lists(st.one_of(
    st.tuples(st.just('chunk'), ROWS, AGES), st.tuples(st.just('wait'), st.integers(1, 700)),
    st.tuples(st.just('stop'))), min_size=1, max_size=12)
SETUP = st.fixed_dictionaries({
    'chunk_join': st.sampled_from(['replace', 'linear', 'ensemble']),
    'chunk_timing': st.sampled_from(['observation', 'answer', 'auto']),
    'join_time': st.floats(0.0, 0.5), 'min_lead': st.sampled_from([0.0, 0.01, 0.1, 0.3]),
    'max_velocity': st.sampled_from([[], [0.05], [0.3], [2.0]]),
    'max_acceleration': st.sampled_from([[], [0.2], [1.0], [20.0]]),
    'execution_horizon': st.sampled_from([1, 4, 8])})


def play(robot, steps):
    for name, *values in steps:
        getattr(robot, name)(*values)


@settings(max_examples=60, deadline=None)
@given(setup=SETUP, steps=STEPS, age=st.integers(0, 200))
@pytest.mark.parametrize('kind', ['joints', 'poses'])
def test_limits_hold_for_a_robot_that_goes_where_it_is_sent(kind, setup, steps, age):
    robot = MovedRobot(kind, **setup, position_low=[-0.5] * (2 if kind == 'joints' else 3),
                       position_high=[0.6] * (2 if kind == 'joints' else 3))
    robot.age = age * 10**6
    play(robot, steps)


@settings(max_examples=60, deadline=None)
@given(setup=SETUP, steps=STEPS, lag=st.integers(1, 120))
@pytest.mark.parametrize('kind', ['joints', 'poses'])
def test_limits_hold_for_a_robot_that_lags_behind(kind, setup, steps, lag):
    robot = MovedRobot(kind, **setup)
    robot.lag = lag * 10**6
    play(robot, steps)


LIVE = st.fixed_dictionaries({}, optional={
    'max_velocity': st.sampled_from([[], [0.05], [0.3]]),
    'max_acceleration': st.sampled_from([[], [1.0], [20.0]]),
    'position_high': st.sampled_from([[0.6] * 2, [0.1] * 2]),
    'chunk_join': st.sampled_from(['replace', 'linear', 'ensemble']),
    'chunk_timing': st.sampled_from(['observation', 'answer', 'auto']),
    'execution_horizon': st.sampled_from([1, 4, 8])})
LIVELY = st.lists(st.one_of(
    st.tuples(st.just('chunk'), ROWS, AGES), st.tuples(st.just('wait'), st.integers(1, 700)),
    st.tuples(st.just('stop')), st.tuples(st.just('change'), LIVE),
    st.tuples(st.just('hand'), st.floats(-0.4, 0.4)),
    st.tuples(st.just('clock'), st.integers(-3000, 3000))), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(setup=SETUP, steps=LIVELY)
def test_limits_hold_while_everything_changes(setup, steps):
    robot = MovedRobot('joints', **setup, position_low=[-0.5] * 2, position_high=[0.6] * 2)
    play(robot, steps)


@settings(max_examples=60, deadline=None)
@given(setup=SETUP, steps=STEPS, age=st.integers(0, 150))
def test_velocities_that_are_integrated_keep_limits_and_box(setup, steps, age):
    robot = TwistRobot(**setup, position_low=[-0.1] * 3, position_high=[0.2] * 3)
    robot.age = age * 10**6
    play(robot, steps)
