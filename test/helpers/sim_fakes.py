# SPDX-License-Identifier: Apache-2.0
"""A robot on a line that tells by its pictures which episode and step it shows; a listener."""
from collections.abc import Callable, Sequence
import json
import time
from types import SimpleNamespace
from typing import Any

from geometry_msgs.msg import PoseStamped
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from vla_pruner_ros.robots.node.robot_messages import LATCHED, SENSOR
from vla_pruner_ros.robots.node.robot_node import STEP_NS
from vla_pruner_ros.robots.robot_interface import RobotObservation, StepResult
from vla_pruner_ros.robots.tasks import get_task
from vla_pruner_ros.ros import message_encoding as messages

DEADLINE = 90.0  # seconds; a busy machine takes long to build a real robot


def instruction_of(seed: int) -> str:
    """Words of the fake policy; they change with the seed."""
    return 'reach red' if seed % 2 else 'push blue'


class FakeRobot:
    """The hand moves along x; the target is at 30 mm.

    The front camera shows FRONT minus the seed (0..19), the wrist camera WRIST plus the step.
    """

    FRONT, WRIST = 255, 50

    def __init__(self, task: str, seed: int, image_size: int):
        self.task = SimpleNamespace(name=task, step_limit=60)
        scene = get_task(task).scene
        self.cameras = ('front', 'wrist') if scene == 'tabletop' else ('corner',)
        self.joint_names = ('slide',)
        self.orientation = np.array([1.0, 0.0, 0.0, 0.0])
        self.image_size = image_size
        self.closed = 0
        self.reset(seed)

    @property
    def instruction(self) -> str:
        return instruction_of(self.seed)

    @property
    def position(self) -> np.ndarray:
        return np.array([self.x, 0.0, 0.2])

    @property
    def success(self) -> bool:
        return self.x >= 0.03

    @property
    def truncated(self) -> bool:
        return not self.success and self.step_count >= self.task.step_limit

    def reset(self, seed: int) -> None:
        self.seed, self.x, self.step_count, self.time = seed, 0.0, 0, 0.0

    def apply(self, action: np.ndarray) -> StepResult:
        self.x += 0.04 * float(np.clip(action[0], -1, 1))
        self.step_count += 1
        return StepResult(self.success, self.step_count, self.truncated)

    def track(self, target: np.ndarray, opening: float, velocity: np.ndarray,
              seconds: float) -> StepResult:
        self.x = float(target[0])
        self.time += seconds
        self.step_count = int(self.time / 0.05 + 1e-6)
        return StepResult(self.success, self.step_count, self.truncated)

    def hand_state(self) -> tuple[np.ndarray, np.ndarray]:
        return self.position, np.zeros(3)

    def observe(self) -> RobotObservation:
        values = dict.fromkeys(self.cameras, self.FRONT - self.seed % 20)
        if 'wrist' in values:
            values['wrist'] = self.WRIST + self.step_count
        shape = (self.image_size, self.image_size, 3)
        return RobotObservation({name: np.full(shape, value, np.uint8)
                                 for name, value in values.items()}, self.position, 1.0,
                                self.joint_names, np.array([self.x]), 0.05 * self.step_count)

    def close(self) -> None:
        self.closed += 1


def make_fake(task: str, seed: int, image_size: int = 224) -> FakeRobot:
    """Stand in for ``robot_for_task.make_robot``."""
    return FakeRobot(task, seed, image_size)


def spin_until(executors: Sequence[SingleThreadedExecutor], predicate: Callable[[], Any],
               deadline: float, status: Callable[[], Any] = lambda: '') -> None:
    """Spin all until the predicate is true."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if predicate():
            return
        for executor in executors:
            executor.spin_once(timeout_sec=0.005)
    raise AssertionError(f'not within {deadline} s; {status()}')


class Listener:
    """Keeps what a robot node says and sends it chunks; in a context of its own."""

    def __init__(self, images: dict[str, tuple[Any, Any]]):
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('listener', context=self.context)
        self.got: dict[str, list[Any]] = {}
        for topic, (kind, profile) in {
                **images, '/joint_states': (JointState, SENSOR), '/ee_pose': (PoseStamped, SENSOR),
                '/instruction': (String, 1), '/sim_robot/episode': (String, LATCHED)}.items():
            box = self.got.setdefault(topic, [])
            self.node.create_subscription(kind, topic, box.append, profile)
        self._poses = self.node.create_publisher(
            MultiDOFJointTrajectory, '/pruned_policy/ee_trajectory', 10)
        self._gripper = self.node.create_publisher(
            JointTrajectory, '/pruned_policy/gripper_command', 10)
        self._resets = self.node.create_client(Trigger, '/sim_robot/reset')
        self.executors = [SingleThreadedExecutor(context=self.context)]
        self.executors[0].add_node(self.node)

    def connect(self, robot: Any, executors: Sequence[SingleThreadedExecutor]) -> None:
        """Find the robot node; its executors are spun with ours from now on."""
        self.executors += executors
        self.until(lambda: self._resets.service_is_ready()
                   and self._poses.get_subscription_count()
                   and self._gripper.get_subscription_count()
                   and all(one.get_subscription_count() for one in robot.publishers
                           if one.topic_name in self.got))

    def until(self, predicate: Callable[[], Any]) -> None:
        """Spin both sides."""
        spin_until(self.executors, predicate, DEADLINE, lambda: self.status)

    @property
    def status(self) -> dict[str, Any]:
        """Newest ``~/episode``."""
        box = self.got['/sim_robot/episode']
        return dict(json.loads(box[-1].data)) if box else {}

    def stamp(self, topic: str) -> int:
        """Nanoseconds of the newest message."""
        stamp = self.got[topic][-1].header.stamp
        return int(stamp.sec * 10**9 + stamp.nanosec)

    def reset(self) -> dict[str, Any]:
        """Begin an episode; what the robot answers."""
        future = self._resets.call_async(Trigger.Request())
        self.until(future.done)
        assert future.result().success, future.result().message
        return dict(json.loads(future.result().message))

    def send_chunk(self, stamp: int, along_x: Sequence[float]) -> None:
        """A chunk of steps along x in metres that answers the observation of ``stamp``."""
        rows = np.zeros((len(along_x) + 1, 7))
        rows[:, 6] = 1
        rows[1:, 0] = np.cumsum(along_x)
        times = [stamp + index * STEP_NS for index in range(len(rows))]
        self._poses.publish(messages.pose_trajectory(rows, times, stamp, 'base', 'end_effector'))
        self._gripper.publish(messages.joint_trajectory(['gripper'], np.ones((len(rows), 1)),
                                                        times, stamp))

    def close(self) -> None:
        """Leave."""
        self.executors[0].shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()
