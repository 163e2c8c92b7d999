# SPDX-License-Identifier: Apache-2.0
"""A dry replay with each robot's file: its joint names in, a chunk within its limits out."""
from bags import PERIOD, Scene, SECOND, T0, TYPES
from fakes import FakeBackend
import numpy as np
import pytest
from robot_files import joint_policy, NAMES, parameters_of

from vla_pruner_ros.replay.bag_reader import Bag
from vla_pruner_ros.replay.bag_topics import wire
from vla_pruner_ros.replay.policy_over_bag import run

pytest.importorskip('rosbags.rosbag2', reason='bags need the package rosbags')


class Arm(Scene):
    """A robot that stands in the middle of its ranges; its gripper comes in a message apart."""

    def __init__(self, parameters, frames):
        super().__init__(frames=frames)
        self.topic = parameters.joint_state_topic
        self.types = {**TYPES, self.topic: 'sensor_msgs/msg/JointState'}
        self.names = parameters.joint_names
        self.middle = np.add(parameters.position_low, parameters.position_high) / 2
        self.gripper = parameters.gripper_joint

    def state(self, stamp, names, positions):
        return self.make('sensor_msgs/msg/JointState', header=self.header(stamp), name=list(names),
                         position=np.array(positions), velocity=np.array([]), effort=np.array([]))

    def messages(self):
        yield '/instruction', T0, self.make('std_msgs/msg/String', data='reach')
        for number in range(self.frames):
            stamp = T0 + number * PERIOD
            # As drivers do: in an order of their own, and the gripper apart.
            yield self.topic, stamp, self.state(stamp, self.names[::-1], self.middle[::-1])
            yield self.topic, stamp, self.state(stamp, [self.gripper], [0.0])
            yield '/camera/image_raw', stamp, self.image(stamp, number)


class FarAway(FakeBackend):
    """Wants every joint ten radians further, at once, now up, now down."""

    def predict_action_chunk(self, observation, selector):
        answer = super().predict_action_chunk(observation, selector)
        sign = 1.0 if len(self.calls) % 2 else -1.0
        answer.actions[:, :len(observation.state)] = observation.state + 10.0 * sign
        return answer


@pytest.mark.parametrize('robot', NAMES)
def test_a_dry_replay_gives_chunks_within_the_robots_limits(robot, tmp_path):
    parameters, spec = parameters_of(robot), joint_policy(robot)
    arm, commands = Arm(parameters, frames=40), []
    with Bag(arm.write(tmp_path / 'bag')) as bag:
        result = run(bag, wire(bag, parameters, spec, None), FarAway(spec), parameters, robot,
                     on_tick=lambda tick, so_far: commands.append(tick.command))
    assert result.message == '' and result.diagnostics['drops'] == {}
    assert len(commands) >= 4
    low, high = np.array(parameters.position_low), np.array(parameters.position_high)
    speed, force = np.array(parameters.max_velocity), np.array(parameters.max_acceleration)
    for command in commands:
        assert command.names == parameters.joint_names
        assert (command.positions >= low - 1e-9).all() and (command.positions <= high + 1e-9).all()
        assert (np.abs(command.velocities) <= speed + 1e-9).all()
        change = np.diff(command.velocities, axis=0)
        seconds = np.diff(command.times_ns)[:, None] / SECOND
        assert (np.abs(change) <= force * seconds + 1e-6).all()
        assert not command.velocities[-1].any()  # every chunk ends at rest
        moved = np.abs(command.positions - arm.middle).max(axis=0)
        assert (moved > 0.001).all()  # and none stands still
