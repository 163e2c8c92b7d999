# SPDX-License-Identifier: Apache-2.0
"""The node's parts by themselves: messages, velocity stream, watchdog, thread, words."""
import threading

from fakes import make_parameters, make_spec
import numpy as np
import pytest

from vla_pruner_ros.ros import message_encoding as messages
from vla_pruner_ros.ros.diagnostics_publisher import flatten, summarise
from vla_pruner_ros.ros.outputs.messages_of_a_stop import stop_messages
from vla_pruner_ros.ros.status_facts import Trends, Window
from vla_pruner_ros.runtime.inference_thread import Worker
from vla_pruner_ros.runtime.motion.robot_commands import EndEffectorCommand, JointCommand
from vla_pruner_ros.runtime.output_lines import parse_outputs
from vla_pruner_ros.runtime.silence_watchdog import Watchdog
from vla_pruner_ros.runtime.token_overlay import draw_overlay, FRAME, kept_mask, side_by_side

SECOND = 10**9
STILL = [0.0, 0.0, 0.0, 1.0]


def command(**changes):
    values = {'poses': np.array([[0, 0, 0, *STILL], [0.1, 0, 0, *STILL], [0.1, 0.3, 0, *STILL]]),
              'times_ns': np.array([5, 6, 7]) * SECOND, 'gripper': None, 'stamp_ns': 5 * SECOND}
    return EndEffectorCommand(**{**values, **changes})


def lines(spec=None, **parameters):
    return parse_outputs(make_parameters(**parameters), spec or make_spec())


def encoded(what, spec=None, **parameters):
    """Chunk messages of a command on the default outputs, by name."""
    found = {line.name: messages.encode(line, what, 'base')
             for line in lines(spec, **parameters) if not line.rate}
    return {name: message for name, message in found.items() if message is not None}


# ---- messages

def test_times_count_from_the_stamp_and_carry_into_seconds():
    made = messages.joint_trajectory(['a'], np.array([[1.0], [2.0]]),
                                     [5 * SECOND + 1, 7 * SECOND + 5], 5 * SECOND)
    assert (made.header.stamp.sec, made.header.stamp.nanosec) == (5, 0)
    assert [(one.time_from_start.sec, one.time_from_start.nanosec) for one in made.points] == [
        (0, 1), (2, 5)]
    assert [list(one.positions) for one in made.points] == [[1.0], [2.0]]
    assert all(not one.velocities for one in made.points)


def test_pose_without_a_place_in_the_base_frame_is_not_published():
    # Numbers relative to the hand would be read as places in the base frame.
    assert set(encoded(command(absolute=False, gripper=np.ones(3)))) == {'gripper_command'}
    assert set(encoded(command())) == {'ee_trajectory'}


def test_joint_command_becomes_one_trajectory_and_the_gripper_another():
    spec = make_spec(action_kind='joint_position', action_names=('a', 'b', 'g'), gripper_index=2)
    made = encoded(JointCommand(('a', 'b'), np.array([[1.0, 2.0]]), np.array([6 * SECOND]),
                                np.array([0.5]), 5 * SECOND), spec, gripper_joint='finger')
    assert made['action_chunk'].joint_names == ['a', 'b']
    assert made['gripper_command'].joint_names == ['finger']
    assert list(made['gripper_command'].points[0].positions) == [0.5]


def test_image_message_holds_the_pixels_row_by_row():
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    made = messages.image(rgb, 3 * SECOND, 'corner')
    assert (made.height, made.width, made.step, made.encoding) == (2, 4, 12, 'rgb8')
    assert bytes(made.data) == bytes(range(24))
    assert bytes(messages.image(rgb[:, ::2], 0, '').data) == bytes(
        [0, 1, 2, 6, 7, 8, 12, 13, 14, 18, 19, 20])


# ---- what stops the robot

def held():
    return command(poses=np.array([[0, 0, 0, *STILL]]), times_ns=np.array([6 * SECOND]),
                   velocities=np.zeros((1, 6)))


@pytest.mark.parametrize('outputs, action, what, sent', [
    ([], 'hold', held(), ['ee_trajectory']), ([], 'zero', held(), []),
    (['hand=ee_trajectory'], 'zero', held(), ['hand']),  # nothing else would end it
    ([], 'hold', None, []), ([], 'none', held(), [])])
