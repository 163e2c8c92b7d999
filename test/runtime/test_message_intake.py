# SPDX-License-Identifier: Apache-2.0
"""Bad sensors: what is refused, what is used all the same, and what it is called."""
import math

from fakes import image, joints, make_spec, pose, SECOND
from input_fakes import feed, feed_state, make_cache, MS, T0
import pytest


@pytest.mark.parametrize('frame, base', [
    ('base', 'base'), ('/base', 'base'), ('base', '/base'), ('panda_link0', 'panda_link0')])
def test_a_pose_in_the_base_frame_is_used(frame, base):
    cache = make_cache(base_frame=base)
    feed(cache, T0, roles=())
    cache.put_pose(pose(T0 + 1, frame=frame), T0 + 1)
    cache.put_image('corner', image(T0 + 1), T0 + 1)
    assert cache.take(T0 + 1).reason == ''


@pytest.mark.parametrize('lock_step', [False, True])
def test_a_pose_in_another_frame_is_refused_by_name_until_a_good_one_comes(lock_step):
    cache = make_cache(lock_step=lock_step)
    for index in range(3):
        stamp = T0 + index * 50 * MS
        cache.put_joint_state(joints(stamp), stamp)
        cache.put_pose(pose(stamp, frame='camera_link'), stamp)
        cache.put_image('corner', image(stamp), stamp)
        take = cache.take(stamp)
        assert take.reason == 'pose_frame:camera_link'
    assert "is in frame 'camera_link', base_frame is 'base'" in take.message
    assert "set base_frame to 'camera_link'" in take.message
    assert cache.drops == {'pose_frame:camera_link': 3}
    assert cache.measured(stamp) is None
    feed(cache, stamp + 50 * MS)
    assert cache.take(stamp + 50 * MS).reason == ''


def test_a_second_sender_in_another_frame_disturbs_nothing():
    cache = make_cache()
    for index in range(5):
        stamp = T0 + index * 50 * MS
        feed(cache, stamp)
        cache.put_pose(pose(stamp + 10 * MS, xyz=(9, 9, 9), frame='tool'), stamp + 10 * MS)
        assert cache.take(stamp + 10 * MS).observation.pose[0] == (0.1, 0.2, 0.3)


def test_a_pose_without_a_frame_is_used_with_a_warning():
    cache = make_cache()
    feed(cache, T0, roles=())
    cache.put_pose(pose(T0 + 1, frame=''), T0 + 1)
    cache.put_image('corner', image(T0 + 1), T0 + 1)
    assert cache.take(T0 + 1).reason == ''
    assert cache.warnings == {'empty_frame:pose': 1}


@pytest.mark.parametrize('ahead', [100, 300, 450])
def test_stamps_ahead_by_less_than_the_accepted_age_are_used(ahead):
    cache = make_cache()
    for index in range(20):
        now = T0 + index * 50 * MS
        feed(cache, now + ahead * MS, received=now)
        assert cache.take(now).reason == ''
        assert cache.measured(now).age_ns == 0
    assert cache.drops == {}


def test_stamps_further_ahead_are_refused_by_name_and_say_what_to_do():
    cache = make_cache()
    feed(cache, T0 + 600 * MS, received=T0)
    take = cache.take(T0)
    assert take.reason == 'future_camera:corner'
    assert "0.6 s ahead of the node's clock; synchronise the clocks" in take.message
    cache.put_image('corner', image(T0 + MS), T0 + MS)
    assert cache.take(T0 + MS).reason == 'future_pose'
    cache.put_pose(pose(T0 + MS), T0 + MS)
    assert cache.take(T0 + MS).reason == 'future_joint_state'
    cache.put_joint_state(joints(T0 + MS), T0 + MS)
    assert cache.take(T0 + MS).reason == ''
    assert cache.drops == {'future_camera:corner': 1, 'future_pose': 1, 'future_joint_state': 1}


def test_a_node_that_heard_no_clock_yet_names_the_camera():
    cache = make_cache()
    feed(cache, T0, received=0)  # use_sim_time without /clock: the node is at 0
    assert cache.take(0).reason == 'future_camera:corner'


@pytest.mark.parametrize('lock_step', [False, True])
def test_sensors_without_stamps_are_used_by_their_receive_times(lock_step):
    cache = make_cache(lock_step=lock_step)
    for index in range(5):
        now = T0 + index * 50 * MS
        cache.put_joint_state(joints(0), now)
        cache.put_pose(pose(0), now + MS)
        cache.put_image('corner', image(0), now + 2 * MS)
        assert cache.take(now + 2 * MS).observation.stamp_ns == now + 2 * MS
    assert cache.warnings == {f'zero_stamp:{one}': 5 for one in ('joint_state', 'pose', 'corner')}


def test_joint_states_that_stop_are_skewed_then_stale_by_name():
    cache = make_cache()
    feed(cache, T0)
    assert cache.take(T0).reason == ''
    seen = []
    for index in range(1, 13):
        stamp = T0 + index * 50 * MS
        cache.put_pose(pose(stamp), stamp)
        cache.put_image('corner', image(stamp), stamp)
        seen.append(cache.take(stamp).reason)
    # 0.1 s of skew and 0.5 s of age are accepted.
    assert seen == [''] * 2 + ['skew_joint:gripper'] * 8 + ['stale_joint:gripper'] * 2
    feed(cache, stamp + 50 * MS)
    assert cache.take(stamp + 50 * MS).resets == ()


