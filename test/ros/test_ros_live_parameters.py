# SPDX-License-Identifier: Apache-2.0
"""Parameters over ROS services: declared from the table, live where it says so, all or nothing."""
from array import array
import json

import pytest
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters
from rclpy.parameter import Parameter
import ros_helpers
from ros_helpers import BudgetBackend, Rig

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters, table

make_rig = ros_helpers.make_rig


def get(rig, name):
    answer = rig.call(GetParameters, 'get_parameters', GetParameters.Request(names=[name]))
    return Parameter.from_parameter_msg(
        type('Message', (), {'name': name, 'value': answer.values[0]})).value


@pytest.fixture
def idle(make_rig):
    return make_rig(start=False)


def test_every_parameter_of_the_table_is_declared_with_description_and_range(idle):
    names = [spec.name for spec in table()]
    listed = idle.call(ListParameters, 'list_parameters', ListParameters.Request()).result.names
    assert set(names) <= set(listed)
    answer = idle.call(DescribeParameters, 'describe_parameters',
                       DescribeParameters.Request(names=names))
    for spec, described in zip(table(), answer.descriptors):
        assert described.description == spec.metadata['doc']
        if spec.metadata['low'] is not None:
            ranges = [*described.integer_range, *described.floating_point_range]
            assert [ranges[0].from_value, ranges[0].to_value] == [
                spec.metadata['low'], spec.metadata['high']]
        if not spec.metadata['live']:
            assert described.read_only or 'Read-only' in described.additional_constraints
        for choice in spec.metadata['choices']:
            assert choice in described.additional_constraints


def test_empty_lists_have_the_type_of_their_elements(idle):
    assert get(idle, 'max_step') == array('d')
    assert get(idle, 'joint_names') == []
    assert idle.set(max_step=[0.1, 0.2]).successful
    assert get(idle, 'max_step') == array('d', [0.1, 0.2])


def test_whole_numbers_are_taken_for_numbers(idle):
    assert idle.set(max_skew=1).successful
    assert idle.node.live.snapshot.max_skew == 1.0
    assert idle.set(max_velocity=[1, 2]).successful
    assert idle.node.live.snapshot.max_velocity == (1.0, 2.0)


@pytest.mark.parametrize('name, value, said', [
    ('token_budget', -1, 'token_budget'),
    ('token_budget', 'many', "token_budget is 'many'; accepted: a whole number from 0 to 4096"),
    ('pruner', 'best', 'vla_pruner'),
    ('reuse_angle', 7.0, 'reuse_angle'),
    ('max_step', [0.1, float('nan')], 'finite numbers'),
    ('max_step', ['fast'], 'finite numbers'),
    ('action_layers', 'all', "'latter_half' or 'layer:N'"),
    ('gripper_closed', 1.0, 'gripper_open and gripper_closed are both 1.0'),
    ('autostart', True, 'read-only'),
])
def test_refused_value_says_why_and_changes_nothing(idle, name, value, said):
    before, kept = idle.node.live.current, get(idle, name)
    result = idle.set(**{name: value})
    assert not result.successful
    assert said in result.reason
    assert get(idle, name) == kept
    assert idle.node.live.current == before


def test_a_set_is_taken_as_a_whole_or_not_at_all(idle):
    limits = {'position_low': [0.0, 0.0, 0.0], 'position_high': [1.0, 1.0, 1.0]}
    alone = idle.set(position_low=[0.0, 0.0, 0.0])
    assert not alone.successful and 'same length' in alone.reason
    mixed = idle.set(atomically=True, token_budget=32, pruner='best', **limits)
    assert not mixed.successful
    assert idle.node.live.snapshot == Parameters().changed(
        {spec.name: getattr(idle.node.live.snapshot, spec.name) for spec in table()})
    assert idle.node.live.snapshot.token_budget == 0 and get(idle, 'token_budget') == 0
    assert idle.set(atomically=True, token_budget=32, **limits).successful
    assert idle.node.live.snapshot.position_high == (1.0, 1.0, 1.0)
    assert idle.node.live.current[0] == 1  # one change, one revision


def test_value_refused_at_start_stops_the_node_with_its_reason():
    with pytest.raises(ConfigError, match='token_budget is -5; accepted: a whole number'):
        Rig(token_budget=-5)


def test_new_token_budget_takes_effect_at_the_next_step(make_rig):
    rig = make_rig(BudgetBackend(), pruner='uniform', token_budget=12)
    rig.flow()
    rig.until(lambda: rig.status()['last_step'].get('kept') == [12], rig.robot.send)
    assert rig.set(token_budget=4).successful
    seen = len(rig.got['status'])
    rig.flow()
    rig.until(lambda: rig.status()['last_step'].get('revision') == 1, rig.robot.send)
    steps = [json.loads(one.data)['last_step'] for one in rig.got['status'][seen:]]
    # A step that was under way may still be old; from the first new one on all are.
    assert {(one['revision'], one['token_budget'], one['kept'][0])
            for one in steps} <= {(0, 12, 12), (1, 4, 4)}
    assert [one['revision'] for one in steps] == sorted(one['revision'] for one in steps)
    rig.until(lambda: rig.diagnostics().get('token_budget') == '4')


def test_what_the_loaded_policy_cannot_do_is_refused(make_rig):
    rig = make_rig()
    result = rig.set(max_step=[0.1, 0.1])  # four actions, three of them motion
    assert not result.successful and 'max_step has 2 values' in result.reason
    assert not rig.set(prune_layer=100).successful or rig.backend.spec.decoder_layers > 100
    assert rig.flow().points  # and goes on


def test_model_parameters_are_read_only_while_configured(make_rig):
    rig = make_rig()
    result = rig.set(checkpoint='/other')
    assert not result.successful and 'read-only while the policy is configured' in result.reason
    rig.node.trigger_deactivate()
    rig.node.trigger_cleanup()
    assert rig.set(checkpoint='/other').successful


def test_instruction_parameter_replaces_the_instruction(make_rig):
    rig = make_rig()
    rig.flow()
    assert rig.set(instruction='push').successful
    rig.until(lambda: rig.backend.calls[-1].instruction == 'push', rig.robot.send)
    rig.until(lambda: rig.status()['resets'].get('instruction') == 1, rig.robot.send)
