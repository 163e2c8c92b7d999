# SPDX-License-Identifier: Apache-2.0
"""A two-camera robot and its policy over real topics in lock step: both nodes, nothing trained."""
from fakes import FakeBackend, make_spec
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from sim_fakes import DEADLINE, FakeRobot, instruction_of, Listener, make_fake, spin_until
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_pruner_ros.core.types import CameraSpec
from vla_pruner_ros.robots.camera_topics import camera_topics, cameras_of, image_topic
from vla_pruner_ros.robots.episode_world import World
from vla_pruner_ros.robots.node import robot_node as sim_node
from vla_pruner_ros.robots.node.robot_messages import SENSOR
from vla_pruner_ros.robots.node.robot_node import SimNode
from vla_pruner_ros.robots.robot_for_task import make_robot
from vla_pruner_ros.ros.policy_node import PolicyNode

TWO = make_spec(cameras=(CameraSpec('front', 8, 8), CameraSpec('wrist', 8, 8)))
TOPICS = [image_topic(camera) for camera in ('front', 'wrist')]
ANSWERS = ('/pruned_policy/ee_trajectory', '/pruned_policy/gripper_command')


def overrides(**values):
    return [Parameter(name, value=value) for name, value in values.items()]


def fake_world(image_size, viewer):
    return World(image_size, viewer, make=make_fake)


@pytest.fixture
def make_sim():
    """Build a robot node and somebody who listens, in two contexts."""
    made = []

    def make(world=fake_world, topics=TOPICS, before=lambda node: None, **parameters):
        listener = Listener({topic: (Image, SENSOR) for topic in topics})
        before(listener.node)
        context = Context()
        rclpy.init(context=context)
        node = SimNode(world, context=context, parameter_overrides=overrides(**{
            'task': 'reach-colour', 'seed': 4, 'lock_step': True, 'autostart': False,
            'image_size': 16, **parameters}))
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        made.append((listener, node, context, executor))
        listener.connect(node, [executor])
        return node, listener
    yield make
    for listener, node, context, executor in made:
        executor.shutdown()
        node.close()
        context.try_shutdown()
        listener.close()


def test_every_camera_has_its_topic_and_all_images_of_a_moment_one_stamp(make_sim):
    _, seen = make_sim()
    status = seen.reset()
    assert (status['task'], status['cameras']) == ('reach-colour', ['front', 'wrist'])
    seen.until(lambda: all(seen.got[topic] for topic in TOPICS) and seen.got['/joint_states']
               and seen.got['/instruction'])
    front, wrist = (seen.got[topic][0] for topic in TOPICS)
    assert front.header.stamp == wrist.header.stamp == seen.got['/joint_states'][0].header.stamp
    assert (front.header.frame_id, wrist.header.frame_id) == ('front', 'wrist')
    assert (front.data[0], wrist.data[0]) == (FakeRobot.FRONT - 4, FakeRobot.WRIST)
    assert list(seen.got['/joint_states'][0].name) == ['slide', 'gripper']
    assert [one.data for one in seen.got['/instruction']] == [instruction_of(4)]


def test_the_first_image_follows_the_instruction_and_the_answer_to_the_reset(make_sim):
    events = []

    def policy(node):
        def on_reset(request, response):
            events.append('reset')
            response.success = True
            return response
        node.create_service(Trigger, '/pruned_policy/reset', on_reset)
        node.create_subscription(String, '/instruction',
                                 lambda message: events.append(message.data), 1)
        node.create_subscription(Image, TOPICS[0], lambda message: events.append('image'), SENSOR)

    sim, seen = make_sim(before=policy, resend_period=60.0)
    seen.until(lambda: sim._policy_reset.service_is_ready() and all(
        publisher.get_subscription_count() >= 2 for publisher in sim.publishers
        if publisher.topic_name in ('/instruction', TOPICS[0])))
    for seed in (4, 5, 6):
        events.clear()
        sim._start()
        # As long as the policy's executor is busy with something else there is no image.
        spin_until(seen.executors[1:], lambda: sim._observation or sim._waited_s > 0.15, DEADLINE)
        assert sim._observation is None
        seen.until(lambda: 'image' in events)
        assert events == [instruction_of(seed), 'reset', 'image']


