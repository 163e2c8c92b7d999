# SPDX-License-Identifier: Apache-2.0
"""What both simulated robots refuse, and how metres become an action."""
import numpy as np
import pytest

pytest.importorskip('metaworld')

from vla_pruner_ros.core.errors import ConfigError, UnsafeActionError  # noqa: E402
from vla_pruner_ros.robots.chunk_execution_in_simulation import control_steps, robot_action  # noqa: E402
from vla_pruner_ros.robots.robot_for_task import make_robot  # noqa: E402


@pytest.fixture(scope='module', params=['reach-v3', 'reach-colour'])
def robot(request):
    robot = make_robot(request.param, 3)
    yield robot
    robot.close()


@pytest.mark.parametrize('action', [np.zeros(3), np.array([0, 0, 0, np.nan]), np.zeros((1, 4))])
def test_an_unsafe_action_is_refused(robot, action):
    robot.reset(3)
    with pytest.raises(UnsafeActionError):
        robot.apply(action)
    assert robot.step_count == 0


@pytest.mark.parametrize('seed', [-1, 1.5, True, 2**40])
def test_a_seed_out_of_range_is_refused(robot, seed):
    with pytest.raises(ConfigError, match='seed'):
        robot.reset(seed)


@pytest.mark.parametrize('size', [4, 4096])
def test_an_unusable_image_size_is_refused(robot, size):
    with pytest.raises(ConfigError, match=f'16..2048 pixels, got {size}'):
        make_robot(robot.task.name, 0, size)


def test_an_action_is_metres_in_shares_of_the_largest_step_and_the_gripper():
    assert robot_action(np.array([0.04, -0.02, 0.08]), 1.0).tolist() == [1.0, -0.5, 2.0, -1.0]
    assert robot_action(np.zeros(3), 0.0)[3] == 1.0 and robot_action(np.zeros(3), 0.5)[3] == 0.0
    assert robot_action(np.zeros(3), -7.0)[3] == 1.0


def test_control_steps_are_differences_with_the_opening_at_their_end():
    positions = np.array([[0.0, 0.0, 0.5], [0.25, 0.0, 0.5], [0.25, 0.5, 0.0]])
    steps = control_steps(positions, np.array([1.0, 0.5, 0.0]))
    assert steps.tolist() == [[0.25, 0.0, 0.0, 0.5], [0.0, 0.5, -0.5, 0.0]]
    assert control_steps(positions, None)[:, 3].tolist() == [1.0, 1.0]
