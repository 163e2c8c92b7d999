# SPDX-License-Identifier: Apache-2.0
"""Which messages joint_trajectory_controller refuses (validate_trajectory_msg)."""
from types import SimpleNamespace

import numpy as np
import pytest
from trajectory_fakes import joint_message, MS, NOW, one_joint, pose_message, run

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots.controllers.make_controller import make_controller

GOOD = {100: (1.0, 2.0)}


def two_joints(**options):
    controller = make_controller('jtc', joints=('a', 'b'), **options)
    controller.feedback(np.array([0.0, 0.5]), NOW)
    return controller


def with_effort(message):
    message.points[0].effort = [1.0, 1.0]
    return message


@pytest.mark.parametrize('reason, message', [
    ('wrong_joints', joint_message(0, {100: 1.0}, names=('a',))),
    ('wrong_joints', joint_message(0, GOOD, names=('a', 'c'))),
    ('wrong_joints', joint_message(0, GOOD, names=())),
    ('wrong_joints', joint_message(0, GOOD, names=('a', 'a'))),
    ('no_points', joint_message(0, {}, names=('a', 'b'))),
    ('past', joint_message(NOW - 101 * MS, GOOD, names=('a', 'b'))),
    ('bad_times', joint_message(0, {0.2: (1, 1), 0.1: (2, 2)}, names=('a', 'b'))),
    ('wrong_size', joint_message(0, {100: (1.0, 2.0, 3.0)}, names=('a', 'b'))),
    ('wrong_size', joint_message(0, GOOD, names=('a', 'b'), velocities=[(0.0,)])),
    ('wrong_size', joint_message(0, {100: None}, names=('a', 'b'), velocities=[(0.0, 0.0)])),
    ('effort', with_effort(joint_message(0, GOOD, names=('a', 'b')))),
])
def test_a_bad_message_is_refused_and_the_old_one_goes_on(reason, message):
    controller = two_joints()
    controller.receive(joint_message(0, {1000: (1.0, 1.0)}, names=('a', 'b')), NOW)
    receipt = controller.receive(message, NOW)
    assert not receipt and receipt.reason == reason and receipt.detail
    assert controller.refused == {reason: 1}
    assert run(controller, 100)[-1, 0] == pytest.approx(0.1)


def test_a_trajectory_that_ends_now_is_not_past():
    assert two_joints().receive(joint_message(NOW - 100 * MS, GOOD, names=('a', 'b')), NOW)


def test_the_order_of_the_names_is_the_message_s_own():
    controller = two_joints(version='humble')
    assert controller.receive(joint_message(0, {0: (1.0, 2.0)}, names=('b', 'a')), NOW)
    assert list(controller.command(NOW).position) == [2.0, 1.0]


def test_joints_that_a_partial_message_leaves_out_hold_the_last_command():
    controller = two_joints(allow_partial_joints_goal=True)
    run(controller, 10)
    controller.feedback(np.array([0.0, 9.0]), NOW)  # the measurement does not count for them
    assert controller.receive(joint_message(0, {0: 1.0}, names=('a',)), NOW + 12 * MS)
    assert list(controller.command(NOW + 12 * MS).position) == [1.0, 0.5]


@pytest.mark.parametrize('version, accepted', [('humble', True), ('jazzy', False),
                                               ('kilted', False)])
def test_an_end_at_speed_is_accepted_by_default_in_humble_only(version, accepted):
    message = joint_message(0, {100: 1.0}, velocities=[0.5])
    receipt = one_joint(version=version).receive(message, NOW)
    assert bool(receipt) is accepted and receipt.reason == ('' if accepted else 'end_velocity')
    allowed = one_joint(version=version, allow_nonzero_velocity_at_trajectory_end=True)
    assert allowed.receive(message, NOW)


def test_an_empty_point_is_refused_where_integration_is_allowed():
    controller = one_joint(allow_integration_in_goal_trajectories=True)
    assert controller.receive(joint_message(0, {100: None}), NOW).reason == 'no_values'


def test_a_hand_refuses_a_second_transform_and_a_rotation_of_length_zero():
    hand = make_controller('jtc')
    message = pose_message(0, {100: (0, 0, 0, 0, 0, 0, 0)})
    assert hand.receive(message, NOW).reason == 'bad_rotation'
    message.points[0].transforms *= 2
    assert hand.receive(message, NOW).reason == 'wrong_size'
    other = pose_message(0, {100: (0, 0, 0, 0, 0, 0, 1)}, name='left_hand')
    assert hand.receive(other, NOW).reason == 'wrong_joints'


@pytest.mark.parametrize('kind', ['jtc', 'servo', 'ideal'])
def test_nothing_is_commanded_before_the_robot_has_told_where_it_is(kind):
    with pytest.raises(InputError, match='where it is') as caught:
        make_controller(kind).command(NOW)
    assert caught.value.reason == 'no_feedback'


def test_messages_without_the_optional_fields_are_read():
    message = joint_message(0, {0: 1.0})
    point = message.points[0]
    message.points = [SimpleNamespace(positions=point.positions,
                                      time_from_start=point.time_from_start)]
    assert one_joint().receive(message, NOW)
