# SPDX-License-Identifier: Apache-2.0
"""Everything that leaves the policy node towards a robot, and the picture for people.

All messages of one command are encoded first and then published, so half a command never reaches
hardware.  In dry run the same messages go to ``~/dry_run/...`` and the robot gets nothing.
"""
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import TwistStamped
import numpy as np
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from vla_pruner_ros.core.parameter_table import Parameters
from vla_pruner_ros.core.types import Observation, PolicySpec, StepStats
from vla_pruner_ros.ros import message_encoding as messages
from vla_pruner_ros.ros import qos_profiles as qos
from vla_pruner_ros.ros.safe_stop import stop_messages
from vla_pruner_ros.runtime.timed_targets import Command
from vla_pruner_ros.runtime.token_overlay import draw_overlay, side_by_side

FLUSH = Duration(seconds=0.2)


class Publishers:
    """Command topics of one policy.

    Args:
        node: makes the publishers.
        spec: decides which topics exist.
        parameters: names and frames (fixed while configured).
    """

    def __init__(self, node: LifecycleNode, spec: PolicySpec, parameters: Parameters):
        """Advertise the topics."""
        self.spec = spec
        self._node = node
        self._frame = parameters.base_frame
        self._gripper_joint = parameters.gripper_joint
        kinds: dict[str, Any] = {}
        if spec.action_kind == 'joint_position':
            kinds['action_chunk'] = JointTrajectory
        else:
            kinds['ee_trajectory'] = MultiDOFJointTrajectory
            kinds['twist'] = TwistStamped
        if spec.gripper_index is not None:
            kinds['gripper_command'] = JointTrajectory
        self._commands = {name: self._advertise(kind, f'~/{name}') for name, kind in kinds.items()}
        self._dry = {name: self._advertise(kind, f'~/dry_run/{name}')
                     for name, kind in kinds.items()}
        self._overlay = node.create_publisher(Image, '~/overlay', qos.overlay())

    def close(self) -> None:
        """Withdraw the topics, once what was published has arrived."""
        for publisher in (*self._commands.values(), *self._dry.values()):
            publisher.wait_for_all_acked(FLUSH)  # the process may end right after its safe action
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._overlay)

    def command(self, command: Any, dry_run: bool) -> None:
        """Publish all messages of a command."""
        self._send(messages.encode(command, self._frame, self._gripper_joint), dry_run)

    def twist(self, velocity: Sequence[float], now_ns: int, dry_run: bool) -> None:
        """Publish one velocity, if this policy has such a topic."""
        if 'twist' in self._commands:
            self._send([('twist', messages.twist(velocity, now_ns, self._frame))], dry_run)

    def safe_action(self, action: str, now_ns: int, held: Command | None, dry_run: bool) -> bool:
        """Publish what ends a motion; see ``safe_stop.stop_messages``.

        Returns:
            Whether anything was published; without anything to hold a joint policy cannot.
        """
        out = stop_messages(self.spec, action, now_ns, self._frame, held)
        self._send(out, dry_run)
        return bool(out)

    def overlay_wanted(self) -> bool:
        """Whether somebody looks at the overlay."""
        return bool(self._overlay.get_subscription_count() > 0)

    def overlay(self, observation: Observation, stats: StepStats) -> None:
        """Draw and publish the kept tokens of all cameras, side by side."""
        pictures: list[np.ndarray] = [
            draw_overlay(observation.images[camera.role], kept, self.spec.grid_rows,
                         self.spec.grid_cols)
            for camera, kept in zip(self.spec.cameras, stats.kept)]
        if pictures:
            self._overlay.publish(messages.image(side_by_side(pictures), observation.stamp_ns,
                                                 self.spec.cameras[0].role))

    def _advertise(self, kind: Any, topic: str) -> Any:
        return self._node.create_lifecycle_publisher(
            kind, topic, qos.command(),
            event_callbacks=qos.publisher_events(self._node.resolve_topic_name(topic),
                                                 self._node.get_logger()))

    def _send(self, out: list[tuple[str, Any]], dry_run: bool) -> None:
        topics: dict[str, Any] = self._dry if dry_run else self._commands
        for name, message in out:
            topics[name].publish(message)

