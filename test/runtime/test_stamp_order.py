# SPDX-License-Identifier: Apache-2.0
"""A straggler is dropped and counted; only a clock that really jumped clears everything, once."""
from fakes import FakeBackend, image, joints, make_parameters, make_spec, pose, SECOND
from input_fakes import feed, make_cache, MS, T0, YEAR
import pytest

from vla_pruner_ros.core.types import CameraSpec
from vla_pruner_ros.runtime.policy_runner import PolicyRunner
from vla_pruner_ros.runtime.silence_watchdog import Watchdog
from vla_pruner_ros.runtime.stamp_order import BACK, LATE, NEW, SAME, StampOrder


def moments(cache, begin, count, received, step=50 * MS):
    """Feed and take ``count`` moments; resets of each answered one, and why others were not."""
    seen = []
    for index in range(count):
        feed(cache, begin + index * step, received=received + index * step)
        take = cache.take(received + index * step)
        seen.append(take.resets if take.observation else take.reason)
    return seen


def test_stamps_of_one_stream():
    order = StampOrder()
    verdicts = [order.put(stamp, 0) for stamp in (100, 200, 200, 150, 210)]
    assert verdicts == [NEW, NEW, SAME, LATE, NEW]


def test_old_stamps_that_never_catch_up_are_a_jump_however_small():
    cache = make_cache()
    moments(cache, T0, 5, T0)
    now = T0 + 200 * MS
    for index in range(1, 70):  # 90 ms behind, and a hundredth of the speed
        cache.put_image('corner', image(now - 90 * MS + index * MS // 10), now + index * 10 * MS)
    assert cache.cameras()['corner']['received'] == 5 + 69 - 50
    assert cache.drops == {'out_of_order:corner': 50}


def test_a_stream_that_died_before_a_jump_is_not_taken_for_one_of_the_new_time():
    cache = make_cache(lock_step=True)
    cache.put_pose(pose(SECOND), SECOND)  # and never again
    for stamp, received in ((SECOND, 1), (5 * SECOND, 5), (SECOND, 6)):
        assert cache.measured(0) is not None
        cache.put_joint_state(joints(stamp), received * SECOND)
        cache.put_image('corner', image(stamp), received * SECOND)
    assert cache.measured(0) is None
    assert cache.take(6 * SECOND).reason == 'waiting_state'
    assert cache.measured(0, ['gripper']) is not None


def test_a_message_that_tells_a_jump_by_one_joint_keeps_its_news_of_the_other():
    spec = make_spec(state_names=('a', 'gripper'))
    cache = make_cache(spec, max_image_age=60.0, pose_topic='', state_sources=['a=joint.a'])
    cache.put_joint_state(joints(T0 + 3 * SECOND, ['a'], [9]), T0)
    for index in range(11):  # a is late for half a second, the gripper is not
        now = T0 + index * 50 * MS
        cache.put_joint_state(joints(now, ['a', 'gripper'], [1, index]), now)
    cache.put_image('corner', image(now), now)
    take = cache.take(now)
    assert take.observation.state.tolist() == [1, 10] and take.resets == ('clock_jump',)


@pytest.mark.parametrize('late, verdict', [
    ([(100, 0), (600, 499)], LATE),     # not long enough
    ([(100, 0), (600, 500)], BACK),
    ([(100, 0), (100, 900)], LATE),     # an old message sent again and again is no time that runs
    ([(900, 0), (100, 400), (200, 500)], BACK),  # a straggler first, then the time before it
])
def test_late_stamps_that_grow_for_half_a_second_are_a_stream_gone_back(late, verdict):
    order = StampOrder()
    order.put(1000 * MS, 0)
    assert [order.put(stamp * MS, received * MS) for stamp, received in late][-1] == verdict


def test_a_second_sender_of_a_joint_150_ms_late_changes_nothing():
    runner = PolicyRunner(FakeBackend(), make_parameters(instruction='reach',
                                                         execution_horizon=4))
    watchdog = Watchdog()
    watchdog.arm(T0)
    for index in range(400):  # 4 s at 100 Hz, images at 20 Hz
        now = T0 + index * 10 * MS
        runner.cache.put_joint_state(joints(now, positions=[0.5]), now)
        runner.cache.put_joint_state(joints(now - 150 * MS, positions=[0.1]), now)
        runner.cache.put_pose(pose(now), now)
        if index % 5 == 0:
            runner.cache.put_image('corner', image(now), now)
        tick = runner.tick(now)
        runner.sent(tick, now)
        if tick.command is not None:
            watchdog.feed(now)
            assert tick.observation.state[3] == 0.5
        watchdog.check(now, SECOND // 2)
    facts = runner.diagnostics()
    assert (facts['steps'], watchdog.trips, facts['resets']) == (20, 0, {})
    assert facts['drops'] == {'out_of_order:joint_state': 400}


def test_a_camera_whose_every_other_stamp_is_late_keeps_its_memory_and_pace():
    runner = PolicyRunner(FakeBackend(), make_parameters(instruction='reach',
                                                         execution_horizon=4))
    for index in range(72):  # 3.6 s at 20 Hz: a chunk is due every 0.2 s
        now = T0 + index * 50 * MS
        runner.cache.put_joint_state(joints(now), now)
        runner.cache.put_pose(pose(now), now)
        runner.cache.put_image('corner', image(now - (200 * MS if index % 2 else 0)), now)
        runner.sent(runner.tick(now), now)
    facts = runner.diagnostics()
    assert (facts['steps'], facts['resets']) == (18, {})
    assert facts['drops'] == {'out_of_order:corner': 36}


def test_a_bag_that_loops_with_clock_jumps_once_and_goes_on_at_once():
    cache = make_cache()
    assert moments(cache, T0, 20, T0) == [()] * 20
    assert moments(cache, T0, 20, T0) == [('clock_jump',)] + [()] * 19
    assert cache.drops == {}


def test_a_bag_that_loops_before_its_clock_message_loses_nothing():
    cache = make_cache()
    moments(cache, T0, 20, T0)
    feed(cache, T0, received=T0 + SECOND)  # the messages overtake /clock
    assert cache.take(T0).resets == ('clock_jump',)
    feed(cache, T0 + 50 * MS)
    assert cache.take(T0 + 50 * MS).resets == ()


def test_a_bag_that_loops_without_clock_jumps_once_after_half_a_second():
    cache = make_cache(max_image_age=60.0)
    assert moments(cache, T0, 40, T0) == [()] * 40
    assert moments(cache, T0, 20, T0 + 2 * SECOND) == (
        ['no_new_frame'] * 10 + [('clock_jump',)] + [()] * 9)
    assert cache.drops == {f'out_of_order:{one}': 10 for one in ('corner', 'joint_state', 'pose')}


@pytest.mark.parametrize('steps', [2, 5])
def test_a_simulator_that_is_reset_in_lock_step_is_answered_at_once(steps):
    """It waits for the answer, also when it is reset right after its first step."""
    cache = make_cache(lock_step=True)
    wall = 10 * YEAR
    assert moments(cache, SECOND, steps, wall) == [()] * steps
    assert moments(cache, SECOND, 5, wall + SECOND) == [('clock_jump',)] + [()] * 4


def test_in_lock_step_one_late_camera_of_two_is_a_straggler():
    cache = make_cache(make_spec(cameras=(CameraSpec('a', 8, 8), CameraSpec('b', 8, 8))),
                       lock_step=True)
    feed(cache, T0, roles=('a', 'b'))
    assert cache.take(T0).resets == ()
    cache.put_image('a', image(T0 - 200 * MS), T0)
    feed(cache, T0 + 50 * MS, roles=('a', 'b'))
    assert cache.take(T0).resets == ()
    assert cache.drops == {'out_of_order:a': 1}


def test_in_lock_step_an_image_before_its_state_begins_a_new_episode_too():
    cache = make_cache(lock_step=True)
    feed(cache, T0, received=T0)
    assert cache.take(T0).reason == ''
    cache.put_image('corner', image(SECOND), T0 + SECOND)
    assert cache.take(T0 + SECOND).reason == 'waiting_state'
    feed(cache, SECOND, roles=(), received=T0 + SECOND)
    take = cache.take(T0 + SECOND)
    assert (take.observation.stamp_ns, take.resets) == (SECOND, ('clock_jump',))


def test_in_lock_step_a_late_second_sender_of_a_joint_is_no_reset():
    cache = make_cache(lock_step=True)
    for index in range(10):
        stamp = T0 + index * 50 * MS
        cache.put_joint_state(joints(stamp - 200 * MS, positions=[0.1]), stamp)
        feed(cache, stamp)
        take = cache.take(stamp)
        assert (take.resets, take.observation.state[3]) == ((), 0.5)


def test_a_clock_seen_to_fall_back_by_two_threads_has_jumped_once():
    cache = make_cache()
    feed(cache, T0 + 5 * SECOND)
    assert cache.take(T0 + 5 * SECOND).reason == ''
    feed(cache, T0)
    cache.take(T0 + 5 * SECOND)  # read just before the clock fell back, used just after
    take = cache.take(T0)
    assert (take.observation.stamp_ns, take.resets) == (T0, ('clock_jump',))
    feed(cache, T0 + 50 * MS)
    assert cache.take(T0 + 50 * MS).resets == ()


def test_a_driver_whose_time_base_is_set_back_jumps_once():
    cache = make_cache(max_image_age=60.0, max_skew=5.0)
    seen = []
    for index in range(60):
        now = T0 + index * 50 * MS
        cache.put_joint_state(joints(now), now)
        cache.put_pose(pose(now - (2 * SECOND if index >= 20 else 0)), now)
        cache.put_image('corner', image(now), now)
        seen.append(cache.take(now).resets)
    # At 1.5 s the pose has sent late stamps for half a second; the others come again after it.
    assert {index: one for index, one in enumerate(seen) if one} == {31: ('clock_jump',)}


@pytest.mark.parametrize('ahead', [2 * SECOND, YEAR])
@pytest.mark.parametrize('put, reason', [
    (lambda cache, stamp, now: cache.put_image('corner', image(stamp), now),
     'future_camera:corner'),
    (lambda cache, stamp, now: cache.put_joint_state(joints(stamp), now), 'future_joint_state'),
    (lambda cache, stamp, now: cache.put_pose(pose(stamp), now), 'future_pose')])
def test_one_wild_stamp_from_the_future_harms_no_later_message(put, reason, ahead):
    cache = make_cache()
    feed(cache, T0)
    put(cache, T0 + ahead, T0)
    assert moments(cache, T0 + 50 * MS, 20, T0 + 50 * MS) == [()] * 20
    assert cache.drops == {reason: 1}


@pytest.mark.parametrize('ahead', [2 * SECOND, YEAR])
def test_a_wild_stamp_in_lock_step_is_forgotten_with_the_next_image(ahead):
    cache = make_cache(lock_step=True)
    moments(cache, T0, 5, T0)
    cache.put_image('corner', image(T0 + ahead), T0 + 250 * MS)
    assert cache.take(T0 + 250 * MS).reason == 'waiting_state'
    assert moments(cache, T0 + 250 * MS, 5, T0 + 250 * MS) == [('clock_jump',)] + [()] * 4


def test_a_wild_stamp_that_passes_for_good_is_bad_for_half_a_second():
    cache = make_cache(max_image_age=60.0)
    cache.put_image('corner', image(T0 + 30 * SECOND), T0)
    assert moments(cache, T0, 20, T0) == ['skew_pose'] * 10 + [('clock_jump',)] + [()] * 9