TWO_SENDERS = make_spec(action_kind='joint_position', state_names=('a', 'b', 'gripper'),
                        action_names=('a', 'b', 'gripper'), gripper_index=2)


def test_arm_and_gripper_from_two_senders_make_one_state_and_one_measurement():
    cache = make_cache(TWO_SENDERS)
    for index in range(10):  # arm at 100 Hz; gripper at 20 Hz, 40 ms old on arrival
        now = T0 + index * 10 * MS
        cache.put_joint_state(joints(now, ['a', 'b'], [index, -index]), now)
        if index % 5 == 0:
            cache.put_joint_state(joints(now - 40 * MS, ['gripper'], [0.25]), now)
    cache.put_image('corner', image(now), now)
    assert cache.take(now).observation.state.tolist() == [9, -9, 0.25]
    measured = cache.measured(now + 5 * MS, ['gripper', 'a', 'b'])
    assert measured.point.tolist() == [0.25, 9, -9]
    # The last gripper message is of 50 - 40 = 10 ms, the arm's of 90 ms; it is 95 ms now.
    assert measured.ages_ns == (85 * MS, 5 * MS, 5 * MS) and measured.age_ns == 85 * MS
    assert cache.drops == {}


@pytest.mark.parametrize('silent, reason, warnings', [
    (['a', 'b'], 'stale_joint:a', ['joint:a', 'joint:b']),
    (['gripper'], 'stale_joint:gripper', ['joint:gripper']),
    (['b'], 'stale_joint:b', ['joint:b'])])
def test_a_sender_that_stops_makes_exactly_its_joints_stale(silent, reason, warnings):
    cache = make_cache(TWO_SENDERS)
    names = ['a', 'b', 'gripper']
    cache.put_joint_state(joints(T0, names, [1, 2, 3]), T0)
    for index in range(1, 7):
        now = T0 + index * 100 * MS
        rest = [name for name in names if name not in silent]
        cache.put_joint_state(joints(now, rest, [0] * len(rest)), now)
        cache.put_image('corner', image(now), now)
        answer = cache.take(now).reason
        cache.measured(now, names)
    assert answer == reason
    assert cache.measured(now, names) is None
    assert cache.measured(now, rest).age_ns == 0
    assert cache.warnings == {f'stale_measurement:{one}': 1 for one in warnings}


def test_a_sender_ahead_on_one_joint_does_not_silence_the_other_joints_of_a_message():
    cache = make_cache(TWO_SENDERS)
    for index in range(5):
        now = T0 + index * 50 * MS
        cache.put_joint_state(joints(now, ['gripper'], [0.5]), now)
        cache.put_joint_state(joints(now - 20 * MS, ['a', 'b', 'gripper'], [1, 2, 9]), now)
        cache.put_image('corner', image(now), now)
        assert cache.take(now).observation.state.tolist() == [1, 2, 0.5]
    assert cache.drops == {'out_of_order:joint_state': 5}


def test_a_straggler_replaces_no_newer_measurement_and_a_jump_forgets_it():
    cache = make_cache()
    feed(cache, T0)
    cache.put_joint_state(joints(T0 - 300 * MS, positions=[9.0]), T0)
    cache.put_pose(pose(T0 - 300 * MS, xyz=(9, 9, 9)), T0)
    assert cache.measured(T0).point[:3].tolist() == [0.1, 0.2, 0.3]
    assert cache.measured(T0, ['gripper']).point.tolist() == [0.5]
    cache.take(T0)
    cache.take(T0 - 10 * SECOND)  # the node's clock fell back
    assert cache.measured(T0 - 10 * SECOND) is None
    assert cache.measured(T0 - 10 * SECOND, ['gripper']) is None


def test_joints_and_poses_that_are_not_finite_are_no_measurement():
    cache = make_cache()
    feed_state(cache, T0)
    cache.put_joint_state(joints(T0 + 9 * MS, positions=[math.nan]), T0 + 9 * MS)
    cache.put_pose(pose(T0 + 9 * MS, xyz=(math.nan, 0, 0)), T0 + 9 * MS)
    cache.put_image('corner', image(T0 + 9 * MS), T0 + 9 * MS)
    assert cache.take(T0 + 9 * MS).reason == 'pose_not_finite'
    assert cache.measured(T0 + 9 * MS).age_ns == 9 * MS
    assert cache.measured(T0 + 9 * MS, ['gripper']).point.tolist() == [0.5]


def test_joints_of_others_on_the_topic_are_no_drop_and_tell_no_jump():
    cache = make_cache()
    for index in range(20):
        stamp = T0 + index * 50 * MS
        feed(cache, stamp)
        wheel = stamp - (10 * SECOND if index >= 4 else 0)
        cache.put_joint_state(joints(wheel, ['wheel'], [index]), stamp)
        assert cache.take(stamp).resets == ()
    assert cache.drops == {}
    # Its sender was set back at 0.2 s; half a second later its own measurements follow.
    assert cache.measured(stamp - 10 * SECOND, ['wheel']).point.tolist() == [19]
