# SPDX-License-Identifier: Apache-2.0
"""Newest frames in, one observation out; everything unusable is a counted, named reason."""
import math
import threading

from fakes import image, joints, make_parameters, make_spec, pose, SECOND
from input_fakes import feed, feed_state, make_cache, MS, T0
import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.types import CameraSpec

TWO = (CameraSpec('corner', 8, 8), CameraSpec('wrist', 8, 8))


def recovers(cache, stamp, **kwargs):
    feed(cache, stamp, **kwargs)
    return cache.take(stamp).reason == ''


def test_the_newest_frame_wins_and_is_used_once():
    cache = make_cache()
    feed(cache, T0, value=1)
    feed(cache, T0 + 33 * MS, value=2)
    observation = cache.take(T0 + 40 * MS).observation
    assert observation.images['corner'][0, 0, 0] == 2
    assert observation.stamp_ns == T0 + 33 * MS
    assert cache.take(T0 + 50 * MS).reason == 'no_new_frame'
    assert cache.drops == {} and cache.cameras()['corner']['skipped'] == 1


def test_state_is_the_sample_nearest_to_the_image():
    cache = make_cache()
    for offset in (-20, -2, 15):
        stamp = T0 + offset * MS
        cache.put_joint_state(joints(stamp, positions=[offset]), stamp)
        cache.put_pose(pose(stamp, xyz=(offset, 0, 0)), stamp)
    cache.put_image('corner', image(T0), T0)
    assert cache.take(T0 + 20 * MS).observation.state.tolist() == [-2, 0, 0, -2]


def test_joints_of_two_drivers_on_one_topic_are_merged():
    cache = make_cache(state_sources=['ee_x=joint.a', 'ee_y=const.0.5', 'gripper=joint.b'])
    cache.put_joint_state(joints(T0, ['a', 'x'], [1, 9]), T0)
    cache.put_joint_state(joints(T0 - MS, ['b'], [2]), T0)
    cache.put_pose(pose(T0), T0)
    cache.put_image('corner', image(T0), T0)
    assert cache.take(T0).observation.state.tolist() == [1, 0.5, 0.3, 2]


def test_a_driver_whose_stamps_lag_is_no_clock_that_jumps():
    cache = make_cache(state_sources=['ee_x=joint.a', 'gripper=joint.b'], max_skew=1.0)
    for index in range(5):
        stamp = T0 + index * 50 * MS
        cache.put_joint_state(joints(stamp, ['a'], [1]), stamp)
        cache.put_joint_state(joints(stamp - 300 * MS, ['b'], [2]), stamp)
        cache.put_pose(pose(stamp), stamp)
        cache.put_image('corner', image(stamp), stamp)
        take = cache.take(stamp)
        assert (take.reason, take.resets) == ('', ())


def test_a_clock_corrected_by_a_millisecond_has_not_jumped():
    cache = make_cache()
    assert recovers(cache, T0)
    feed(cache, T0 + 50 * MS)
    assert cache.take(T0 - MS).resets == ()


def test_quaternions_are_normalised():
    cache = make_cache()
    feed(cache, T0)
    cache.put_pose(pose(T0 + 1, turn=(0, 0, 0, 2)), T0)
    assert cache.take(T0).observation.pose[1] == (0, 0, 0, 1)


@pytest.mark.parametrize('break_it, reason', [
    (lambda cache: feed_state(cache, T0), 'missing_camera:corner'),
    (lambda cache: feed(cache, T0 - SECOND), 'stale_camera:corner'),
    (lambda cache: feed(cache, T0 + 2 * SECOND), 'future_camera:corner'),
    (lambda cache: (cache.put_pose(pose(T0), T0), cache.put_image('corner', image(T0), T0)),
     'missing_joint:gripper'),
    (lambda cache: (feed(cache, T0), cache.put_joint_state(
        joints(T0 + 1, positions=[math.nan]), T0), cache.put_image('corner', image(T0 + 1), T0)),
     'not_finite_joint:gripper'),
    (lambda cache: (feed_state(cache, T0 - SECOND), cache.put_pose(pose(T0), T0),
                    cache.put_image('corner', image(T0), T0)), 'stale_joint:gripper'),
    (lambda cache: (feed_state(cache, T0 - 200 * MS), cache.put_pose(pose(T0), T0),
                    cache.put_image('corner', image(T0), T0)), 'skew_joint:gripper'),
    (lambda cache: (cache.put_joint_state(joints(T0), T0),
                    cache.put_image('corner', image(T0), T0)), 'missing_pose'),
    (lambda cache: (feed(cache, T0), cache.put_pose(pose(T0 + 1, xyz=(0, math.inf, 0)), T0),
                    cache.put_image('corner', image(T0 + 1), T0)), 'pose_not_finite'),
    (lambda cache: (feed(cache, T0), cache.put_pose(pose(T0 + 1, turn=(0, 0, 0, 0)), T0),
                    cache.put_image('corner', image(T0 + 1), T0)), 'pose_bad_quaternion'),
])
def test_unusable_input_is_counted_once_and_the_next_good_set_is_used(break_it, reason):
    cache = make_cache()
    break_it(cache)
    for _ in range(3):
        assert cache.take(T0 + 2).reason == reason
    assert cache.drops == {reason: 1}
    assert recovers(cache, T0 + 3 * SECOND)


