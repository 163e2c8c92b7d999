# SPDX-License-Identifier: Apache-2.0
"""Controllers that do what they are told in every cycle, on a robot that tracks absolutely."""
import threading

from geometry_msgs.msg import PoseStamped
import numpy as np
import pytest
import ros_helpers
from ros_helpers import FakeBackend, make_spec
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from vla_pruner_ros.ros.outputs.topic_sender import TopicSender

make_rig = ros_helpers.make_rig
SPEC = make_spec(action_kind='joint_position', action_names=('a', 'b'), gripper_index=None,
                 state_names=('a', 'b'), action_horizon=40)  # two seconds
PERIOD = 0.01


class Backend(FakeBackend):
    """Asks joint a for two units per second, ten times what the limit of these tests allows."""

    def predict_action_chunk(self, observation, selector):
        answer = super().predict_action_chunk(observation, selector)
        answer.actions[:, 0] = observation.state[0] + 0.1 * np.arange(1, 41)
        answer.actions[:, 1] = 0.0
        return answer


class Arm:
    """A rig whose robot is where the newest message says; keeps what was sent, in order."""

    def __init__(self, make_rig, monkeypatch, line, **parameters):
        self.sent = {False: [], True: []}  # to the robot, and to the topic of the dry run
        real = TopicSender.send

        def send(sender, message, dry_run, stop=False):
            self.sent[dry_run].append(message.data)
            real(sender, message, dry_run, stop)

        monkeypatch.setattr(TopicSender, 'send', send)
        self.rig = make_rig(Backend(SPEC), start=False, outputs=[line], pose_topic='',
                            **{'max_velocity': [0.2], 'max_acceleration': [2.0],
                               'execution_horizon': 4, **parameters})
        for topic in ('arm', 'dry_run/arm'):
            self.rig.robot._listen(Float64MultiArray, topic, 1000)
        self.rig.start()

    def feed(self):
        """Joint states of where it was told to be, and an image."""
        heard = self.rig.got['arm']
        state = JointState(name=['a', 'b'], position=list(heard[-1].data) if heard else [0.0, 0.0])
        state.header.stamp = self.rig.robot.stamp()
        self.rig.robot.joints.publish(state)
        self.rig.robot.images.publish(self.rig.robot.picture())

    def told(self):
        """Everything that was said to the robot so far (n, J)."""
        return np.array(self.sent[False]).reshape(-1, 2)

    @property
    def last(self):
        """What was said last about joint a; 0 before."""
        return self.sent[False][-1][0] if self.sent[False] else 0.0

    @property
    def stands(self):
        """Whether the last two messages say the same."""
        return len(self.sent[False]) > 1 and self.sent[False][-1][0] == self.sent[False][-2][0]

    def until(self, value):
        """Let it move, until it has been told more than this."""
        self.rig.until(lambda: self.last > value, self.feed)


def steps(told):
    return np.abs(np.diff(told[:, 0])).max()


def test_positions_come_at_the_rate_and_never_leave_the_limits(make_rig, monkeypatch):
    arm = Arm(make_rig, monkeypatch, f'arm=forward_position@{1 / PERIOD}')
    arm.until(0.25)
    told = arm.told()
    assert told[0, 0] == pytest.approx(0.0, abs=0.0021) and not told[:, 1].any()
    assert steps(told) <= 0.2 * PERIOD + 1e-9
    assert len(told) >= 0.25 / (0.2 * PERIOD)  # one message per cycle, not one per chunk


def test_deactivation_plays_the_braking_to_its_end_and_then_nothing(make_rig, monkeypatch):
    arm = Arm(make_rig, monkeypatch, f'arm=forward_position@{1 / PERIOD}')
    arm.until(0.1)
    before = len(arm.told())
    arm.rig.node.trigger_deactivate()
    told = arm.told()
    assert len(told) > before + 5  # 0.2 per second at 2 per second squared: a tenth of a second
    assert steps(told[before - 2:]) <= 0.2 * PERIOD + 1e-9
    assert told[-1, 0] == told[-2, 0] >= told[before - 1, 0]
    arm.rig.node.trigger_cleanup()
    assert len(arm.told()) == len(told)


@pytest.mark.parametrize('how', ['watchdog', 'failure', 'callback'])
def test_silence_and_failures_brake_and_hold(make_rig, monkeypatch, how):
    arm = Arm(make_rig, monkeypatch, f'arm=forward_position@{1 / PERIOD}')
    arm.until(0.1)
    if how == 'watchdog':
        assert arm.rig.set(watchdog_timeout=0.2).successful
    elif how == 'callback':
        session = arm.rig.node.session
        arm.rig.until(lambda: session.watchdog.silence_ns(session.now()) > 3e8)  # no image waits
        arm.rig.node.survive(ValueError('a bug'))
    else:
        arm.rig.backend.fail = RuntimeError('CUDA error')
        arm.rig.until(lambda: arm.rig.backend.fail is None, arm.feed)
    here = arm.last
    arm.rig.until(lambda: arm.stands)
    assert arm.last < here + 0.15  # the chunk leads further
    assert steps(arm.told()) <= 0.2 * PERIOD + 1e-9
    arm.until(arm.last + 0.05)  # and on it goes
    assert steps(arm.told()) <= 0.2 * PERIOD + 1e-9


