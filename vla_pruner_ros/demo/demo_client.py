# SPDX-License-Identifier: Apache-2.0
"""Drives the demo from outside, as an operator would: services, parameters and topics only.

Knows the two nodes by their names; neither the policy nor the simulator is imported here.
"""
from collections.abc import Callable
import json
import os
import time
from typing import Any

import numpy as np
from rcl_interfaces.srv import SetParametersAtomically
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.demo.demo_report import Episode

POLICY, ROBOT, OWN = '/pruned_policy', '/sim_robot', '/vla_pruner_demo'
# Deep on the reading side: every status of the policy is one row of the report.
STATUS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE,
                    durability=DurabilityPolicy.TRANSIENT_LOCAL)
PATIENCE = 60.0  # seconds for a service, a model to load, one episode without news
DISCOVERY = 5.0  # seconds; measured: the nodes of a machine find one another in 0.2 to 3.1
LAST_WORD = 1.0  # seconds for the status of the last step after an episode has ended

_REMEDY = 'End them, or choose another domain with --domain (1 to 101)'

Frame = tuple[float, np.ndarray]


def _domain() -> str:
    return f'ROS domain {os.environ.get("ROS_DOMAIN_ID", "0")}'


class DemoClient:
    """Client of both nodes.

    Args:
        check: called again and again while waiting; raises when a process of the demo has died.
    """

    def __init__(self, check: Callable[[], None] = lambda: None):
        self._check = check
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node(OWN[1:], context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._services: dict[str, Any] = {}
        self._overlay: Any = None
        self.policy: dict[str, Any] = {}
        self.robot: dict[str, Any] = {}
        self._steps: list[dict[str, Any]] = []
        self._frames: list[tuple[int, np.ndarray]] = []
        self._node.create_subscription(String, f'{POLICY}/status', self._on_policy, STATUS)
        self._node.create_subscription(String, f'{ROBOT}/episode', self._on_robot, STATUS)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    # ---- what the nodes say

    def _on_policy(self, message: String) -> None:
        self.policy = json.loads(message.data)
        step = self.policy.get('last_step')
        if step and (not self._steps or step['stamp_ns'] != self._steps[-1]['stamp_ns']):
            self._steps.append(step)

    def _on_robot(self, message: String) -> None:
        self.robot = json.loads(message.data)

    def _on_overlay(self, message: Image) -> None:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        rgb = np.frombuffer(bytes(message.data), np.uint8)
        self._frames.append((stamp, rgb.reshape(message.height, message.width, 3)))

    def until(self, done: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
        """Spin until ``done``.

        Raises:
            BackendError: not within ``patience`` seconds; says what was waited for.
        """
        end = time.monotonic() + patience
        while not done():
            if time.monotonic() > end:
                raise BackendError(f'{what}: nothing for {patience:g} s')
            self._check()
            self._executor.spin_once(timeout_sec=0.05)

    # ---- who else is there

    def check_alone(self, patience: float = DISCOVERY) -> None:
        """Look for nodes in whose place the demo would start its own.

        Raises:
            ConfigError: names them.
        """
        end = time.monotonic() + patience
        while time.monotonic() < end and not self._others(0):
            self._executor.spin_once(timeout_sec=0.05)
        if others := self._others(0):
            raise ConfigError(f'{_domain()} is busy: there already: {others}. {_REMEDY}')

    def check_undisturbed(self) -> None:
        """See whether somebody has joined who takes the place of a node of the demo.

        Raises:
            BackendError: names what is there twice.
        """
        if others := self._others(1):
            raise BackendError(f"{_domain()} is no longer the demo's own: there twice: {others}. "
                               f'{_REMEDY}')

    def _others(self, own: int) -> str:
        """Names of the demo's nodes that are in the graph more often than the demo started them.

        Args:
            own: 0 before both nodes have been started, 1 afterwards.
        """
        names = [space.rstrip('/') + '/' + name
                 for name, space in self._node.get_node_names_and_namespaces()]
        return ' and '.join(one for one, count in ((POLICY, own), (ROBOT, own), (OWN, 1))
                            if names.count(one) > count)

    # ---- what an operator does

    def wait_ready(self) -> None:
        """Wait until the policy is active and the robot is there.

        Raises:
            BackendError: the policy could not be configured, or is not the only one; says why.
        """
        def ready() -> bool:
            if self.policy.get('failure'):
                raise BackendError(f'the policy could not start: {self.policy["failure"]}')
            return bool(self.policy.get('state') == 'active' and self.robot)
        self.until(ready, 'waiting for the policy and the robot to start')
        self.check_undisturbed()

    def set_parameters(self, node: str, **values: Any) -> None:
        """Set parameters of a running node, all or none.

        Raises:
            ConfigError: refused; says why.
        """
        result = self._call(SetParametersAtomically, f'{node}/set_parameters_atomically',
                            SetParametersAtomically.Request(parameters=[
                                Parameter(name, value=value).to_parameter_msg()
                                for name, value in values.items()])).result
        if not result.successful:
            raise ConfigError(f'{node} refused {values}: {result.reason}')

    def set_policy(self, **values: Any) -> None:
        """Live parameters of the policy."""
        self.set_parameters(POLICY, **values)

    def run_episode(self, task: str, block: str, seed: int, frames: bool = False
                    ) -> tuple[Episode, list[Frame]]:
        """Reset policy and robot, and watch until the episode is over.

        Args:
            task: name.
            block: label kept in the record.
            seed: placement of the objects.
            frames: keep the overlay pictures.

        Returns:
            the record, and (seconds since the first, RGB image) of each step.

        Raises:
            ConfigError: task or seed is refused.
            BackendError: nothing happens any more, or another demo has joined.
        """
        self.check_undisturbed()
        self.set_parameters(ROBOT, task=task, seed=seed)
        self._watch_overlay(frames)
        self._trigger(f'{POLICY}/reset')
        self._steps.clear()
        self._frames.clear()
        started = json.loads(self._trigger(f'{ROBOT}/reset'))
        begin = time.monotonic()
        self._until_over(started['episode'], task)
        wall = time.monotonic() - begin
        accepted = self.robot['chunks_accepted']
        if self.robot['lock_step']:
            self._drain(lambda: len(self._steps) >= accepted)
        first = self.robot['first_stamp_ns']  # the episode before may still have had a last word
        episode = Episode(task, block, seed, self.robot['success'], self.robot['steps'], wall,
                          [step for step in self._steps if step['stamp_ns'] >= first],
                          dict(self.robot['chunks_refused']), started['instruction'])
        pictures = [frame for frame in self._frames if frame[0] >= first]
        self._frames = []
        return episode, [((stamp - pictures[0][0]) / 1e9, rgb) for stamp, rgb in pictures]

    # ----

    def _until_over(self, number: int, task: str) -> None:
        """Wait for the end; ``PATIENCE`` counts from the last sign of life."""
        def over() -> bool:
            return bool(self.robot['episode'] == number and self.robot['done'])
        while not over():
            self.until(self._changed(over),
                       f'{task}, episode {number}: policy says '
                       f'{self.policy.get("reason") or "nothing"!r}')

    def _changed(self, over: Callable[[], bool]) -> Callable[[], bool]:
        before = self._news()
        return lambda: over() or self._news() != before

    def _news(self) -> Any:
        return self.robot.get('episode'), self.robot.get('steps'), len(self._steps)

    def _drain(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + LAST_WORD
        while not done() and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)

    def _watch_overlay(self, wanted: bool) -> None:
        """Subscribe only while pictures are kept: drawing them costs the policy time."""
        if wanted and self._overlay is None:
            self._overlay = self._node.create_subscription(
                Image, f'{POLICY}/overlay', self._on_overlay, qos_profile_sensor_data)
            self.until(lambda: self._node.count_publishers(f'{POLICY}/overlay'),
                       'waiting for the overlay')
        elif not wanted and self._overlay is not None:
            self._node.destroy_subscription(self._overlay)
            self._overlay = None

    def _trigger(self, name: str) -> str:
        answer = self._call(Trigger, name, Trigger.Request())
        if not answer.success:
            raise ConfigError(f'{name}: {answer.message}')
        return str(answer.message)

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        client = self._services.get(name)
        if client is None:
            client = self._services[name] = self._node.create_client(kind, name)
        self.until(client.service_is_ready, f'waiting for the service {name}')
        future = client.call_async(request)
        self.until(future.done, f'waiting for an answer of {name}')
        result: Any | None = future.result()
        if result is None:
            raise BackendError(f'{name} gave no answer')
        return result
