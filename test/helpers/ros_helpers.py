# SPDX-License-Identifier: Apache-2.0
"""A policy node with a fake policy, and a robot beside it, in two contexts of one process.

No waiting by time: ``Rig.until`` spins both sides until something is true, and silence is proved
by a message that was sent later and has already arrived.  Each rig has its own namespace: others
may still see the endpoints of a node that has just gone.
"""
from collections.abc import Callable
import json
import os
import time
from typing import Any

os.environ['ROS_DOMAIN_ID'] = os.environ.get('VLA_PRUNER_TEST_DOMAIN', '71')
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from fakes import FakeBackend, make_spec  # noqa: E402
from geometry_msgs.msg import PoseStamped, TwistStamped  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from rcl_interfaces.srv import SetParameters, SetParametersAtomically  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    qos_profile_sensor_data,
    QoSProfile,
    ReliabilityPolicy,
)
from sensor_msgs.msg import CompressedImage, Image, JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory  # noqa: E402

from vla_pruner_ros.ros.policy_node import PolicyNode  # noqa: E402

DEADLINE = 20.0  # seconds
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Long limits: a busy test machine must not look like a stale camera.
DEFAULTS: dict[str, Any] = {
    'pruner': 'none', 'token_budget': 0, 'camera_topics': ['corner=camera/image_raw'],
    'joint_state_topic': 'joint_states', 'pose_topic': 'ee_pose',
    'instruction_topic': 'instruction',
    'instruction': 'reach', 'max_image_age': 5.0, 'max_skew': 1.0, 'max_gap': 60.0,
    'watchdog_timeout': 60.0, 'execution_horizon': 1, 'autostart': False, 'status_rate': 20.0,
    'lock_step': False}
COMMANDS = {'ee_trajectory': MultiDOFJointTrajectory, 'gripper_command': JointTrajectory,
            'action_chunk': JointTrajectory, 'twist': TwistStamped}




def place(message: Any) -> tuple[float, float, float]:
    """Where an end-effector trajectory ends."""
    end = message.points[-1].transforms[0].translation
    return end.x, end.y, end.z


def is_hold(message: Any) -> bool:
    """Whether a trajectory ends with the robot being held: two equal points."""
    return len(message.points) > 1 and (
        message.points[-1].transforms[0] == message.points[-2].transforms[0])