def test_velocities_end_in_zero(make_rig, monkeypatch):
    arm = Arm(make_rig, monkeypatch, f'arm=forward_velocity@{1 / PERIOD}')
    arm.until(0.15)
    arm.rig.node.trigger_deactivate()
    told = arm.told()
    assert np.abs(told[:, 0]).max() <= 0.2 + 1e-9
    assert told[-1].tolist() == [0.0, 0.0]
    braking = told[np.nonzero(told[:, 0] > 0.15)[0][-1]:, 0]
    assert len(braking) >= 5  # braked, not cut off


def test_dry_run_tells_the_robot_nothing_and_switching_stops_it_first(make_rig, monkeypatch):
    arm = Arm(make_rig, monkeypatch, f'arm=forward_position@{1 / PERIOD}', dry_run=True)
    arm.rig.until(lambda: len(arm.sent[True]) > 20, arm.feed)
    assert arm.sent[False] == []
    assert arm.rig.set(dry_run=False).successful
    arm.until(0.1)
    assert arm.told()[0, 0] == pytest.approx(0.0, abs=0.01)  # where it is, not where dry run is
    dry = len(arm.sent[True])
    assert arm.rig.set(dry_run=True).successful
    arm.rig.until(lambda: len(arm.sent[True]) > dry + 20, arm.feed)
    assert arm.stands and steps(arm.told()) <= 0.2 * PERIOD + 1e-9


def test_a_stream_that_fails_stops_the_robot_and_is_said(make_rig, monkeypatch, capfd):
    arm = Arm(make_rig, monkeypatch, f'arm=forward_position@{1 / PERIOD}')
    arm.until(0.1)
    player = arm.rig.node.session.publishers._streams[0]._player
    real, broken = player.sample, []

    def sample(*args):
        if not broken:
            broken.append(1)
            raise ZeroDivisionError('a bug')
        return real(*args)
    monkeypatch.setattr(player, 'sample', sample)
    arm.rig.until(lambda: broken and arm.stands)
    assert 'a stream failed: ZeroDivisionError' in capfd.readouterr().err
    arm.until(arm.last + 0.05)


def test_no_thread_of_a_stream_stays_behind(make_rig, monkeypatch):
    arm = Arm(make_rig, monkeypatch, 'arm=forward_position@200')
    assert any(one.name == 'plan stream' for one in threading.enumerate())
    arm.rig.node.trigger_deactivate()
    arm.rig.node.trigger_cleanup()
    assert not any(one.name == 'plan stream' for one in threading.enumerate())


def test_a_pose_stream_follows_the_chunk_in_the_base_frame(make_rig):
    rig = make_rig(start=False, outputs=['hand=pose@50'], base_frame='world')
    for topic in ('hand', 'dry_run/hand'):
        rig.robot._listen(PoseStamped, topic, 100)
    rig.start()
    poses = rig.got['hand']
    rig.until(lambda: poses and poses[-1].pose.position.x > 0.11, rig.robot.send)
    assert poses[0].header.frame_id == 'world'
    assert poses[0].pose.position.x == pytest.approx(0.1, abs=0.011)
    last = poses[-1].pose
    assert (last.position.y, last.position.z, last.orientation.w) == pytest.approx((0.2, 0.3, 1.0))


@pytest.mark.parametrize('outputs, said', [
    (['arm=forward_position@0'], "'arm=forward_position@0' with the rate '0'"),
    (['arm=twist'], 'cannot feed twist; accepted: joint_trajectory'),
    (['arm=joint_trajectory#0-2'], "the column '0-2'; accepted: 0 (a), 1 (b)"),
    (['x=joint_trajectory:~/x#0', 'y=joint_trajectory:pruned_policy/x#1'], '/pruned_policy/x')])
def test_lines_that_cannot_be_used_fail_the_configuration_and_leave_nothing(make_rig, outputs,
                                                                            said):
    rig = make_rig(Backend(SPEC), start=False, pose_topic='', outputs=outputs)
    rig.node.trigger_configure()
    assert rig.node.state == 'unconfigured' and said in rig.node.facts()['failure']
    assert rig.set(outputs=['arm=forward_position']).successful
    rig.node.trigger_configure()
    assert rig.node.state == 'inactive'


def test_an_action_of_the_watchdog_that_would_not_end_a_motion_is_refused_live(make_rig,
                                                                                monkeypatch):
    arm = Arm(make_rig, monkeypatch, 'arm=forward_velocity')
    answer = arm.rig.set(watchdog_action='none')
    assert not answer.successful and 'accepted: hold, zero' in answer.reason
