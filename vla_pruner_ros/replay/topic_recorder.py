# SPDX-License-Identifier: Apache-2.0
"""Live topics into a rosbag2, where ``ros2 bag`` is not installed.

Messages are taken as the bytes they travel in and written unread, so every message type works
whose Python package is installed.  Types and quality of service are taken from the publishers.
"""
import argparse
from importlib import import_module
import time
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.replay.bag_writer import BagWriter
from vla_pruner_ros.ros.ros_process import ros_process

LOOK_EVERY = 0.2  # seconds between looks at the graph while topics are missing
DEPTH = 100


def message_class(name: str) -> Any:
    """Import the Python class of a type name such as ``sensor_msgs/msg/Image``.

    Raises:
        MissingDependencyError: its package is not installed.
    """
    package, _, kind = name.partition('/msg/')
    try:
        return getattr(import_module(f'{package}.msg'), kind)
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(f'recording {name} needs the Python package {package} with '
                                     'this message') from error


def offered_qos(publishers: list[Any]) -> QoSProfile:
    """Ask for what all publishers of a topic can give, so that none of them is left out."""
    profiles = [one.qos_profile for one in publishers]
    reliable = all(one.reliability == ReliabilityPolicy.RELIABLE for one in profiles)
    latched = all(one.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in profiles)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)


def full_names(node: Node, topics: list[str]) -> list[str]:
    """Topics by their full names, each once.

    Raises:
        ConfigError: a name that no topic can have.
    """
    try:
        return list(dict.fromkeys(node.resolve_topic_name(topic) for topic in topics))
    except Exception as error:  # rclpy's error for this has no public name
        raise ConfigError(f'--topics {" ".join(topics)}: {error}') from error


class Recorder:
    """Writes topics of a node's graph into a bag.

    Args:
        node: subscribes; its clock gives the log times.
        writer: an open bag.
        topics: full names, each once.

    Attributes:
        counts: messages written, per topic.
        missing: topics that nobody publishes yet.
    """

    def __init__(self, node: Node, writer: BagWriter, topics: list[str]):
        self._node = node
        self._writer = writer
        self.counts: dict[str, int] = {name: 0 for name in topics}
        self.missing = list(topics)

    def look(self) -> None:
        """Subscribe to the missing topics that have a publisher by now.

        Raises:
            ConfigError: a topic is published with two types.
            MissingDependencyError: a message package is not installed.
        """
        for topic in list(self.missing):
            publishers = self._node.get_publishers_info_by_topic(topic)
            types = sorted({one.topic_type for one in publishers})
            if len(types) > 1:
                raise ConfigError(f'{topic} is published with several types: {", ".join(types)}')
            if types:
                self.missing.remove(topic)
                self._subscribe(topic, types[0], offered_qos(publishers))

    def _subscribe(self, topic: str, type_name: str, profile: QoSProfile) -> None:
        def write(data: bytes) -> None:
            self._writer.write(topic, type_name, data, self._node.get_clock().now().nanoseconds)
            self.counts[topic] += 1

        self._node.create_subscription(message_class(type_name), topic, write, profile, raw=True)
        self._node.get_logger().info(f'recording {topic} ({type_name})')


def record(options: argparse.Namespace) -> int:
    """Record what the command line names; returns 0.

    Raises:
        ConfigError: a name that no topic can have, the directory exists, a topic has two types,
            or no message arrived at all.
    """
    if not 0 <= options.duration < float('inf'):
        raise ConfigError(f'--duration is {options.duration}; accepted: 0 or more seconds')
    with ros_process() as stop:
        node = Node('vla_pruner_record', parameter_overrides=[
            Parameter('use_sim_time', value=options.use_sim_time)])
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            topics = full_names(node, options.topics)
            with BagWriter(options.output) as writer:
                recorder = Recorder(node, writer, topics)
                _record(recorder, executor, options.duration, stop)
        finally:
            executor.shutdown()
            node.destroy_node()
    for topic, count in recorder.counts.items():
        print(f'{count:8d}  {topic}' + ('  (nobody published it)' if topic in recorder.missing
                                        else ''))
    if not any(recorder.counts.values()):
        raise ConfigError(f'nothing was recorded in {options.output}: no message came on '
                          f'{", ".join(recorder.counts)}')
    print(f'wrote {options.output}')
    return 0


def _record(recorder: Recorder, executor: SingleThreadedExecutor, duration: float,
            stop: Any) -> None:
    next_look, first = 0.0, 0.0
    while not stop.is_set():
        now = time.monotonic()
        if recorder.missing and now >= next_look:
            recorder.look()
            next_look = now + LOOK_EVERY
        executor.spin_once(timeout_sec=0.1)
        if not first and any(recorder.counts.values()):
            first = time.monotonic()
        if duration and first and time.monotonic() - first >= duration:
            return
