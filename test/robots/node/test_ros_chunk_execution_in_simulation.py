# SPDX-License-Identifier: Apache-2.0
"""Published chunks as the simulated robot reads them; expected numbers by hand."""
from types import SimpleNamespace as Bag

import numpy as np
import pytest

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots import chunk_execution_in_simulation as chunks

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
