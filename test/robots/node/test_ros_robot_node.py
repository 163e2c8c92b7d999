# SPDX-License-Identifier: Apache-2.0
"""The node ``sim_robot`` over real topics, with the real simulator."""
import json
import time

from geometry_msgs.msg import PoseStamped, TwistStamped
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.node.robot_messages import LATCHED, SENSOR
from vla_pruner_ros.robots.node.robot_node import SimNode, STEP_NS
from vla_pruner_ros.ros import message_encoding as messages

DEADLINE = 30.0  # seconds


def ns(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


class Rig:
    """The node, and somebody who listens and sends chunks, in two contexts of one process."""

    def __init__(self, compressed=False, **parameters):
        self.contexts = [Context(), Context()]
        for context in self.contexts:
            rclpy.init(context=context)
        self.me = rclpy.create_node('tester', context=self.contexts[1])
        self.got = {}
        kinds = {'/camera/image_raw': Image, '/joint_states': JointState, '/ee_pose': PoseStamped}
        if compressed:
            kinds['/camera/image_raw/compressed'] = CompressedImage
        for topic, kind in kinds.items():
            self.listen(kind, topic, SENSOR)
        self.listen(String, '/instruction', 1)
        self.listen(String, '/sim_robot/episode', LATCHED)
        self.poses = self.me.create_publisher(MultiDOFJointTrajectory,
                                              '/pruned_policy/ee_trajectory', 1)
        self.gripper = self.me.create_publisher(JointTrajectory,
                                                '/pruned_policy/gripper_command', 1)
        values = {'lock_step': True, 'seed': 3, 'autostart': False, 'image_size': 64,
                  **parameters}
        self.node = SimNode(context=self.contexts[0], parameter_overrides=[
            Parameter(name, value=value) for name, value in values.items()])
        self.executors = [SingleThreadedExecutor(context=context) for context in self.contexts]
        self.executors[0].add_node(self.node)
        self.executors[1].add_node(self.me)
        self.resets = self.me.create_client(Trigger, '/sim_robot/reset')
        self.until(self.resets.service_is_ready)
        follows_twists = values.get('controller') == 'servo'
        self.until(lambda: (follows_twists or self.poses.get_subscription_count())
                   and self.gripper.get_subscription_count()
                   and all(publisher.get_subscription_count()
                           for publisher in self.node.publishers
                           if publisher.topic_name in self.got))

    def listen(self, kind, topic, qos):
        box = self.got.setdefault(topic, [])
        self.me.create_subscription(kind, topic, box.append, qos)

    def until(self, predicate):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if predicate():
                return
            for executor in self.executors:
                executor.spin_once(timeout_sec=0.005)
        raise AssertionError(f'not within {DEADLINE} s; episode {self.episode}')

    @property
    def episode(self):
        box = self.got['/sim_robot/episode']
        return json.loads(box[-1].data) if box else {}

    @property
    def images(self):
        return self.got['/camera/image_raw']

    def reset(self):
        future = self.resets.call_async(Trigger.Request())
        self.until(future.done)
        return future.result()

    def moment(self, after=0):
        """Wait for an image and its pose; return (stamp, height of the hand, image bytes)."""
        def stamps():
            return [ns(self.got[topic][-1].header.stamp) if self.got[topic] else 0
                    for topic in ('/camera/image_raw', '/ee_pose')]
        self.until(lambda: stamps()[0] == stamps()[1] > after)
        return (stamps()[0], self.got['/ee_pose'][-1].pose.position.z,
                bytes(self.images[-1].data))

    def answer(self, deltas, opening=1.0, stamp=None):
        """Send a chunk that answers the newest image (or ``stamp``)."""
        stamp = ns(self.images[-1].header.stamp) if stamp is None else stamp
        place = self.got['/ee_pose'][-1].pose.position
        rows = np.zeros((len(deltas) + 1, 7))
        rows[0, :3] = place.x, place.y, place.z
        rows[:, 6] = 1
        rows[1:, :3] = rows[0, :3] + np.cumsum(deltas, axis=0)
        times = [stamp + index * STEP_NS for index in range(len(rows))]
        self.poses.publish(messages.pose_trajectory(rows, times, stamp, 'base', 'end_effector'))
        self.gripper.publish(messages.joint_trajectory(
            ['gripper'], np.full((len(rows), 1), opening), times, stamp))

    def close(self):
        for executor in self.executors:
            executor.shutdown()
        self.node.close()
        self.me.destroy_node()
        for context in self.contexts:
            context.try_shutdown()


@pytest.fixture
def rig(request):
    made = []

    def make(**parameters):
        made.append(Rig(**parameters))
        return made[-1]
    yield make
    for one in made:
        one.close()


def test_image_joints_and_pose_of_one_moment_carry_the_same_stamp(rig):
    sim = rig()
    assert sim.reset().success
    sim.until(lambda: all(sim.got[topic] for topic in
                          ('/camera/image_raw', '/joint_states', '/ee_pose', '/instruction')))
    image, joints, pose = (sim.got[topic][0] for topic in
                           ('/camera/image_raw', '/joint_states', '/ee_pose'))
    assert ns(image.header.stamp) == ns(joints.header.stamp) == ns(pose.header.stamp) > 0
    assert (image.encoding, image.width, image.step, len(image.data)) == ('rgb8', 64, 192, 12288)
    assert np.frombuffer(image.data, np.uint8).std() > 10
    assert list(joints.name)[:7] == [f'right_j{index}' for index in range(7)]
    assert joints.name[-1] == 'gripper' and 0 <= joints.position[-1] <= 1
    turn = pose.pose.orientation
    assert np.hypot(np.hypot(turn.x, turn.y), np.hypot(turn.z, turn.w)) == pytest.approx(1)
    assert sim.got['/instruction'][0].data == 'reach the red ball'


def test_lock_step_executes_the_chunk_and_advances_the_stamp_by_simulated_time(rig):
    sim = rig(execution_horizon=3)
    sim.reset()
    first, before, _ = sim.moment()
    sim.answer([(0.0, 0.0, 0.03)] * 8)
    then, after, _ = sim.moment(after=first)
    assert then == first + 3 * STEP_NS
    assert after > before + 0.01  # the hand follows its target with a lag
    sim.until(lambda: sim.episode['steps'])
    assert sim.episode['steps'] == 3 and sim.episode['chunks_accepted'] == 1
    assert sim.episode['first_stamp_ns'] == first  # tells late words of an earlier episode


def test_lock_step_waits_and_sends_the_same_observation_again(rig):
    sim = rig(resend_period=0.05)
    sim.reset()
    sim.until(lambda: len(sim.images) >= 3)
    assert len({ns(image.header.stamp) for image in sim.images[:3]}) == 1
    assert sim.episode['steps'] == 0


def test_bad_chunks_are_refused_counted_and_followed_by_good_ones(rig):
    sim = rig(resend_period=60.0)
    sim.reset()
    sim.moment()
    sim.answer([(float('nan'), 0.0, 0.0)] * 2)
    sim.until(lambda: sim.episode['chunks_refused'].get('not_finite') == 1)
    sim.answer([(0.0, 0.0, 0.0)] * 2, stamp=ns(sim.images[-1].header.stamp) - STEP_NS)
    sim.until(lambda: sim.episode['chunks_refused'].get('other_stamp'))
    assert sim.episode['steps'] == 0
    sim.answer([(0.0, 0.0, 0.01)] * 2)
    sim.until(lambda: sim.episode['steps'] == 2)


def test_the_same_seed_and_chunks_give_the_same_images(rig):
    sim, seen, stamp = rig(), [], 0
    for _ in range(2):
        sim.node.set_parameters([Parameter('seed', value=11)])
        sim.reset()
        stamp, _, first = sim.moment(after=stamp)
        sim.answer([(0.01, 0.0, -0.01)] * 4)
        stamp, _, second = sim.moment(after=stamp)
        assert first != second
        seen.append((first, second))
    assert seen[0] == seen[1]


def test_reset_counts_the_seed_up_and_a_new_task_brings_its_instruction(rig):
    sim = rig(seed=7)
    assert [json.loads(sim.reset().message)['seed'] for _ in range(2)] == [7, 8]
    refused = sim.node.set_parameters([Parameter('task', value='juggle-v3')])[0]
    assert not refused.successful
    assert 'juggle-v3' in refused.reason and 'reach-v3' in refused.reason
    assert sim.node.set_parameters([Parameter('task', value='drawer-open-v3')])[0].successful
    assert json.loads(sim.reset().message)['task'] == 'drawer-open-v3'
    sim.until(lambda: [one.data for one in sim.got['/instruction']][-1:] == [
        'open the green drawer'])


def test_jpeg_is_made_for_whoever_listens_and_decodes_to_the_raw_image(rig):
    import cv2
    sim = rig(compressed=True)
    sim.reset()
    sim.until(lambda: sim.got['/camera/image_raw/compressed'] and sim.images)
    message = sim.got['/camera/image_raw/compressed'][0]
    picture = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    raw = np.frombuffer(sim.images[0].data, np.uint8).reshape(64, 64, 3)
    assert ns(message.header.stamp) == ns(sim.images[0].header.stamp)
    assert np.abs(picture.astype(int) - raw).mean() < 6  # swapped channels would differ by 20


def test_real_time_publishes_without_chunks_and_follows_one_by_its_times(rig):
    sim = rig(lock_step=False, autostart=True)
    sim.until(lambda: len(sim.images) >= 3)
    assert len({ns(image.header.stamp) for image in sim.images}) == len(sim.images)
    _, before, _ = sim.moment()
    # The test machine may be busy: a chunk that covers the next seconds must be met in time.
    sim.answer([(0.0, 0.0, 0.004)] * 60)
    sim.until(lambda: sim.got['/ee_pose'][-1].pose.position.z > before + 0.03)
    assert sim.episode['chunks_refused'] == {}


@pytest.mark.parametrize('controller', ['jtc', 'servo'])
def test_the_chosen_controller_moves_the_robot_and_refuses_by_its_own_rules(rig, controller):
    sim = rig(lock_step=False, autostart=True, controller=controller)
    _, before, _ = sim.moment()
    sim.until(lambda: sim.episode)
    assert sim.episode['controller'] == controller
    if controller == 'servo':
        twists = sim.me.create_publisher(TwistStamped, '/pruned_policy/twist', 10)

        def rises():
            twists.publish(messages.twist((0.0, 0.0, 0.2, 0.0, 0.0, 0.0),
                                          sim.me.get_clock().now().nanoseconds, 'base'))
            return sim.got['/ee_pose'][-1].pose.position.z > before + 0.02
        sim.until(rises)
        return
    sim.answer([(0.0, 0.0, 0.004)] * 60)
    sim.until(lambda: sim.got['/ee_pose'][-1].pose.position.z > before + 0.02)
    sim.answer([(0.0, 0.0, 0.0)], stamp=ns(sim.images[0].header.stamp))
    sim.until(lambda: sim.episode['chunks_refused'].get('past'))


def test_auto_reset_begins_the_next_episode(rig):
    sim = rig(lock_step=False, autostart=True, auto_reset=True, rate=100.0)
    sim.until(lambda: sim.episode.get('episode') == 2)
    assert sim.episode['seed'] == 4


def test_an_unknown_task_or_a_viewer_without_a_screen_is_a_clear_error(monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    context = Context()
    rclpy.init(context=context)
    try:
        for values, words in (({'task': 'fly'}, 'known tasks: reach-v3'),
                              ({'viewer': True}, 'set viewer to false')):
            with pytest.raises(ConfigError, match=words):
                SimNode(context=context, parameter_overrides=[
                    Parameter(name, value=value) for name, value in values.items()])
    finally:
        context.try_shutdown()
