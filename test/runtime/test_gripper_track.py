# SPDX-License-Identifier: Apache-2.0
"""What the gripper is told at which moment."""
import numpy as np

from vla_pruner_ros.runtime.gripper_track import GripperTrack
from vla_pruner_ros.runtime.motion.robot_commands import JointCommand

TIMES = np.array([100, 200, 300])


def command(gripper=(0.0, 0.0, 1.0), times=TIMES):
    return JointCommand(('a',), np.zeros((len(times), 1)), times,
                        None if gripper is None else np.array(gripper), 50)


def test_the_decision_of_a_row_counts_until_its_end():
    track = GripperTrack()
    assert track.at(0) is None
    track.put(command())
    assert [track.at(one) for one in (0, 100, 200, 201, 300, 999)] == [0, 0, 0, 1, 1, 1]
    track.put(command(gripper=None))  # says nothing about the gripper
    assert track.at(250) == 1.0


def test_after_a_stop_no_decision_that_lay_ahead_is_carried_out():
    track = GripperTrack()
    track.put(command())
    track.stop(150)
    assert [track.at(one) for one in (150, 250, 999)] == [0, 0, 0]


def test_a_command_without_a_gripper_is_filled_with_what_it_was_told():
    track = GripperTrack()
    bare = command(gripper=None, times=np.array([150, 250]))
    assert track.filled(bare) is bare  # it was told nothing
    track.put(command())
    assert track.filled(bare).gripper.tolist() == [0.0, 1.0]
    assert track.filled(command(gripper=(5.0, 5.0, 5.0))).gripper.tolist() == [5.0] * 3
    track.clear()
    assert track.at(250) is None