def test_a_stop_holds_the_hand_unless_only_velocities_are_wanted(outputs, action, what, sent):
    made = stop_messages(lines(outputs=outputs), action, 'base', what)
    assert [name for name, _ in made] == sent
    assert all(message.header.frame_id == 'base' for _, message in made)


def test_a_stop_keeps_the_gripper_as_it_was_told():
    made = dict(stop_messages(lines(), 'hold', 'base', command(gripper=np.full(3, 0.04))))
    assert {one.positions[0] for one in made['gripper_command'].points} == {0.04}


@pytest.mark.parametrize('action', ['hold', 'zero'])
def test_joints_have_no_velocity_and_are_held(action):
    spec = make_spec(action_kind='joint_position', action_names=('a',), gripper_index=None)
    joint = JointCommand(('a',), np.array([[0.5]]), np.array([6 * SECOND]), None, 5 * SECOND)
    made = stop_messages(lines(spec), action, 'base', joint)
    assert [name for name, _ in made] == ['action_chunk']
    assert list(made[0][1].points[0].positions) == [0.5]
    assert stop_messages(lines(spec), action, 'base', None) == []


# ---- watchdog

def test_watchdog_trips_once_per_silence():
    dog = Watchdog()
    assert not dog.check(100, 10)  # not armed
    dog.arm(0)
    assert [dog.check(now, 10) for now in (10, 11, 12, 99)] == [False, True, False, False]
    assert dog.feed(100)  # recovered
    assert not dog.feed(101)
    assert [dog.check(now, 10) for now in (111, 112)] == [False, True]
    assert dog.trips == 2


def test_watchdog_does_not_trip_because_the_clock_jumped_back():
    dog = Watchdog()
    dog.arm(1000)
    assert not dog.check(5, 10)
    assert [dog.check(now, 10) for now in (15, 16)] == [False, True]


def test_disarmed_watchdog_forgets():
    dog = Watchdog()
    dog.arm(0)
    dog.disarm()
    assert not dog.check(10**12, 10) and not dog.feed(5) and dog.silence_ns(9) == 0


# ---- thread

def test_jobs_and_steps_run_on_one_other_thread():
    seen, done = [], threading.Event()

    def step():
        seen.append(threading.get_ident())
        if len(seen) > 2:
            done.set()

    worker = Worker('test', on_error=lambda error: None)
    first = worker.call(threading.get_ident)
    worker.repeat(step)
    assert done.wait(10)
    worker.close()
    assert set(seen) == {first} and first != threading.get_ident()
    with pytest.raises(RuntimeError, match='has ended'):
        worker.call(lambda: None)


def test_job_errors_go_to_the_caller_and_step_errors_to_the_handler():
    errors, done = [], threading.Event()

    def step():
        if len(errors) < 2:
            raise ValueError(len(errors))
        done.set()

    worker = Worker('test', on_error=errors.append)
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0)
    worker.repeat(step)
    assert done.wait(10)  # it went on after both errors
    worker.close()
    assert [str(one) for one in errors] == ['0', '1']


# ---- words

def healthy(**changes):
    camera = {'topic': '/cam', 'received': 100, 'lost_share': 0.0, 'publishers': 1,
              **changes.pop('camera', {})}
    return {'state': 'active', 'failure': '', 'reason': '', 'watchdog_tripped': False,
            'silence_s': 0.1, 'time_ns': 1, 'stages_ms': {'total': 50.0}, 'target_period': 0.2,
            'watched_s': 9.0, 'cameras': {'front': camera}, 'dds_profile': '/x/shm.xml',
            'dds_chosen': False, **changes}


