# SPDX-License-Identifier: Apache-2.0
"""config/robots: accepted, consistent, plausible, and every number with its source."""
import numpy as np
import pytest
from robot_files import (
    blocks,
    hand_policy,
    hand_settings,
    joint_policy,
    listed_sources,
    NAMES,
    OURS,
    parameters_of,
    raw_of,
    ROBOTS,
    text_of,
)

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_check import check_parameters
from vla_pruner_ros.runtime.input_mapping import state_sources
from vla_pruner_ros.runtime.motion.robot_commands import joint_command_names
from vla_pruner_ros.runtime.output_lines import parse_outputs

PER_JOINT = ('position_low', 'position_high', 'max_velocity', 'max_acceleration')
#: Start without a number or name from elsewhere.
OWN = ('dry_run',)
each_robot = pytest.mark.parametrize('robot', NAMES)


def test_the_promised_robots_are_there():
    assert set(NAMES) == set(ROBOTS)


@each_robot
def test_a_joint_policy_with_the_robots_joints_is_accepted(robot):
    parameters, spec = parameters_of(robot), joint_policy(robot)
    check_parameters(parameters, spec)
    assert joint_command_names(spec, parameters) == parameters.joint_names
    sources = state_sources(parameters, spec)
    # The state is read from the joints that the chunk moves, in its order.
    assert tuple(one.key for one in sources) == parameters.joint_names


@each_robot
def test_every_moving_column_goes_to_one_controller(robot):
    parameters, spec = parameters_of(robot), joint_policy(robot)
    lines = parse_outputs(parameters, spec)
    joints = [name for line in lines for name in line.joints if name != parameters.gripper_joint]
    assert tuple(joints) == parameters.joint_names
    assert all(line.target.startswith('/') for line in lines)


@each_robot
def test_names_and_limits_are_one_per_joint(robot):
    parameters, (joints, _) = parameters_of(robot), ROBOTS[robot]
    assert len(set(parameters.joint_names)) == len(parameters.joint_names) == joints
    assert [len(getattr(parameters, name)) for name in PER_JOINT] == 4 * [joints]
    assert parameters.gripper_joint not in parameters.joint_names


@each_robot
def test_limits_are_a_box_with_room_and_speeds_that_an_arm_can_have(robot):
    parameters, (_, reach) = parameters_of(robot), ROBOTS[robot]
    low, high = np.array(parameters.position_low), np.array(parameters.position_high)
    speed, force = np.array(parameters.max_velocity), np.array(parameters.max_acceleration)
    assert (high - low >= 1.0).all() and (np.abs([low, high]) <= 2 * np.pi).all()
    assert (speed >= 0.5).all() and (speed <= 6.0).all()
    # The first joint turns the whole arm: that is how fast a stretched hand would be.
    assert 0.3 <= speed[0] * reach <= 3.0
    # From full speed to rest in 0.05 to 1 s: less is no arm, more stops too late.
    assert (speed / force >= 0.05).all() and (speed / force <= 1.0).all()


@each_robot
def test_it_starts_dry_and_asks_for_what_only_the_user_knows(robot):
    assert parameters_of(robot).dry_run
    for name in ('checkpoint', 'camera_topics', 'instruction'):
        assert f'\n    # {name}: ' in text_of(robot)
        assert name not in raw_of(robot)


@each_robot
def test_lists_of_numbers_have_one_type_as_ros_wants_it(robot):
    for name in PER_JOINT:
        assert {type(one) for one in raw_of(robot)[name]} == {float}


@each_robot
def test_every_block_says_where_it_is_from(robot):
    found = blocks(robot)
    assert {name for block in found for name in block.names} == set(raw_of(robot))
    silent = [block.names for block in found if not block.sources
              and not OURS.search(block.comment) and not set(block.names) <= set(OWN)]
    assert silent == []


@each_robot
def test_sources_are_listed_and_used(robot):
    cited = {one for block in blocks(robot) for one in block.sources}
    assert cited <= listed_sources(robot)
    body = text_of(robot).split('# Sources:')[1]
    for number in listed_sources(robot):
        assert body.count(f'[{number}]') > 1, f'[{number}] is never cited'


@each_robot
def test_limits_cite_documents_and_no_guess_is_silent(robot):
    by_name = {name: block for block in blocks(robot) for name in block.names}
    for name in ('joint_names', 'joint_state_topic', 'outputs', *PER_JOINT):
        assert by_name[name].sources, f'{name} cites nothing'


@each_robot
def test_a_policy_with_end_effector_deltas_is_refused_until_the_limits_are_replaced(robot):
    with pytest.raises(ConfigError, match='accepted|needs 3'):
        check_parameters(parameters_of(robot), hand_policy())


@pytest.mark.parametrize('robot', [one for one in NAMES if hand_settings(one)])
def test_what_the_file_says_for_end_effector_deltas_is_accepted_and_slow(robot):
    parameters = parameters_of(robot, *hand_settings(robot))
    check_parameters(parameters, hand_policy())
    assert [line.kind for line in parse_outputs(parameters, hand_policy())] == ['twist']
    assert max(parameters.max_velocity[:3]) <= 0.25
    assert max(parameters.max_velocity[3:]) <= 1.0
    assert parameters.pose_topic, 'a box needs a pose'
    _, reach = ROBOTS[robot]
    assert np.linalg.norm(parameters.position_high) <= reach


def test_arms_that_cannot_follow_a_hand_claim_nothing():
    assert {one for one in NAMES if not hand_settings(one)} == {'aloha', 'so101'}
