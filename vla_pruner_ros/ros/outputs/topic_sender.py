# SPDX-License-Identifier: Apache-2.0
"""One controller that listens to a topic, and the topic that stands in for it in dry run."""
from typing import Any

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode

from vla_pruner_ros.ros import qos_profiles as qos
from vla_pruner_ros.ros.message_encoding import MESSAGES
from vla_pruner_ros.runtime.output_lines import OutputLine

FLUSH = Duration(seconds=0.2)


class TopicSender:
    """Publishes the messages of one line of ``outputs``.

    Args:
        node: makes the publishers.
        line: what the controller listens to.
    """

    def __init__(self, node: LifecycleNode, line: OutputLine):
        """Advertise both topics."""
        self.line = line
        self._node = node
        self._robot = self._advertise(line.target)
        self._dry = self._advertise(line.dry_target)

    def _advertise(self, topic: str) -> Any:
        return self._node.create_lifecycle_publisher(
            MESSAGES[self.line.kind], topic, qos.command(),
            event_callbacks=qos.publisher_events(self._node.resolve_topic_name(topic),
                                                 self._node.get_logger()))

    def missing(self) -> str:
        """Why nothing can be sent; a topic can always be written to."""
        return ''

    def send(self, message: Any, dry_run: bool, stop: bool = False) -> None:
        """Publish; ``stop`` says that it ends a motion."""
        (self._dry if dry_run else self._robot).publish(message)

    def cancel(self) -> None:
        """End what was sent without knowing where; a topic has no word for it."""

    def facts(self) -> dict[str, Any]:
        """Plain data for diagnostics."""
        return {}

    def close(self) -> None:
        """Withdraw the topics, once what was published has arrived."""
        for publisher in (self._robot, self._dry):
            publisher.wait_for_all_acked(FLUSH)  # the process may end right after its safe action
            self._node.destroy_lifecycle_publisher(publisher)
