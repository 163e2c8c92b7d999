# SPDX-License-Identifier: Apache-2.0
"""What the simulated robot says: cameras, joints and hand as ROS messages with one stamp."""
import array
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import PoseStamped
import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from vla_pruner_ros.core.errors import MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.robots.camera_topics import image_topic
from vla_pruner_ros.robots.controlled_robot import BASE_FRAME
from vla_pruner_ros.ros.message_encoding import image, pose_stamped, time_message

GRIPPER = 'gripper'
JPEG_QUALITY = 95
# Offered reliable, so that readers of both kinds match; only the newest few are kept.
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)


def jpeg(rgb: np.ndarray) -> bytes:
    """Encode an RGB image (H, W, 3) uint8.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            f'compressed images need OpenCV: {how_to_install("cv2")}') from error
    _, data = cv2.imencode('.jpg', rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data)


class SensorPublishers:
    """Publishes one observation of the robot on all sensor topics, and the instruction.

    Args:
        node: makes the publishers.
        cameras: names, also used as ``frame_id``.
    """

    def __init__(self, node: Node, cameras: Sequence[str]):
        self._node = node
        self._listeners = 0
        self._warned = False
        self._images: dict[str, tuple[Any, Any]] = {}  # raw, compressed
        self.show(cameras)
        self._joints = node.create_publisher(JointState, '/joint_states', SENSOR)
        self._pose = node.create_publisher(PoseStamped, '/ee_pose', SENSOR)
        self._instruction = node.create_publisher(String, '/instruction', 1)

    def show(self, cameras: Sequence[str]) -> None:
        """Have image topics for exactly these cameras (another task may have others)."""
        for camera in set(self._images) - set(cameras):
            for publisher in self._images.pop(camera):
                self._node.destroy_publisher(publisher)
        for camera in cameras:
            if camera not in self._images:
                topic = image_topic(camera)
                self._images[camera] = (
                    self._node.create_publisher(Image, topic, SENSOR),
                    self._node.create_publisher(CompressedImage, f'{topic}/compressed', SENSOR))

    def instruct(self, text: str) -> None:
        """Publish the instruction and wait until every reader has it.

        The next image must not overtake it: it would be answered with the old instruction.
        """
        from rclpy.duration import Duration
        self._listeners = self._instruction.get_subscription_count()
        self._instruction.publish(String(data=text))
        self._instruction.wait_for_all_acked(Duration(seconds=0.5))

    def new_listener(self) -> bool:
        """Whether somebody subscribed to the instruction since it was last published."""
        return bool(self._instruction.get_subscription_count() > self._listeners)

    def publish(self, observation: Any, quaternion: np.ndarray, stamp_ns: int) -> None:
        """Publish one observation (sim ``RobotObservation``), every message with ``stamp_ns``.

        Args:
            observation: images, joints, hand position and gripper opening.
            quaternion: of the hand, x y z w.
            stamp_ns: of all messages.
        """
        joints = JointState(name=[*observation.joint_names, GRIPPER],
                            position=[*(float(one) for one in observation.joint_positions),
                                      float(observation.gripper_opening)])
        joints.header.stamp = time_message(stamp_ns)
        joints.header.frame_id = BASE_FRAME
        # State first: whoever gets the image can already have what belongs to it.
        self._joints.publish(joints)
        self._pose.publish(pose_stamped([*observation.ee_position, *quaternion], stamp_ns,
                                        BASE_FRAME))
        for camera, (raw, compressed) in self._images.items():
            rgb = observation.images[camera]
            raw.publish(image(rgb, stamp_ns, camera))
            if compressed.get_subscription_count():
                self._publish_compressed(compressed, rgb, camera, stamp_ns)

    def _publish_compressed(self, publisher: Any, rgb: np.ndarray, camera: str,
                            stamp_ns: int) -> None:
        try:
            message = CompressedImage(format='rgb8; jpeg compressed bgr8')
            message.data = array.array('B', jpeg(rgb))
        except MissingDependencyError as error:
            if not self._warned:
                self._warned = True
                self._node.get_logger().error(str(error))
            return
        message.header.stamp = time_message(stamp_ns)
        message.header.frame_id = camera
        publisher.publish(message)
