# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of both simulated robots: what a shard holds and that its labels are right."""
import numpy as np
import pytest

pytest.importorskip('mujoco')

from vla_pruner_ros.robots.robot_for_task import make_robot  # noqa: E402
from vla_pruner_ros.robots.tabletop.tabletop_objects import COLOURS, RGB  # noqa: E402
from vla_pruner_ros.training.collect_demonstrations import collect, record_episode  # noqa: E402
from vla_pruner_ros.training.demonstration_dataset import Demonstrations  # noqa: E402
from vla_pruner_ros.training.frame_labels import frame_labels, HAND, OBJECTS, TARGETS  # noqa: E402


@pytest.fixture(scope='module')
def robot():
    robot = make_robot('reach-object', 5)
    yield robot
    robot.close()


def test_labels_point_at_the_objects_in_the_pictures(robot):
    robot.reset(8)
    labels, seen = frame_labels(robot), robot.observe()
    points, count = labels['points'], len(robot.privileged().objects)
    assert points.shape == (2, 8, 3) and np.isnan(points[:, OBJECTS][:, count:]).all()
    assert (labels['colours'][count:] == -1).all() and (labels['shapes'][:count] >= 0).all()
    found = 0
    for (column, row, _), colour in zip(points[0, OBJECTS][:count], labels['colours']):
        pixel = seen.images['front'][int(row), int(column)] / 255.0
        found += np.argmax(pixel) == np.argmax(RGB[colour]) or COLOURS[colour] == 'yellow'
    assert found >= count - 1  # the arm may hide one


def test_the_target_of_a_reach_is_the_named_object_and_comes_twice(robot):
    robot.reset(9)
    labels = frame_labels(robot)
    assert np.array_equal(*labels['places'])
    named = robot.objects[robot.episode.goals[0]]
    assert np.allclose(labels['places'][0][:2], named[:2], atol=1e-6)
    assert np.allclose(labels['points'][:, TARGETS][:, 0], labels['points'][:, TARGETS][:, 1])
    hand = labels['points'][0, HAND]
    assert np.allclose(hand, robot.project(robot.position, 'front'), atol=1e-3)


def test_labels_are_clean_while_noise_moves_the_robot(robot):
    robot.reset(10)
    wanted = robot.expert_action()
    label = robot.demonstrate(np.array([0.5, -0.5, 0.5, 0.0]))
    noisy = robot.position
    assert np.allclose(label, wanted, atol=1e-6)
    robot.reset(10)
    robot.demonstrate(np.zeros(4))
    assert np.linalg.norm(robot.position - noisy) > 0.02


def test_stored_frames_are_as_far_apart_as_asked(robot):
    one = record_episode(robot, 11, image_every=1)
    steps = robot.step_count
    third = record_episode(robot, 11, image_every=3)
    assert len(one) >= steps - 4 and len(one) // 3 <= len(third) <= len(one) // 3 + 1


def test_every_frame_around_a_change_of_the_gripper_is_stored_when_asked():
    robot = make_robot('pick-colour', 5)
    every = record_episode(robot, 12, image_every=1)
    sparse = record_episode(robot, 12, image_every=6)
    dense = record_episode(robot, 12, image_every=6, around_grasp=2)
    robot.close()
    grip = np.array([row['chunk'][0, 3] for row in every])
    changes = np.flatnonzero(np.diff(grip)) + 1
    assert len(changes) >= 1
    states = np.stack([row['state'] for row in dense])
    for step in range(changes[0] - 2, changes[0] + 3):
        assert (states == every[step]['state']).all(axis=1).any()
    assert len(sparse) + 2 <= len(dense) <= len(sparse) + 5 * len(changes)


def test_a_shard_becomes_batches_of_two_cameras_with_fitting_instructions(tmp_path):
    counts = collect('touch-two', 3, 20, tmp_path, image_every=3)
    assert counts['solved'] >= 2 and counts['frames'] >= 10  # noise may make an expert fail
    data = Demonstrations(tmp_path, ['touch-two'])
    assert data.cameras == ('front', 'wrist')
    assert data.frames('touch-two') + data.frames('touch-two', held_out=True) == counts['frames']
    robot = make_robot('touch-two', 20)
    assert data.instruction('touch-two') == robot.instruction
    assert set(robot.wordings) <= set(data.wordings())
