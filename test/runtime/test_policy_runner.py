# SPDX-License-Identifier: Apache-2.0
"""The path from messages to commands, driven as the node and the replay drive it."""
from fakes import FakeBackend, image, joints, make_parameters, make_spec, pose, SECOND
import numpy as np
import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.types import CameraSpec
from vla_pruner_ros.runtime.policy_runner import PolicyRunner

MS = 10**6
T0 = 100 * SECOND


def make_runner(**changes):
    backend = FakeBackend()
    return backend, PolicyRunner(backend, make_parameters(instruction='reach', **changes))


def feed(runner, stamp, value=255, **kwargs):
    runner.cache.put_joint_state(joints(stamp), stamp)
    runner.cache.put_pose(pose(stamp, **kwargs), stamp)
    runner.cache.put_image('corner', image(stamp, value), stamp)


def test_a_complete_set_gives_a_command_that_starts_at_the_observed_pose():
    backend, runner = make_runner(lock_step=True)
    feed(runner, T0)
    tick = runner.tick(T0)
    assert tick.reason == ''
    assert backend.calls[0].state.tolist() == [0.1, 0.2, 0.3, 0.5]
    np.testing.assert_allclose(tick.command.poses[0], [0.1, 0.2, 0.3, 0, 0, 0, 1])
    # Image mean 255 moves 0.01 m per row along x.
    np.testing.assert_allclose(tick.command.poses[:, 0], 0.1 + 0.01 * np.arange(9))
    assert tick.command.times_ns.tolist() == [T0 + i * 50 * MS for i in range(9)]
    assert runner.diagnostics()['steps'] == 1


def test_a_frame_is_used_once_and_only_when_the_last_chunk_is_executed():
    _, runner = make_runner(execution_horizon=4)
    outcomes = []
    for index in range(7):  # 50 ms apart: every fourth frame is due
        feed(runner, T0 + index * 50 * MS)
        outcomes.append(runner.tick(T0 + index * 50 * MS).reason)
    assert outcomes == ['', 'not_due', 'not_due', 'not_due', '', 'not_due', 'not_due']
    assert runner.tick(T0 + 310 * MS).reason == 'not_due'
    assert runner.diagnostics()['drops'] == {}


def test_lock_step_answers_every_frame_and_keeps_past_points():
    _, runner = make_runner(lock_step=True)
    for index in range(3):
        feed(runner, T0 + index * 50 * MS)
        tick = runner.tick(T0 + 60 * SECOND)  # however late it is
        assert tick.reason == '' and len(tick.command.poses) == 9
    assert runner.tick(T0 + 60 * SECOND).reason == 'no_new_frame'


def test_past_points_are_trimmed_by_the_clock_after_the_policy_ran():
    _, runner = make_runner()
    feed(runner, T0)
    tick = runner.tick(T0, clock=lambda: T0 + 120 * MS)
    assert tick.command.times_ns[0] == T0 + 130 * MS  # the robot stood: row 0 begins 10 ms ahead
    assert tick.command.times_ns[-1] == T0 + 530 * MS
    runner.sent(tick, T0 + 120 * MS)
    feed(runner, T0 + 230 * MS, xyz=(0.12, 0.2, 0.3))
    tick = runner.tick(T0 + 230 * MS, clock=lambda: T0 + 350 * MS)
    assert tick.command.times_ns[0] == T0 + 375 * MS  # it moves: rows that are past are left out
    assert tick.command.times_ns[-1] == T0 + 630 * MS


def test_the_lead_is_a_parameter():
    _, runner = make_runner(min_lead=0.05)
    feed(runner, T0)
    tick = runner.tick(T0, clock=lambda: T0 + 120 * MS)
    assert tick.command.times_ns[0] == T0 + 170 * MS


def test_a_policy_without_chunks_is_not_late_while_its_one_action_is_ahead():
    backend = FakeBackend(make_spec(action_horizon=1, control_dt=0.2))
    runner = PolicyRunner(backend, make_parameters(instruction='reach', execution_horizon=1))
    feed(runner, T0)
    tick = runner.tick(T0, clock=lambda: T0 + 80 * MS)
    assert tick.reason == ''
    assert tick.command.times_ns[-1] == T0 + 290 * MS
    assert tick.command.poses[-1, 0] == pytest.approx(0.11)


def test_an_answer_that_comes_too_late_is_no_command_where_rows_belong_to_the_observation():
    _, runner = make_runner(chunk_timing='observation')
    feed(runner, T0)
    tick = runner.tick(T0, clock=lambda: T0 + SECOND)
    assert (tick.reason, tick.command) == ('late', None)
    assert runner.diagnostics()['failures'] == {'late': 1}


def test_a_chunk_that_is_wholly_past_begins_with_the_answer():
    _, runner = make_runner(min_lead=0.05)
    feed(runner, T0)
    feed(runner, T0 + 990 * MS)
    tick = runner.tick(T0 + 990 * MS, clock=lambda: T0 + 1500 * MS)
    assert tick.reason == ''
    assert tick.command.times_ns[-1] == T0 + 1750 * MS  # a lead of 50 ms, 4 rows of 50 ms
    assert tick.command.poses[-1, 0] == pytest.approx(0.14)  # the planned speed, not squeezed
    assert runner.diagnostics()['timing'] == 'answer'


