# SPDX-License-Identifier: Apache-2.0
"""Where the robot is taken to be, from what it was sent and an old measurement."""
from fakes import make_parameters, make_spec, SECOND
import numpy as np
import pytest

from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.motion_spaces import space_of
from vla_pruner_ros.runtime.motion.sent_motion import SentMotion
from vla_pruner_ros.runtime.motion.timed_path import TimedPath


@pytest.fixture
def moving():
    """Joints a and b, sent from 0 to 2 rad in 2 s."""
    space = space_of(make_spec(action_kind='joint_position', action_names=('a', 'b'),
                               gripper_index=None))
    sent = SentMotion(space)
    sent.update(make_parameters())
    times = np.array([0, 2 * SECOND])
    points, speed = np.array([[0.0, 0.0], [2.0, 2.0]]), np.ones((2, 2))
    sent.put(TimedPath(space, times, points, speed), 2 * SECOND)
    return sent


def test_joints_of_two_senders_are_held_against_the_plan_each_at_its_own_time(moving):
    """Both joints follow exactly; the message about b is 0.4 s old, that about a is new."""
    measured = Measured(np.array([1.0, 0.6]), SECOND * 4 // 10, (0, SECOND * 4 // 10))
    start = moving.start(SECOND, measured)
    assert not start.astray and start.velocity.tolist() == pytest.approx([1.0, 1.0])
    assert moving.by_now(measured, SECOND).tolist() == pytest.approx([1.0, 1.0])


def test_a_joint_that_did_not_follow_is_astray_whatever_the_age_of_the_other(moving):
    measured = Measured(np.array([0.6, 0.6]), SECOND * 4 // 10, (0, SECOND * 4 // 10))
    start = moving.start(SECOND, measured)
    assert start.astray and start.point.tolist() == [0.6, 0.6]
