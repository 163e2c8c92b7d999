# SPDX-License-Identifier: Apache-2.0
"""Action chunks -> poses, joint positions and gripper commands, by hand-computed numbers."""
import math

from fakes import make_parameters, make_spec, SECOND
import numpy as np
import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.types import ActionChunk, Observation
from vla_pruner_ros.runtime.motion.robot_commands import CommandBuilder

DT = 50_000_000
HALF = math.sqrt(0.5)
TURNED = ((1.0, 2.0, 3.0), (0.0, 0.0, HALF, HALF))  # 90 degrees about z


def observe(pose=TURNED):
    return Observation({}, np.zeros(4), 'reach', 0, pose)


def chunk(rows, stamp=SECOND):
    return ActionChunk(np.array(rows, float), stamp, 0.05)


def builder(spec=None, **changes):
    return CommandBuilder(spec or make_spec(), make_parameters(**changes))


def test_deltas_are_integrated_in_the_base_frame_from_the_observed_pose():
    command = builder().build(chunk([[0.1, 0, 0, 1], [0, 0.2, -0.3, 1]]), observe())
    np.testing.assert_allclose(command.poses[:, :3], [[1, 2, 3], [1.1, 2, 3], [1.1, 2.2, 2.7]])
    np.testing.assert_allclose(command.poses[:, 3:], [[0, 0, HALF, HALF]] * 3)
    assert command.times_ns.tolist() == [SECOND, SECOND + DT, SECOND + 2 * DT]
    assert command.absolute


def test_rotations_add_up_about_the_base_axes():
    spec = make_spec(action_names=('x', 'y', 'z', 'rx', 'ry', 'rz', 'gripper'), gripper_index=6)
    rows = [[0, 0, 0, 0, 0, math.pi / 4, 1]] * 2
    command = builder(spec).build(chunk(rows), observe())
    np.testing.assert_allclose(command.poses[-1, 3:], [0, 0, 1, 0], atol=1e-12)  # 180 about z
    tilted = builder(spec).build(chunk([[0, 0, 0, math.pi / 2, 0, 0, 1]]), observe())
    # About base x after 90 about z: Hamilton product (s,0,0,s) * (0,0,s,s) = (.5,-.5,.5,.5).
    np.testing.assert_allclose(tilted.poses[-1, 3:], [0.5, -0.5, 0.5, 0.5], atol=1e-12)


def test_without_a_pose_the_command_says_that_it_is_relative():
    command = builder().build(chunk([[0.1, 0, 0, 1]]), observe(None))
    assert not command.absolute
    np.testing.assert_allclose(command.poses, [[0, 0, 0, 0, 0, 0, 1], [0.1, 0, 0, 0, 0, 0, 1]])


def test_gripper_is_a_switch_with_hysteresis_in_the_robots_units():
    built = builder(gripper_open=0.08, gripper_closed=0.0, gripper_hysteresis=0.1,
                    execution_horizon=8)
    # Policy values -1 closed, +1 open: the share open is (a + 1) / 2.
    values = [0.9, 0.1, -0.1, -0.3, -0.1, 0.1, 0.3, 0.9]
    command = built.build(chunk([[0, 0, 0, value] for value in values]), observe())
    assert command.gripper.tolist() == [0.08, .08, .08, .08, 0, 0, 0, .08, .08]


def test_a_continuous_gripper_keeps_the_values_between_open_and_closed():
    spec = make_spec(gripper_open=-1.0, gripper_closed=1.0, gripper_continuous=True)
    built = builder(spec, gripper_open=0.08, gripper_closed=0.0, execution_horizon=1)
    actions = np.zeros((3, 4))
    actions[:, 3] = [-1.0, 0.5, 3.0]  # open, a quarter open, closed beyond the end
    command = built.build(chunk(actions), observe())
    assert command.gripper.tolist() == [0.08, 0.08, 0.02, 0.0]
    actions[:, 3] = 1.0
    assert built.build(chunk(actions), observe()).gripper.tolist() == [0.08, 0, 0, 0]
    binary = builder(spec, gripper_mode='binary')
    actions[:, 3] = [-1.0, 0.5, 0.5]
    assert binary.build(chunk(actions), observe()).gripper.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_gripper_memory_follows_the_executed_rows_only():
    built = builder(execution_horizon=2)
    built.build(chunk([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, -1]]), observe())
    undecided = chunk([[0, 0, 0, 0.0]])
    assert built.build(undecided, observe()).gripper.tolist() == [1.0, 1.0]
    built.reset()
    built.build(chunk([[0, 0, 0, -1]] * 2), observe())
    assert built.build(undecided, observe()).gripper.tolist() == [0.0, 0.0]


def test_the_policys_own_gripper_sign_is_respected():
    spec = make_spec(gripper_open=0.0, gripper_closed=1.0)
    command = builder(spec).build(chunk([[0, 0, 0, 0.0], [0, 0, 0, 1.0]]), observe())
    assert command.gripper.tolist() == [1.0, 1.0, 0.0]


def test_joint_targets_are_reached_at_the_end_of_their_step():
    spec = make_spec(action_kind='joint_position', action_names=('a', 'b'), gripper_index=None)
    built = builder(spec, joint_names=['left', 'right'])
    command = built.build(chunk([[1, 2], [3, 4]]), observe())
    assert command.names == ('left', 'right')
    assert command.positions.tolist() == [[1, 2], [3, 4]]
    assert command.times_ns.tolist() == [SECOND + DT, SECOND + 2 * DT]
    assert command.gripper is None


def test_joint_names_that_do_not_fit_are_refused():
    spec = make_spec(action_kind='joint_position', action_names=('a', 'b'), gripper_index=None)
    with pytest.raises(ConfigError, match='1 names .*moves 2 joints'):
        builder(spec, joint_names=['left'])