def test_a_broken_frame_is_dropped_and_not_tried_again():
    cache = make_cache()
    feed_state(cache, T0)
    broken = image(T0)
    broken.data = broken.data[:10]
    cache.put_image('corner', broken, T0)
    assert cache.take(T0).reason == 'truncated_image:corner'
    assert cache.take(T0).reason == 'no_new_frame'
    assert cache.drops == {'truncated_image:corner': 1}
    assert recovers(cache, T0 + 50 * MS)


def test_an_unknown_encoding_is_named():
    cache = make_cache()
    feed_state(cache, T0)
    frame = image(T0)
    frame.encoding = 'rgb9'
    cache.put_image('corner', frame, T0)
    take = cache.take(T0)
    assert take.reason == 'unknown_encoding:corner'
    assert "'rgb9'; accepted: " in take.message


@pytest.mark.parametrize('text, refusal', [
    ('', 'instruction_empty'), (' \n\t', 'instruction_empty'),
    ('a' * 10000, 'instruction_too_long'), ('reach ' * 9, 'instruction_too_long')])
def test_an_unusable_instruction_stops_until_a_usable_one_comes(text, refusal):
    cache = make_cache()
    assert recovers(cache, T0)
    cache.put_instruction(text)
    feed(cache, T0 + 50 * MS)
    assert cache.take(T0 + 50 * MS).reason == refusal
    assert cache.drops[refusal] == 2  # the message, and the frame that waited for a better one
    cache.put_instruction('push')
    take = cache.take(T0 + 50 * MS)
    assert take.observation.instruction == 'push' and take.resets == ('instruction',)


def test_no_instruction_at_all():
    cache = make_cache(instruction='')
    feed(cache, T0)
    assert cache.take(T0).reason == 'no_instruction'
    cache.update(make_parameters(instruction='push'))
    assert cache.take(T0).observation.instruction == 'push'


def test_the_same_instruction_again_resets_nothing():
    cache = make_cache()
    assert recovers(cache, T0)
    cache.put_instruction('  reach ')
    feed(cache, T0 + 50 * MS)
    assert cache.take(T0 + 50 * MS).resets == ()


def test_cameras_too_far_apart_in_time_are_skewed():
    cache = make_cache(make_spec(cameras=TWO))
    feed(cache, T0, roles=('corner', 'wrist'))
    assert cache.take(T0).reason == ''
    feed(cache, T0 + 200 * MS)
    assert cache.take(T0 + 200 * MS).reason == 'no_new_frame'  # wrist is not there yet
    cache.put_image('wrist', image(T0 + 50 * MS), T0 + 200 * MS)
    assert cache.take(T0 + 200 * MS).reason == 'skew'
    cache.put_image('wrist', image(T0 + 190 * MS), T0 + 200 * MS)
    assert cache.take(T0 + 200 * MS).reason == ''
    assert cache.drops == {'skew': 1}


def test_one_dead_camera_stops_everything_by_name():
    cache = make_cache(make_spec(cameras=TWO))
    feed(cache, T0, roles=('corner', 'wrist'))
    assert cache.take(T0).reason == ''
    feed(cache, T0 + SECOND)
    assert cache.take(T0 + SECOND).reason == 'stale_camera:wrist'


def test_a_resolution_change_resets():
    cache = make_cache()
    assert recovers(cache, T0)
    feed(cache, T0 + 50 * MS, size=16)
    assert cache.take(T0 + 50 * MS).resets == ('camera_change',)


def test_a_gap_resets_and_a_clock_that_jumps_back_resets_once():
    cache = make_cache()
    assert recovers(cache, T0)
    feed(cache, T0 + 10 * SECOND)
    assert cache.take(T0 + 10 * SECOND).resets == ('gap',)
    feed(cache, T0)
    assert cache.take(T0).resets == ('clock_jump',)
    feed(cache, T0 + 50 * MS)
    assert cache.take(T0 + 50 * MS).resets == ()