@pytest.mark.parametrize('error, value, reason', [
    (RuntimeError('out of memory'), None, 'backend_error'),
    (None, np.nan, 'unsafe_action'),
])
def test_failures_are_counted_and_the_next_step_works(error, value, reason):
    backend, runner = make_runner(lock_step=True)
    backend.fail, backend.value = error, value
    feed(runner, T0)
    tick = runner.tick(T0)
    assert (tick.reason, tick.command, tick.chunk) == (reason, None, None)
    assert tick.message
    assert runner.diagnostics()['failures'] == {reason: 1}
    backend.value = None
    feed(runner, T0 + 50 * MS)
    assert runner.tick(T0 + 50 * MS).reason == ''


def test_an_instruction_the_policy_does_not_know_is_a_counted_reason():
    _, runner = make_runner(lock_step=True)
    runner.cache.put_instruction('make tea')
    feed(runner, T0)
    tick = runner.tick(T0)
    assert tick.reason == 'unknown_instruction'
    assert 'reach, push, stop' in tick.message


def test_position_limits_hold_along_the_whole_path():
    _, runner = make_runner(lock_step=True, position_low=[0.0, 0.0, 0.0],
                            position_high=[0.125, 1.0, 1.0])
    feed(runner, T0)
    tick = runner.tick(T0)
    assert tick.command.poses[:, 0].max() == pytest.approx(0.125)
    assert runner.diagnostics()['limited'] == {'position': 6}


def test_parameters_change_at_the_next_tick_and_bad_ones_change_nothing():
    _, runner = make_runner(execution_horizon=4)
    feed(runner, T0)
    runner.tick(T0)
    runner.update(runner.parameters.changed({'execution_horizon': 1}))
    feed(runner, T0 + 50 * MS)
    assert runner.tick(T0 + 50 * MS).stats.revision == 1
    with pytest.raises(ConfigError, match='max_step has 5 values'):
        runner.update(runner.parameters.changed({'max_step': [0.1] * 5}))
    assert runner.parameters.max_step == ()


def test_resets_are_named_and_happen_before_the_step():
    _, runner = make_runner(lock_step=True)
    runner.activate()
    feed(runner, T0)
    assert runner.tick(T0).resets == ('activation',)
    runner.cache.put_instruction('push')
    runner.reset('requested')
    feed(runner, T0 + 50 * MS)
    assert runner.tick(T0 + 50 * MS).resets == ('requested', 'instruction')
    feed(runner, T0 + 10 * SECOND)
    assert runner.tick(T0 + 10 * SECOND).resets == ('gap',)
    feed(runner, T0)
    assert runner.tick(T0).resets == ('clock_jump',)
    assert runner.diagnostics()['resets'] == {'activation': 1, 'requested': 1, 'instruction': 1,
                                              'gap': 1, 'clock_jump': 1}


def test_a_bag_that_loops_goes_on_at_once():
    _, runner = make_runner(execution_horizon=4)
    feed(runner, T0 + 5 * SECOND)
    assert runner.tick(T0 + 5 * SECOND).reason == ''
    feed(runner, T0)
    assert runner.tick(T0).reason == ''  # not 'not_due' for five seconds


def test_joint_states_that_stop_while_a_chunk_is_executed_end_the_chunks_by_name():
    _, runner = make_runner(execution_horizon=4)
    seen = {}
    for index in range(30):  # 1.5 s; the sender of the joint dies after 0.35 s
        now = T0 + index * 50 * MS
        if index < 8:
            runner.cache.put_joint_state(joints(now), now)
        runner.cache.put_pose(pose(now), now)
        runner.cache.put_image('corner', image(now), now)
        tick = runner.tick(now)
        runner.sent(tick, now)
        seen.setdefault(tick.reason, []).append(index)
    assert seen[''] == [0, 4, 8]  # the last one by a state 50 ms old
    assert seen['skew_joint:gripper'] == [12, 13, 14, 15, 16, 17]
    assert seen['stale_joint:gripper'] == list(range(18, 30))
    # The chunk of 0.4 s was sent whole: it is braked from where it has led, not from a guess.
    assert runner.motion.coverage_ns == T0 + 800 * MS
    feed(runner, now + 50 * MS)
    assert runner.tick(now + 50 * MS).reason == ''


def test_cameras_that_do_not_fit_the_policy_are_refused_at_the_start():
    backend = FakeBackend(make_spec(cameras=(CameraSpec('wrist', 8, 8),)))
    runner = PolicyRunner(backend, make_parameters())
    with pytest.raises(ConfigError, match="'corner'; the policy has"):
        runner.cache.put_image('corner', image(T0), T0)


def test_rolling_medians_leave_reused_steps_out():
    _, runner = make_runner(lock_step=True)
    feed(runner, T0)
    runner.tick(T0)
    stages = runner.diagnostics()['stages_ms']
    assert stages['vision'] == 2.0 and stages['decoder'] == 3.0
