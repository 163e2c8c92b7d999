# SPDX-License-Identifier: Apache-2.0
"""Published chunks as the simulated robot reads them; expected numbers by hand."""
from types import SimpleNamespace as Bag

import numpy as np
import pytest

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots import chunk_execution as chunks

DT = 50_000_000


def duration(ns):
    return Bag(sec=ns // 10**9, nanosec=ns % 10**9)


def poses(rows, stamp=10**9, times=None, names=('end_effector',)):
    times = [index * DT for index in range(len(rows))] if times is None else times
    return Bag(joint_names=list(names), header=Bag(stamp=duration(stamp)), points=[
        Bag(transforms=[Bag(translation=Bag(x=row[0], y=row[1], z=row[2]))],
            time_from_start=duration(when)) for row, when in zip(rows, times)])


def gripper(values, stamp=10**9):
    return Bag(joint_names=['gripper'], header=Bag(stamp=duration(stamp)), points=[
        Bag(positions=[value], time_from_start=duration(index * DT))
        for index, value in enumerate(values)])


ROWS = [(1.0, 2.0, 3.0), (1.01, 2.0, 3.0), (1.01, 1.98, 3.0), (1.01, 1.98, 3.04)]


def test_the_differences_between_points_are_executed():
    opening = chunks.read_gripper(gripper([1, 1, 0, 0]))
    got = chunks.actions(chunks.read_poses(poses(ROWS)), opening, count=3)
    np.testing.assert_allclose(got, [[.01, 0, 0, 1], [0, -.02, 0, 0], [0, 0, .04, 0]], atol=1e-12)


def test_one_gripper_point_counts_for_all_steps_and_the_horizon_cuts():
    got = chunks.actions(chunks.read_poses(poses(ROWS)), chunks.read_gripper(gripper([0.0])), 2)
    assert got.shape == (2, 4) and (got[:, 3] == 0).all()


def test_without_a_gripper_it_stays_open():
    got = chunks.actions(chunks.read_poses(poses(ROWS)), None, 8)
    assert got.shape == (3, 4) and (got[:, 3] == 1).all()


@pytest.mark.parametrize('message, reason', [
    (poses([]), 'wrong_size'),
    (poses(ROWS, names=('a', 'b')), 'wrong_size'),
    (poses([(0, 0, 0), (float('nan'), 0, 0)]), 'not_finite'),
    (poses([(0, 0, 0), (float('inf'), 0, 0)]), 'not_finite'),
    (poses(ROWS[:2], times=[DT, DT]), 'bad_times'),
    (poses(ROWS[:2], times=[DT, 0]), 'bad_times'),
])
def test_a_bad_trajectory_is_refused_with_its_reason(message, reason):
    with pytest.raises(InputError) as caught:
        chunks.read_poses(message)
    assert caught.value.reason == reason


def test_a_point_of_two_transforms_is_refused():
    message = poses(ROWS)
    message.points[1].transforms *= 2
    with pytest.raises(InputError, match='point 1 has 2 transforms'):
        chunks.read_poses(message)


def test_gripper_points_that_do_not_fit_the_poses_are_refused():
    with pytest.raises(InputError) as caught:
        chunks.actions(chunks.read_poses(poses(ROWS)), chunks.read_gripper(gripper([1, 1])), 4)
    assert caught.value.reason == 'wrong_size'


def test_a_chunk_of_one_point_moves_nothing_in_lock_step():
    with pytest.raises(InputError) as caught:
        chunks.actions(chunks.read_poses(poses(ROWS[:1])), None, 4)
    assert caught.value.reason == 'wrong_size'


def test_real_time_executes_the_segment_of_the_moment_and_then_holds():
    line = chunks.Timeline()
    line.put_poses(chunks.read_poses(poses(ROWS)))
    start = 10**9
    np.testing.assert_allclose(line.motion(start + 3_000_000, DT), [.01, 0, 0], atol=1e-12)
    np.testing.assert_allclose(line.motion(start + DT, DT), [0, -.02, 0], atol=1e-12)
    np.testing.assert_allclose(line.motion(start + 2 * DT, DT), [0, 0, .04], atol=1e-12)
    assert line.motion(start + 3 * DT, DT) is None


def test_real_time_keeps_the_old_chunk_until_the_first_point_of_the_new_one():
    line = chunks.Timeline()
    line.put_poses(chunks.read_poses(poses(ROWS)))
    # The answer to a later image, whose first two points were past: it begins at 2 steps.
    line.put_poses(chunks.read_poses(poses([(0, 0, 0), (0.5, 0, 0)], times=[2 * DT, 3 * DT])))
    np.testing.assert_allclose(line.motion(10**9 + DT, DT), [0, -.02, 0], atol=1e-12)
    np.testing.assert_allclose(line.motion(10**9 + 2 * DT, DT), [.5, 0, 0], atol=1e-12)


def test_a_held_pose_ends_the_motion():
    line = chunks.Timeline()
    line.put_poses(chunks.read_poses(poses(ROWS)))
    line.put_poses(chunks.read_poses(poses([(9, 9, 9)], times=[DT])))
    assert line.motion(10**9, DT) is not None
    assert line.motion(10**9 + DT, DT) is None


def test_the_gripper_of_a_step_is_the_one_at_its_end_and_stays():
    line = chunks.Timeline()
    assert line.opening(10**9, DT) is None
    line.put_gripper(chunks.read_gripper(gripper([1.0, 0.0, 1.0])))
    assert [line.opening(10**9 + step * DT, DT) for step in (0, 1, 2, 9)] == [0, 1, 1, 1]
