# SPDX-License-Identifier: Apache-2.0
"""Delays, settings and messages of the real-time evaluation."""
from fakes import make_parameters, make_spec
import numpy as np
import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.real_time import plain_messages
from vla_pruner_ros.evaluation.real_time.model_delays import Delay, DelayDraws, parse_delay
from vla_pruner_ros.evaluation.real_time.real_time_plan import parse_way, RealTimePlan, Setting
from vla_pruner_ros.runtime.motion.robot_commands import EndEffectorCommand, JointCommand
from vla_pruner_ros.runtime.output_lines import parse_outputs

MS = 10**6


@pytest.mark.parametrize('text, delay', [('0', Delay(0)), (' 100 ', Delay(100)),
                                         ('100~', Delay(100, True))])
def test_delays_are_read_and_written_alike(text, delay):
    assert parse_delay(text) == delay and delay.name == text.strip()


@pytest.mark.parametrize('text', ['', '~', '-5', '1e2', '99999', '100~~', '²'])
def test_other_delays_are_refused(text):
    with pytest.raises(ConfigError, match='accepted: milliseconds from 0 to 5000'):
        parse_delay(text)


def test_a_constant_delay_is_always_the_same():
    draws = DelayDraws(Delay(50), 7)
    assert [draws.next_ns() for _ in range(3)] == [50 * MS] * 3


def test_random_delays_belong_to_the_seed_and_lie_around_the_mean():
    def drawn(seed):
        draws = DelayDraws(Delay(100, True), seed)
        return [draws.next_ns() / MS for _ in range(400)]
    assert drawn(1) == drawn(1) != drawn(2)
    assert 50 <= min(drawn(1)) < 55 and 145 < max(drawn(1)) <= 150
    assert np.mean(drawn(1)) == pytest.approx(100, abs=5)


def test_labels_tell_settings_apart():
    settings = [Setting('lock_step'), Setting('naive', Delay(100, True)), Setting('linear'),
                Setting('linear', tokens=49), Setting('linear', reuse=True),
                Setting('linear', controller='servo'),
                Setting('linear', changes=(('join_time', 0.2),))]
    assert len({one.label for one in settings}) == len(settings)
    assert settings[1].label == 'naive, 100~ ms, jtc, all tokens'
    assert settings[-1].label == 'linear, 0 ms, jtc, all tokens, join_time=0.2'


def test_a_setting_changes_the_parameters_that_it_is_about():
    base = Parameters(token_budget=49, reuse=True)
    whole = Setting('lock_step').apply(base)
    assert (whole.lock_step, whole.token_budget, whole.pruner, whole.reuse) == (
        True, 0, 'none', False)
    pruned = Setting('ensemble', tokens=12, reuse=True,
                     changes=(('join_time', 0.3),)).apply(base)
    assert (pruned.lock_step, pruned.token_budget, pruned.pruner, pruned.reuse) == (
        False, 12, base.pruner, True)
    assert (pruned.chunk_join, pruned.join_time) == ('ensemble', 0.3)


def test_ways_with_changed_parameters_are_read():
    base = Parameters()
    assert parse_way('linear', base) == ('linear', ())
    assert parse_way(' linear/join_time=1/chunk_timing=answer', base) == (
        'linear', (('chunk_timing', 'answer'), ('join_time', 1.0)))
    for text, words in (('quadratic', 'accepted: lock_step, naive'),
                        ('linear/speed=1', "unknown parameter 'speed'"),
                        ('linear/join_time=soon', 'join_time is')):
        with pytest.raises(ConfigError, match=words):
            parse_way(text, base)


def test_a_journal_may_be_extended_by_settings_but_not_by_other_parameters():
    def digest(parameters=None, **changes):
        values = {'tasks': ('a',), 'seeds': (1, 2), 'settings': (Setting('naive'),),
                  'checkpoint_digest': 'x', 'versions': {}, **changes}
        return RealTimePlan(parameters=parameters or Parameters(), **values).digest
    assert digest() == digest(settings=(Setting('linear'),), seeds=(3,), tasks=('b',))
    assert digest() != digest(camera_hz=30.0) and digest() != digest(checkpoint_digest='y')
    assert digest() != digest(Parameters(execution_horizon=2))
    plan = RealTimePlan(('a', 'b'), (1, 2), (Setting('naive'), Setting('linear')), Parameters(),
                        'x')
    assert [unit[0].name for unit in plan.units()] == [
        f'{task} {seed} naive, 0 ms, jtc, all tokens' for seed in (1, 2) for task in 'ab']
    assert len(plan.jobs()) == 8


def command(velocities=None):
    return EndEffectorCommand(
        np.array([(0.1, 0.2, 0.3, 0.0, 0.0, 0.6, 0.8), (0.4, 0.5, 0.6, 0.0, 0.0, 0.0, 1.0)]),
        np.array([5 * 10**9 + 50 * MS, 6 * 10**9 + 100 * MS]), np.array([1.0, 0.25]), 5 * 10**9,
        velocities=velocities)


def plain(message):
    """A message as nested lists of numbers and words, ROS's or ours."""
    if hasattr(message, 'get_fields_and_field_types'):
        return {name: plain(getattr(message, name))
                for name in message.get_fields_and_field_types()}
    if hasattr(message, '__dict__'):
        return {name: plain(value) for name, value in vars(message).items()}
    if isinstance(message, (list, tuple)) or hasattr(message, 'typecode'):
        return [plain(one) for one in message]
    return message


def same(ours, theirs):
    """Every field of ours is that of the real message."""
    if isinstance(ours, dict):
        return all(same(value, theirs[name]) for name, value in ours.items())
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


@pytest.mark.parametrize('velocities', [None, np.arange(12.0).reshape(2, 6)])
def test_messages_say_what_those_of_the_node_say(velocities):
    pytest.importorskip('rclpy')
    from vla_pruner_ros.ros import message_encoding as real
    lines = parse_outputs(make_parameters(pose_topic='/pose'), make_spec())
    sent = {one.name: real.encode(one, command(velocities), 'base') for one in lines
            if one.kind != 'twist'}
    ours = plain(plain_messages.motion_message(command(velocities)))
    assert ours['points'] and same(ours, plain(sent['ee_trajectory']))
    ours = plain(plain_messages.gripper_message(command()))
    assert ours['points'] and same(ours, plain(sent['gripper_command']))
    ours = plain(plain_messages.stamped_twist(np.arange(6.0), 7 * 10**9 + 5))
    assert same(ours, plain(real.twist(np.arange(6.0), 7 * 10**9 + 5, 'base')))


def test_commands_of_joints_are_refused():
    joints = JointCommand(('a',), np.zeros((1, 1)), np.array([1]), None, 0)
    with pytest.raises(ConfigError, match='end-effector commands only'):
        plain_messages.motion_message(joints)