def test_a_policy_that_never_answers_its_reset_is_not_waited_for_for_ever(make_sim, monkeypatch):
    monkeypatch.setattr(sim_node, 'FORGET_PATIENCE', 0.2)
    deaf = Context()
    rclpy.init(context=deaf)
    try:
        node = rclpy.create_node('pruned_policy', context=deaf)
        node.create_service(Trigger, '/pruned_policy/reset', lambda request, response: response)
        sim, seen = make_sim()
        seen.until(lambda: sim._policy_reset.service_is_ready())
        seen.reset()
        seen.until(lambda: all(seen.got[topic] for topic in TOPICS))  # nobody spins the service
        node.destroy_node()
    finally:
        deaf.try_shutdown()


def test_real_time_ignores_a_chunk_computed_for_the_episode_before(make_sim):
    sim, seen = make_sim(lock_step=False)
    seen.reset()
    seen.until(lambda: seen.got[TOPICS[0]])
    old = seen.stamp(TOPICS[0])
    seen.reset()
    seen.until(lambda: seen.got[TOPICS[0]][-1].data[0] == FakeRobot.FRONT - 5)
    seen.send_chunk(old, [-0.002] * 60)
    seen.send_chunk(seen.stamp(TOPICS[0]), [0.002] * 60)
    seen.until(lambda: sim.world.robot.x > 0.005)
    assert sim.world.accepted == 1 and sim.world.status()['chunks_refused'] == {}


def test_another_task_may_bring_another_robot_with_other_cameras(make_sim):
    sim, seen = make_sim()

    def topics():
        return {one.topic_name for one in sim.publishers if one.topic_name.startswith('/camera')}

    seen.reset()
    first = sim.world.robot
    assert topics() == {*TOPICS, *(f'{topic}/compressed' for topic in TOPICS)}
    for task, cameras in (('reach-v3', ['corner']), ('reach-colour', ['front', 'wrist'])):
        sim.set_parameters(overrides(task=task))
        assert seen.reset()['cameras'] == cameras
        assert topics() == {name for camera in cameras for name in
                            (image_topic(camera), f'{image_topic(camera)}/compressed')}
    assert first.closed == 1 and sim.world.robot is not first


class Loop:
    """Robot node and policy node, each in its own context, driven through services."""

    def __init__(self, backend, **robot):
        self.contexts = [Context(), Context()]
        for context in self.contexts:
            rclpy.init(context=context)
        self.sim = SimNode(fake_world, context=self.contexts[0], parameter_overrides=overrides(
            **{'task': 'reach-colour', 'seed': 4, 'lock_step': True, 'autostart': False,
               'image_size': 16, 'execution_horizon': 1, **robot}))
        self.policy = PolicyNode(lambda parameters: backend, context=self.contexts[1],
                                 parameter_overrides=overrides(
            camera_topics=camera_topics(('front', 'wrist')), lock_step=True, pruner='none',
            token_budget=0, execution_horizon=1, autostart=False))
        self.executors = []
        for context, node in zip(self.contexts, (self.sim, self.policy)):
            self.executors.append(SingleThreadedExecutor(context=context))
            self.executors[-1].add_node(node)
        self.policy.trigger_configure()
        self.policy.trigger_activate()
        needed = {*TOPICS, '/joint_states', '/ee_pose', '/instruction'}
        self.until(lambda: all(one.get_subscription_count() for one in self.sim.publishers
                               if one.topic_name in needed)
                   and self.sim._policy_reset.service_is_ready()
                   and all(one.get_subscription_count() for one in self.policy.publishers
                           if one.topic_name in ANSWERS))

    def until(self, predicate):
        spin_until(self.executors, predicate, DEADLINE)

    def close(self):
        for executor in self.executors:
            executor.shutdown()
        self.sim.close()
        self.policy._teardown()
        self.policy.destroy_node()
        for context in self.contexts:
            context.try_shutdown()


@pytest.fixture
def make_loop():
    loops = []

    def make(*args, **kwargs):
        loops.append(Loop(*args, **kwargs))
        return loops[-1]
    yield make
    for loop in loops:
        loop.close()


def seen_by_policy(backend):
    """(seed, step by the wrist camera, step by the hand, instruction) per call after warm-up."""
    rows = []
    for one in backend.calls:
        front, wrist = (int(one.images[camera][0, 0, 0]) for camera in ('front', 'wrist'))
        if front > 200:  # the warm-up shows noise of mean grey
            rows.append((FakeRobot.FRONT - front, wrist - FakeRobot.WRIST,
                         one.state[0], one.instruction))
    return rows