def test_a_frame_slightly_older_than_the_newest_is_out_of_order_not_a_jump():
    cache = make_cache()
    feed(cache, T0)
    cache.put_image('corner', image(T0 - 30 * MS), T0)
    cache.put_image('corner', image(T0), T0)
    take = cache.take(T0)
    assert take.observation.stamp_ns == T0 and take.resets == ()
    assert cache.drops == {'out_of_order:corner': 1}


def test_a_clock_that_jumps_while_a_frame_is_decoded_leaves_nothing_of_the_old_time():
    cache = make_cache()
    later = T0 + 5 * SECOND

    class Frame:
        """Its first look at the data is when the bag begins again."""

        def __getattr__(self, name):
            if name == 'data':
                feed(cache, T0)
            return getattr(image(later), name)

    feed_state(cache, later)
    cache.put_image('corner', Frame(), later)
    assert cache.take(later).reason == 'no_new_frame'
    take = cache.take(T0)
    assert (take.observation.stamp_ns, take.resets) == (T0, ('clock_jump',))
    feed(cache, T0 + 50 * MS)
    assert cache.take(T0 + 50 * MS, 50 * MS).reason == ''


def test_zero_stamps_fall_back_to_the_receive_time_with_a_warning():
    cache = make_cache()
    feed_state(cache, T0)
    cache.put_image('corner', image(0), T0 + 5)
    assert cache.take(T0 + 5).observation.stamp_ns == T0 + 5
    assert cache.warnings == {'zero_stamp:corner': 1}


def test_lock_step_waits_for_the_state_of_its_image():
    cache = make_cache(lock_step=True)
    feed_state(cache, T0)
    cache.put_image('corner', image(T0 + 50 * MS), T0 + 200 * MS)
    assert cache.take(T0 + 50 * MS).reason == 'waiting_state'
    feed_state(cache, T0 + 50 * MS)
    assert cache.take(T0 + 50 * MS).reason == ''
    assert cache.drops == {}


def test_without_a_pose_topic_a_policy_runs_on_configured_state():
    cache = make_cache(pose_topic='', joint_state_topic='', state_sources=[
        f'{name}=const.0' for name in ('ee_x', 'ee_y', 'ee_z', 'gripper')])
    cache.put_image('corner', image(T0), T0)
    assert cache.take(T0).observation.pose is None


@pytest.mark.parametrize('changes, words', [
    ({'pose_topic': ''}, 'pose_topic is empty'),
    ({'joint_state_topic': ''}, 'joint_state_topic is empty')])
def test_a_state_source_without_its_topic_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        make_cache(**changes)


def test_lost_frames_are_estimated_from_stamps():
    cache = make_cache()
    lost = {20, 31, 32, 33}
    for index in range(40):
        if index not in lost:
            cache.put_image('corner', image(T0 + index * 33 * MS), T0 + index * 33 * MS)
    camera = cache.cameras()['corner']
    assert (camera['received'], camera['lost']) == (36, 4)
    assert camera['rate_hz'] == pytest.approx(1 / 0.033)


def test_a_pause_is_no_loss():
    cache = make_cache()
    for index in [*range(20), *range(120, 140)]:
        cache.put_image('corner', image(T0 + index * 33 * MS), T0 + index * 33 * MS)
    assert cache.cameras()['corner']['lost'] == 0


def test_waiting_ends_when_something_arrives_from_another_thread():
    cache = make_cache()
    cache.take(T0)
    assert not cache.wait(0.0)
    thread = threading.Thread(target=feed, args=(cache, T0))
    thread.start()
    assert cache.wait(30.0)
    thread.join()
    assert cache.take(T0).reason == ''


def test_writers_and_a_taker_in_parallel_lose_nothing_but_old_frames():
    cache = make_cache(lock_step=True)
    stamps = [T0 + index * MS for index in range(300)]
    writer = threading.Thread(target=lambda: [feed(cache, stamp) for stamp in stamps])
    taken = []
    writer.start()
    while writer.is_alive() or not taken or taken[-1] != stamps[-1]:
        take = cache.take(stamps[-1])
        if take.observation is not None:
            taken.append(take.observation.stamp_ns)
    writer.join()
    assert taken == sorted(set(taken))
    assert cache.drops.keys() <= {'missing_camera:corner'}


def test_what_comes_before_the_clock_makes_nothing_late_that_follows_it():
    cache = make_cache()
    cache.put_image('corner', image(T0 + 10**18), 0)  # use_sim_time, no /clock yet: wall time
    assert cache.take(0).reason == 'future_camera:corner'
    feed(cache, T0)
    assert cache.take(T0).reason == ''
    assert not [name for name in cache.drops if name.startswith('out_of_order')]
