# SPDX-License-Identifier: Apache-2.0
"""The last gate before the robot, with limits worked out by hand."""
from core_support import make_spec, observation
import numpy as np
import pytest

from vla_pruner_ros.core.action_limits import (
    check_actions,
    check_limits,
    joint_start,
    limit_actions,
)
from vla_pruner_ros.core.errors import ConfigError, UnsafeActionError
from vla_pruner_ros.core.parameter_declarations import Parameters

EE = make_spec(action_horizon=3)
JOINTS = make_spec(action_horizon=3, action_kind='joint_position', gripper_index=2,
                   action_names=('j1', 'j2', 'gripper'), state_names=('gripper', 'j2', 'j1'))


def limits(**changes):
    return Parameters().changed(changes)


def moves(*rows, gripper=1.0):
    return np.array([[*row, gripper] for row in rows])


def at(x, y, z):
    return observation(pose=((x, y, z), (0.0, 0.0, 0.0, 1.0)))


def joints_at(j1, j2):
    return observation(state=np.array([0.5, j2, j1]))


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_one_value_that_is_not_finite_drops_the_chunk(value):
    actions = moves((0, 0, 0), (0, 0, 0), (0, 0, 0))
    actions[1, 2] = value
    with pytest.raises(UnsafeActionError, match=r"1 of 12 .* row 1, 'dz' = -?(nan|inf);"):
        check_actions(actions, EE)


def test_a_gripper_value_that_is_not_finite_drops_the_chunk_too():
    with pytest.raises(UnsafeActionError, match="row 0, 'gripper'"):
        check_actions(moves((0, 0, 0), (0, 0, 0), (0, 0, 0), gripper=np.nan), EE)


@pytest.mark.parametrize('shape', [(2, 4), (3, 5), (12,), (1, 3, 4)])
def test_another_shape_than_promised_is_refused(shape):
    with pytest.raises(UnsafeActionError, match='specification says'):
        check_actions(np.zeros(shape), EE)


def test_good_actions_pass_unchanged():
    actions = moves((1, 2, 3), (4, 5, 6), (-7, 8, 9))
    check_actions(actions, EE)
    limited, counts = limit_actions(actions, observation(), EE, limits())
    assert limited.tolist() == actions.tolist() and counts == {}
    assert limited is not actions


def test_one_step_limit_for_all_leaves_the_gripper_alone():
    actions = moves((0.5, -0.05, -0.5), (0.1, 0.0, 0.0), (0, 0, 0))
    limited, counts = limit_actions(actions, observation(), EE, limits(max_step=[0.1]))
    assert limited.tolist() == moves((0.1, -0.05, -0.1), (0.1, 0, 0), (0, 0, 0)).tolist()
    assert counts == {'max_step': 2}


@pytest.mark.parametrize('values', [[0.1, 0.2, 0.0], [0.1, 0.2, 0.0, 9.0]])
def test_one_step_limit_each_with_or_without_the_gripper(values):
    actions = moves((1, 1, 1), (0, 0, 0), (0, 0, 0))
    limited, _ = limit_actions(actions, observation(), EE, limits(max_step=values))
    assert limited[0].tolist() == [0.1, 0.2, 0.0, 1.0]


def test_velocity_limit_is_per_second():
    # 0.4 m/s at 20 Hz is 0.02 m per step.
    limited, counts = limit_actions(moves((0.03, 0.01, -0.03), (0, 0, 0), (0, 0, 0)),
                                    observation(), EE, limits(max_velocity=[0.4]))
    assert limited[0, :3].tolist() == pytest.approx([0.02, 0.01, -0.02])
    assert counts == {'max_velocity': 2}


def test_the_path_of_the_hand_stops_at_the_box():
    actions = moves((0.04, 0, 0), (0.04, 0, 0), (0.04, 0, -0.01))
    box = limits(position_low=[-1.0, -1.0, 0.0], position_high=[0.5, 1.0, 1.0])
    limited, counts = limit_actions(actions, at(0.43, 0.0, 0.3), EE, box)
    # 0.43 -> 0.47 -> 0.50 (cut) -> 0.50 (cut); going down is allowed.
    assert limited[:, 0].tolist() == pytest.approx([0.04, 0.03, 0.0])
    assert limited[:, 2].tolist() == pytest.approx([0.0, 0.0, -0.01])
    assert counts == {'position': 2}


def test_without_the_pose_of_now_the_path_would_have_passed():
    box = limits(position_low=[-1.0, -1.0, 0.0], position_high=[0.5, 1.0, 1.0])
    actions = moves((0.04, 0, 0), (0.04, 0, 0), (0.04, 0, 0))
    assert limit_actions(actions, at(0.0, 0.0, 0.3), EE, box)[1] == {}


