# SPDX-License-Identifier: Apache-2.0
"""The language of the parameter ``outputs``, and what it refuses."""
from fakes import make_parameters, make_spec
import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.runtime.output_lines import KINDS, parse_outputs

SIDES = ('left', 'right')
#: Two arms of six joints, each with a gripper behind it; the policy has no gripper of its own.
PAIR = make_spec(
    action_kind='joint_position', gripper_index=None, state_names=(),
    action_names=tuple(f'{side}_{part}' for side in SIDES
                       for part in (*(f'joint_{one}' for one in range(6)), 'gripper')))
#: One arm of two joints and a gripper between them.
ARM = make_spec(action_kind='joint_position', action_names=('a', 'grip', 'b'), gripper_index=1,
                state_names=())


def parse(*outputs, spec=PAIR, **parameters):
    return parse_outputs(make_parameters(outputs=outputs, **parameters), spec)


def test_two_arms_are_split_by_columns():
    left, gripper, right = parse(
        'left=joint_trajectory:/left_arm_controller/joint_trajectory#0-5',
        'left_gripper=gripper_action:/left_gripper/gripper_cmd#6',
        'right = follow_joint_trajectory : /right/follow_joint_trajectory # 12, 7-11')
    assert left.target == '/left_arm_controller/joint_trajectory' and left.rate == 0.0
    assert left.columns == left.moving == (0, 1, 2, 3, 4, 5)
    assert gripper.joints == ('left_gripper',) and gripper.action
    assert right.columns == (12, 7, 8, 9, 10, 11)  # the order of the line is that of the message
    assert right.joints[:2] == ('right_joint_5', 'right_joint_0')


def test_columns_may_be_named_as_they_are_published():
    line, = parse('arm=forward_position:/commands#elbow,shoulder@250', spec=ARM,
                  joint_names=['shoulder', 'elbow'])
    assert line.columns == (2, 0) and line.moving == (1, 0) and line.rate == 250.0


def test_the_gripper_may_stand_among_the_joints():
    line, = parse('arm=joint_trajectory#0-2', spec=ARM, gripper_joint='finger')
    assert line.joints == ('a', 'finger', 'b') and line.moving == (0, None, 1)
    assert line.target == '~/arm'  # nothing said: a topic of the node
    alone, = parse('g=gripper_trajectory', spec=ARM)
    assert alone.columns == (1,) and alone.moving == (None,)


@pytest.mark.parametrize('spec, names', [
    (make_spec(), ['ee_trajectory', 'twist', 'gripper_command']),
    (ARM, ['action_chunk', 'gripper_command']), (PAIR, ['action_chunk'])])
def test_without_lines_there_are_the_nodes_own_topics(spec, names):
    lines = parse(spec=spec)
    assert [line.name for line in lines] == names
    assert [line.target for line in lines] == [f'~/{name}' for name in names]
    assert [line.dry_target for line in lines] == [f'~/dry_run/{name}' for name in names]
    assert parse(spec=spec, watchdog_action='none', pose_topic='', lock_step=True) == lines


@pytest.mark.parametrize('outputs, spec, said', [
    (['arm'], PAIR, "'arm'; accepted: 'name=kind:topic#columns@rate'"),
    (['arm=joint_trajectory:a b'], PAIR, "'arm=joint_trajectory:a b'; accepted:"),
    (['1=twist'], PAIR, "'1=twist'; accepted:"),
    (['arm=cartesian'], PAIR, "the kind 'cartesian'; accepted: joint_trajectory"),
    (['arm=follow_joint_trajectory'], PAIR, 'without the name of the action; accepted'),
    (['arm=twist'], PAIR, 'answers joint positions, which cannot feed twist; accepted: joint_tr'),
    (['arm=joint_trajectory'], make_spec(), 'end-effector deltas, which cannot feed joint_traj'),
    (['arm=forward_position#0'], make_spec(), "column '0'; accepted: 3 (gripper)"),
    (['hand=pose#0'], make_spec(), 'takes the whole hand; accepted: no #columns'),
    (['arm=joint_trajectory#14'], PAIR, "column '14'; accepted: 0 (left_joint_0), 1"),
    (['arm=joint_trajectory#5-3'], PAIR, "column '5-3'; accepted"),
    (['arm=joint_trajectory#elbow'], PAIR, "column 'elbow'; accepted"),
    (['arm=joint_trajectory#²'], PAIR, "column '²'; accepted"),
    (['arm=joint_trajectory#0,0'], PAIR, 'names a column twice'),
    (['g=gripper_action:/g'], PAIR, 'no gripper column of its own; accepted: g=gripper_action:/'),
    (['g=gripper_trajectory#5,6'], PAIR, '2 columns; accepted for gripper_trajectory: one'),
    (['arm=forward_velocity#0,1'], ARM, "column '1'; accepted: 0 (a), 2 (b)"),
    (['a=joint_trajectory#0-6', 'b=gripper_trajectory#6'], PAIR,
     "the column 6 twice, in 'a' and 'b'"),
    (['a=joint_trajectory:/x#0', 'b=joint_trajectory:/x#1'], PAIR, "the topic '/x' twice, in 'a'"),
    (['a=joint_trajectory:~/dry_run/a#0'], PAIR, "the topic '~/dry_run/a' twice"),
    (['a=joint_trajectory:/x#0', 'a=joint_trajectory:/y#1'], PAIR, "the name 'a' twice"),
    (['arm=forward_position:/c@0'], PAIR, "the rate '0'; accepted: 1 to 1000 messages"),
    (['arm=forward_position:/c@nan'], PAIR, "the rate 'nan'; accepted: 1 to 1000"),
    (['arm=forward_position:/c@fast'], PAIR, "the rate 'fast'; accepted"),
    (['arm=joint_trajectory:/c@10'], PAIR, 'sent once per chunk; accepted: no @rate')])
def test_a_line_that_cannot_be_used_is_named_with_what_can(outputs, spec, said):
    with pytest.raises(ConfigError) as refused:
        parse(*outputs, spec=spec)
    assert said in str(refused.value)


@pytest.mark.parametrize('line, spec, changes, said', [
    ('hand=pose', make_spec(), {'pose_topic': ''}, 'pose_topic is empty'),
    ('hand=twist', make_spec(), {'lock_step': True}, 'lock_step is true; accepted: joint_traj'),
    ('arm=forward_velocity#0', PAIR, {'watchdog_action': 'none'}, 'accepted: hold, zero')])
def test_what_a_stream_needs_is_asked_for(line, spec, changes, said):
    assert parse(line, spec=spec)
    with pytest.raises(ConfigError, match=said):
        parse(line, spec=spec, **changes)


def test_topics_are_compared_by_their_full_names():
    lines = make_parameters(outputs=['a=joint_trajectory:~/x#0', 'b=joint_trajectory:/n/x#1'])
    assert parse_outputs(lines, PAIR)
    with pytest.raises(ConfigError, match="the topic '/n/x' twice"):
        parse_outputs(lines, PAIR, lambda topic: topic.replace('~', '/n'))


def test_every_kind_is_in_the_description_of_the_parameter():
    from vla_pruner_ros.core.parameter_declarations import table_by_name
    doc = table_by_name()['outputs'].metadata['doc']
    assert [kind for kind in KINDS if kind not in doc] == []