class Robot:
    """Publishes sensors with stamps of now and keeps everything it is told."""

    def __init__(self, context: Context, namespace: str, compressed: bool = False):
        self.node = rclpy.create_node('robot', context=context, namespace=namespace)
        make = self.node.create_publisher
        self.images = make(CompressedImage if compressed else Image,
                           'camera/image_raw' + ('/compressed' if compressed else ''),
                           qos_profile_sensor_data)
        self.joints = make(JointState, 'joint_states', qos_profile_sensor_data)
        self.poses = make(PoseStamped, 'ee_pose', qos_profile_sensor_data)
        self.instructions = make(String, 'instruction', 1)
        self.got: dict[str, list[Any]] = {}
        for name, kind in COMMANDS.items():
            for topic in (name, f'dry_run/{name}'):
                self._listen(kind, topic, QoSProfile(depth=100))
        self._listen(DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
        self._listen(String, 'status', QoSProfile(
            depth=100, reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL))

    def _listen(self, kind: Any, topic: str, profile: QoSProfile) -> None:
        box = self.got.setdefault(topic, [])
        full = topic if topic.startswith('/') else f'pruned_policy/{topic}'
        self.node.create_subscription(kind, full, box.append, profile)

    def stamp(self, age: float = 0.0) -> Any:
        """Stamp ``age`` seconds ago."""
        from rclpy.duration import Duration
        return (self.node.get_clock().now() - Duration(seconds=age)).to_msg()

    def send_state(self, gripper: float = 0.5, name: str = 'gripper',
                   stamp: Any | None = None) -> None:
        """Pose (0.1, 0.2, 0.3) and one joint."""
        pose = PoseStamped()
        pose.header.stamp = stamp or self.stamp()
        position = pose.pose.position
        position.x, position.y, position.z = 0.1, 0.2, 0.3
        self.poses.publish(pose)
        self.joints.publish(JointState(header=pose.header, name=[name], position=[gripper]))

    def send(self, image: Any | None = None, age: float | None = None, **state: Any) -> None:
        """One moment: state (of the image's stamp, or ``age`` seconds old), then image."""
        image = image if image is not None else self.picture()
        self.send_state(stamp=image.header.stamp if age is None else self.stamp(age), **state)
        self.images.publish(image)

    def picture(self, value: int = 255, size: int = 8, encoding: str = 'rgb8', pad: int = 0,
                age: float = 0.0) -> Image:
        """A grey square; ``pad`` adds bytes of 7 to each row."""
        row = bytes([value]) * (3 * size) + bytes([7]) * pad
        message = Image(height=size, width=size, encoding=encoding, step=3 * size + pad)
        message.header.stamp = self.stamp(age)
        message.data = row * size
        return message


class Rig:
    """Node and robot, spun by the test's own thread."""

    count = 0
    deadline = DEADLINE

    def __init__(self, backend: FakeBackend | None = None, load: Any | None = None,
                 compressed: bool = False, **parameters: Any):
        Rig.count += 1
        self.namespace = f'/rig_{os.getpid()}_{Rig.count}'
        self.backend = backend or FakeBackend()
        self.contexts = [Context(), Context()]
        for context in self.contexts:
            rclpy.init(context=context)
        values = {**DEFAULTS, **parameters}
        self.node = PolicyNode(
            load or (lambda snapshot: self.backend), context=self.contexts[0],
            namespace=self.namespace,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
        self.robot = Robot(self.contexts[1], self.namespace, compressed)
        self.executors = [SingleThreadedExecutor(context=context) for context in self.contexts]
        self.executors[0].add_node(self.node)
        self.executors[1].add_node(self.robot.node)
        self.got = self.robot.got

    def start(self) -> None:
        """Configure, activate and connect."""
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.connect()

    def connect(self) -> None:
        """Spin until the robot and the node have found each other."""
        robot = self.robot
        live = self.node.live.snapshot
        publishers = [robot.images, robot.instructions]
        publishers += [robot.joints] if live.joint_state_topic else []
        publishers += [robot.poses] if live.pose_topic else []
        topics = [publisher.topic_name for publisher in self.node.publishers
                  if '/pruned_policy/' in publisher.topic_name
                  and not publisher.topic_name.endswith(('overlay', 'transition_event'))]
        self.until(lambda: all(one.get_subscription_count() for one in publishers)
                   and all(robot.node.count_publishers(topic) for topic in topics)
                   and all(publisher.get_subscription_count() for publisher in self.node.publishers
                           if publisher.topic_name in topics))

    def spin(self) -> None:
        """Let both sides work for a moment."""
        for executor in self.executors:
            executor.spin_once(timeout_sec=0.005)

    def until(self, predicate: Callable[[], Any], feed: Callable[[], Any] | None = None) -> Any:
        """Spin (and ``feed`` now and then) until the predicate is true; return its value."""
        end, next_feed = time.monotonic() + self.deadline, 0.0
        while time.monotonic() < end:
            value = predicate()
            if value:
                return value
            if feed is not None and time.monotonic() >= next_feed:
                feed()
                next_feed = time.monotonic() + 0.06
            self.spin()
        raise AssertionError(f'not within {self.deadline} s; last status: {self.status()}')

    def status(self) -> dict[str, Any]:
        """Newest status as a dictionary."""
        newest = json.loads(self.got['status'][-1].data) if self.got['status'] else {}
        return {'last_step': {}, 'resets': {}, **newest}

    def diagnostics(self) -> dict[str, str]:
        """Newest diagnostics: key -> text, plus ``level`` and ``message``."""
        name = f'{self.namespace[1:]}/pruned_policy: policy'
        ours = [one for array in self.got['/diagnostics'] for one in array.status
                if one.name == name]
        if not ours:
            return {'message': '', 'reason': 'none yet'}
        status = ours[-1]
        return {**{one.key: one.value for one in status.values}, 'level': str(status.level[0]),
                'message': status.message}

    def commands(self) -> int:
        """Commands received so far on the robot's topics (twists not counted)."""
        return sum(len(self.got[name]) for name in ('ee_trajectory', 'action_chunk'))

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service of the node."""
        client = self.robot.node.create_client(kind, f'pruned_policy/{name}')
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        self.robot.node.destroy_client(client)
        return future.result()

    def flow(self, **send: Any) -> Any:
        """Send until one more command has come; return that command."""
        before = self.commands()
        self.until(lambda: self.commands() > before, lambda: self.robot.send(**send))
        return (self.got['ee_trajectory'] or self.got['action_chunk'])[-1]

    def set(self, atomically: bool = False, **values: Any) -> Any:
        """Set parameters through the service; return the result (or the list of results)."""
        messages = [Parameter(name, value=value).to_parameter_msg()
                    for name, value in values.items()]
        if atomically:
            return self.call(SetParametersAtomically, 'set_parameters_atomically',
                             SetParametersAtomically.Request(parameters=messages)).result
        return self.call(SetParameters, 'set_parameters',
                         SetParameters.Request(parameters=messages)).results[0]

    def reset(self) -> Any:
        """Call ``~/reset``."""
        return self.call(Trigger, 'reset', Trigger.Request())

    def close(self) -> None:
        """Take everything down."""
        for executor in self.executors:
            executor.shutdown()
        self.node._teardown()
        self.node.destroy_node()
        self.robot.node.destroy_node()
        for context in self.contexts:
            context.try_shutdown()


@pytest.fixture
def make_rig():
    """Build rigs that are closed after the test."""
    rigs: list[Rig] = []

    def make(*args: Any, start: bool = True, **kwargs: Any) -> Rig:
        rigs.append(Rig(*args, **kwargs))
        if start:
            rigs[-1].start()
        return rigs[-1]
    yield make
    for rig in rigs:
        rig.close()


class BudgetBackend(FakeBackend):
    """Keeps the first ``budget`` tokens, as a pruned policy would."""

    def predict_action_chunk(self, observation: Any, selector: Any) -> Any:
        answer = super().predict_action_chunk(observation, selector)
        kept = tuple(np.arange(selector.budget) for _ in self.spec.cameras)
        return type(answer)(answer.actions, kept, answer.stages_ms, answer.flops)


JOINT_SPEC = make_spec(action_kind='joint_position', state_names=('j1', 'j2'),
                       action_names=('j1', 'j2'), gripper_index=None)