@pytest.mark.parametrize('facts, level, said', [
    (healthy(), 0, 'running'),
    ({'state': 'inactive'}, 0, 'inactive'),
    ({'state': 'unconfigured', 'failure': 'no such file'}, 2, 'no such file'),
    (healthy(stages_ms={'total': 350.0}), 1, 'a step takes 350 ms, wanted are 200 ms'),
    (healthy(reason='stale_camera:front'), 1, 'waiting: stale_camera:front'),
    (healthy(watchdog_tripped=True, silence_s=3.0, reason='skew'), 2, 'no chunk for 3.0 s (skew)'),
    (healthy(camera={'lost_share': 0.5}), 1, 'FASTRTPS_DEFAULT_PROFILES_FILE'),
    (healthy(camera={'lost_share': 0.5}), 1, 'camera front loses 50% of its frames'),
    (healthy(camera={'lost_share': 0.5}, dds_chosen=True), 1, 'start its driver, too, with'),
    (healthy(camera={'received': 0}), 1, 'has a publisher on /cam but no frame arrives'),
    (healthy(camera={'received': 0}, watched_s=1.0), 0, 'running'),
    (healthy(time_ns=0), 1, 'no /clock arrives'),
    (healthy(camera={'publishers': 0}), 1, 'nobody publishes /cam'),
])
def test_summary_names_the_trouble_and_the_way_out(facts, level, said):
    got, words = summarise(facts)
    assert got == level and said in words


def test_growth_is_taken_over_the_window_only():
    window = Window(seconds=10.0)
    assert window.growth(0, {'n': 0}) == ({'n': 0}, 0.0)
    assert window.growth(5 * SECOND, {'n': 50}) == ({'n': 50}, 5.0)
    grown, seconds = window.growth(14 * SECOND, {'n': 95})
    assert (grown['n'], seconds) == (45, 9.0)  # the sample at 0 is older than ten seconds
    assert window.growth(1 * SECOND, {'n': 100}) == ({'n': 0}, 0.0)  # the clock jumped back


def test_loss_is_the_share_of_recent_frames():
    clock = [0]

    def one(topic):
        return 1

    def camera(received, lost, counted=None):
        return {'steps': received, 'time_ns': clock[0], 'cameras': {'front': {
            'topic': '/cam', 'received': received, 'lost': lost, 'middleware_lost': counted}}}

    trends = Trends()
    trends.add(camera(100, 900), one)
    clock[0] = 2 * SECOND
    facts = trends.add(camera(160, 920), one)
    assert facts['cameras']['front']['lost_share'] == 0.25  # 20 lost beside 60 received
    assert facts['cameras']['front']['received_hz'] == 30.0
    assert facts['rate_hz'] == 30.0

    trends = Trends()  # the middleware's count, where there is one, is believed
    trends.add(camera(100, 900, counted=4), one)
    facts = trends.add(camera(160, 920, counted=4), one)
    assert facts['cameras']['front']['lost_share'] == 0.0


def test_nested_facts_become_dotted_keys():
    assert flatten({'a': {'b': {'c': 1}}, 'd': 0.123456, 'e': [1, 2]}) == [
        ('a.b.c', '1'), ('d', '0.1235'), ('e', '[1, 2]')]


# ---- overlay

def test_kept_mask_covers_exactly_the_patches_of_kept_tokens():
    mask = kept_mask([0, 3], rows=2, cols=2, height=4, width=6)
    assert mask.astype(int).tolist() == [[1, 1, 1, 0, 0, 0]] * 2 + [[0, 0, 0, 1, 1, 1]] * 2


def test_overlay_dims_what_was_dropped_and_frames_what_was_kept():
    picture = np.full((8, 8, 3), 200, np.uint8)
    drawn = draw_overlay(picture, [3], rows=2, cols=2)
    assert drawn[6, 6].tolist() == [200, 200, 200]
    assert drawn[4, 4].tolist() == FRAME.tolist()
    assert drawn[1, 1].tolist() == [70, 70, 70]
    assert picture.min() == 200  # the input is left alone
    np.testing.assert_array_equal(draw_overlay(picture, range(4), 2, 2), picture)


def test_pictures_of_different_heights_stand_side_by_side():
    sheet = side_by_side([np.full((2, 3, 3), 1, np.uint8), np.full((4, 1, 3), 2, np.uint8)])
    assert sheet.shape == (4, 4, 3)
    assert sheet[:, :, 0].tolist() == [[1, 1, 1, 2], [1, 1, 1, 2], [0, 0, 0, 2], [0, 0, 0, 2]]
