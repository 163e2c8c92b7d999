# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of the policy node: callbacks store the newest message and nothing more."""
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.ros import qos_profiles as qos
from vla_pruner_ros.runtime.input_mapping import parse_camera_topics
from vla_pruner_ros.runtime.observation_cache import ObservationCache


class Inputs:
    """Feeds an ``ObservationCache`` from topics.

    Args:
        node: makes the subscriptions; its clock stamps the arrivals.
        spec: cameras that the policy needs.
        parameters: topic names.
        cache: where messages go.

    Raises:
        ConfigError: ``camera_topics`` does not fit the policy.
    """

    def __init__(self, node: LifecycleNode, spec: PolicySpec, parameters: Parameters,
                 cache: ObservationCache):
        """Subscribe to everything."""
        self.cameras = parse_camera_topics(parameters.camera_topics, spec)
        #: role -> frames that the middleware knows it lost; None where it does not count them.
        self.middleware_lost: dict[str, int | None] = {
            camera.role: 0 for camera in self.cameras}
        self._node = node
        self._cache = cache
        self._subscriptions: list[Any] = []
        for camera in self.cameras:
            self._camera(camera.role, camera.topic, camera.compressed)
        if parameters.joint_state_topic:
            self._sensor(JointState, parameters.joint_state_topic, self._on_joints, qos.state())
        if parameters.pose_topic:
            self._sensor(PoseStamped, parameters.pose_topic, self._on_pose, qos.state())
        self._subscriptions.append(node.create_subscription(
            String, parameters.instruction_topic, self._on_instruction, qos.instruction()))

    def close(self) -> None:
        """Unsubscribe."""
        for one in self._subscriptions:
            self._node.destroy_subscription(one)
        self._subscriptions.clear()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _sensor(self, kind: Any, topic: str, callback: Any, profile: QoSProfile,
                on_lost: Any = None) -> None:
        self._subscriptions.append(self._node.create_subscription(
            kind, topic, callback, profile,
            event_callbacks=qos.subscription_events(self._node.resolve_topic_name(topic),
                                                    self._node.get_logger(), on_lost),
            qos_overriding_options=QoSOverridingOptions.with_default_policies()))

    def _camera(self, role: str, topic: str, compressed: bool) -> None:
        def on_image(message: Any) -> None:
            self._cache.put_image(role, message, self._now())

        def on_lost(count: int) -> None:
            self.middleware_lost[role] = (self.middleware_lost[role] or 0) + count

        kind = CompressedImage if compressed else Image
        try:
            self._sensor(kind, topic, on_image, qos.camera(), on_lost)
        except qos.UnsupportedEventTypeError:
            self.middleware_lost[role] = None
            self._sensor(kind, topic, on_image, qos.camera())

    def _on_joints(self, message: JointState) -> None:
        self._cache.put_joint_state(message, self._now())

    def _on_pose(self, message: PoseStamped) -> None:
        self._cache.put_pose(message, self._now())

    def _on_instruction(self, message: String) -> None:
        self._cache.put_instruction(message.data)