def test_a_hand_outside_may_come_back_but_not_go_further_and_is_never_pushed():
    box = limits(position_low=[-0.5, -0.5, 0.0], position_high=[0.5, 0.5, 1.0])
    actions = moves((0.02, 0.01, 0), (-0.05, 0, 0), (0.02, 0, 0))
    limited, counts = limit_actions(actions, at(0.6, 0.0, 0.5), EE, box)
    # 0.60 stays (cut), comes back to 0.55 on its own, may not go out again (cut).
    assert limited[:, 0].tolist() == pytest.approx([0.0, -0.05, 0.0])
    assert limited[:, 1].tolist() == pytest.approx([0.01, 0.0, 0.0])
    assert counts == {'position': 2}


def test_a_hand_below_the_box_is_not_lifted_into_it():
    box = limits(position_low=[-0.5, -0.5, 0.0], position_high=[0.5, 0.5, 1.0])
    actions = moves((0, 0, 0), (0, 0, 0.02), (0, 0, -0.01))
    limited, counts = limit_actions(actions, at(0.0, 0.0, -0.1), EE, box)
    assert limited[:, 2].tolist() == pytest.approx([0.0, 0.02, 0.0])
    assert counts == {'position': 1}


@pytest.mark.parametrize('pose', [None, ((np.nan, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))])
def test_a_box_that_cannot_be_checked_drops_the_chunk(pose):
    box = limits(position_low=[-1.0, -1.0, 0.0], position_high=[0.5, 1.0, 1.0])
    with pytest.raises(UnsafeActionError, match='no end-effector pose'):
        limit_actions(moves((0, 0, 0), (0, 0, 0), (0, 0, 0)), observation(pose=pose), EE, box)


def targets(*rows):
    return np.array([[*row, 0.7] for row in rows])


def test_joint_state_is_found_by_name():
    assert joint_start(JOINTS, joints_at(0.1, -0.2)).tolist() == [0.1, -0.2]
    assert joint_start(JOINTS, joints_at(np.nan, -0.2)) is None
    assert joint_start(EE, observation()) is None


def test_the_first_joint_step_starts_from_the_joints_of_now():
    limited, counts = limit_actions(targets((0.5, 0.0), (0.5, 0.0), (0.5, 0.0)),
                                    joints_at(0.0, 0.0), JOINTS, limits(max_step=[0.2]))
    assert limited[:, 0].tolist() == pytest.approx([0.2, 0.4, 0.5])
    assert limited[:, 2].tolist() == [0.7] * 3
    assert counts == {'max_step': 2}


def test_joint_positions_and_velocity_are_limited_together():
    both = limits(position_low=[-1.0, -1.0], position_high=[0.3, 1.0], max_velocity=[4.0])
    limited, counts = limit_actions(targets((0.5, 0.0), (0.5, 0.0), (-0.5, 0.0)),
                                    joints_at(0.0, 0.0), JOINTS, both)
    # 4 rad/s at 20 Hz is 0.2 rad: 0.2, then 0.4 is cut to 0.3, then back by 0.2.
    assert limited[:, 0].tolist() == pytest.approx([0.2, 0.3, 0.1])
    assert counts == {'max_velocity': 3, 'position': 1}


def test_joint_step_limit_without_joint_state_drops_the_chunk():
    blind = make_spec(action_horizon=3, action_kind='joint_position', gripper_index=2,
                      action_names=('j1', 'j2', 'gripper'), state_names=('j1',))
    actions = targets((0.5, 0.0), (0.5, 0.0), (0.5, 0.0))
    with pytest.raises(UnsafeActionError, match='does not hold the positions'):
        limit_actions(actions, observation(), blind, limits(max_step=[0.2]))
    box = limits(position_low=[-1.0, -1.0], position_high=[0.3, 1.0])
    assert limit_actions(actions, observation(), blind, box)[0][:, 0].tolist() == [0.3] * 3


@pytest.mark.parametrize('changes, message', [
    ({'max_step': [0.1, 0.2]}, 'max_step has 2 values; accepted .* none, 1, 3'),
    ({'max_velocity': [0.1] * 5}, 'max_velocity has 5 values'),
    ({'max_step': [-0.1]}, 'max_step has the negative value -0.1'),
    ({'position_low': [0.0], 'position_high': [1.0]}, "have 1 values; policy 'toy' needs 3")])
def test_limits_that_do_not_fit_the_policy_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_limits(limits(**changes), EE)