def test_both_cameras_and_the_instruction_of_the_episode_reach_the_policy_in_lock_step(make_loop):
    backend = FakeBackend(TWO)
    backend.value = 0.008  # 4 steps of 8 mm to the target at 30 mm
    loop = make_loop(backend, auto_reset=True)
    backend.calls.clear()
    results = []
    ended = loop.sim._ended

    def note():
        results.append(loop.sim.world.status())
        ended()
    loop.sim._ended = note
    loop.sim._start()
    loop.until(lambda: len(results) >= 3)
    assert [(one['seed'], one['steps'], one['success']) for one in results[:3]] == [
        (4, 4, True), (5, 4, True), (6, 4, True)]
    rows = seen_by_policy(backend)[:12]
    assert [(seed, step) for seed, step, _, _ in rows] == [
        (seed, step) for seed in (4, 5, 6) for step in range(4)]
    assert np.allclose([x for _, _, x, _ in rows], [0.0, 0.008, 0.016, 0.024] * 3)
    assert [told for _, _, _, told in rows] == [
        instruction_of(seed) for seed in (4, 5, 6) for _ in range(4)]
    assert len({told for _, _, _, told in rows}) == 2


def test_the_policys_status_counts_tokens_of_both_cameras(make_loop):
    loop = make_loop(FakeBackend(TWO))
    loop.sim._start()
    loop.until(lambda: loop.policy.session.last_step)
    facts = loop.policy.facts()
    assert facts['last_step']['kept'] == [16, 16] and facts['last_step']['tokens_per_image'] == 16
    assert {role: one['topic'] for role, one in facts['cameras'].items()} == dict(
        zip(('front', 'wrist'), TOPICS))


def test_a_policy_for_other_cameras_says_which_ones_it_needs():
    context = Context()
    rclpy.init(context=context)
    try:
        node = PolicyNode(lambda parameters: FakeBackend(TWO), context=context,
                          parameter_overrides=overrides(autostart=False))
        node.trigger_configure()
        assert "roles ['corner']" in node.facts()['failure']
        assert "exactly ['front', 'wrist']" in node.facts()['failure']
        node.destroy_node()
    finally:
        context.try_shutdown()


def test_the_tabletop_shows_both_cameras_and_tells_the_instruction_of_each_seed(make_sim):
    """The real scene; then Meta-World's robot in the same process, and back."""
    pytest.importorskip('mujoco')
    sim, seen = make_sim(world=World, image_size=64, seed=900_000)
    told = []
    for _ in range(4):
        status = seen.reset()
        assert status['instruction'] == sim.world.robot.instruction
        told.append(status['instruction'])
        seen.until(lambda: [one.data for one in seen.got['/instruction']][-1:] == told[-1:]
                   and all(len(seen.got[topic]) >= len(told) for topic in TOPICS))
    assert len(set(told)) > 1 and all('{' not in words for words in told)
    pictures = [np.frombuffer(seen.got[topic][0].data, np.uint8) for topic in TOPICS]
    assert all(one.size == 64 * 64 * 3 and one.std() > 10 for one in pictures)
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 10
    names = list(seen.got['/joint_states'][0].name)
    assert names == [*sim.world.robot.joint_names, 'gripper'] and len(set(names)) == len(names)
    turn = seen.got['/ee_pose'][0].pose.orientation
    assert np.hypot(np.hypot(turn.x, turn.y), np.hypot(turn.z, turn.w)) == pytest.approx(1)
    pytest.importorskip('metaworld')
    for task, cameras in (('reach-v3', ['corner']), ('reach-colour', ['front', 'wrist'])):
        sim.set_parameters(overrides(task=task))
        assert seen.reset()['cameras'] == cameras
        before = [len(seen.got[topic]) for topic in TOPICS]
        seen.until(lambda: sim._observation is not None)
    seen.until(lambda: all(len(seen.got[topic]) > count for topic, count in zip(TOPICS, before)))


@pytest.mark.parametrize('task', ['reach-v3', 'reach-colour'])
def test_the_fake_has_nothing_that_the_real_robots_lack(task):
    pytest.importorskip('metaworld' if task.endswith('-v3') else 'mujoco')
    fake, real = FakeRobot(task, 0, 16), make_robot(task, 0, 16)
    own = {'x', 'time', 'closed', 'FRONT', 'WRIST'}
    assert not {name for name in dir(fake) if name[0] != '_'} - own - set(dir(real))
    assert tuple(fake.cameras) == tuple(real.cameras) == cameras_of(task)
    real.close()
