# SPDX-License-Identifier: Apache-2.0
"""Parameters of ``sim_robot``: one table, declared with descriptions and ranges."""
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from vla_pruner_ros.robots.controlled_robot import CONTROLLERS
from vla_pruner_ros.robots.tasks import TASKS


@dataclass(frozen=True)
class SimParameter:
    """One parameter; ``live`` ones may change (task and seed count from the next reset on)."""

    name: str
    default: Any
    doc: str
    low: float = 0.0
    high: float = 0.0
    live: bool = False


TABLE: tuple[SimParameter, ...] = (
    SimParameter('task', 'reach-v3', 'Task of the next episode: ' + ', '.join(TASKS) + '.',
                 live=True),
    SimParameter('seed', 0, 'Placement of the objects in the next episode; counts up by one with '
                 'every reset.', 0, 2**31 - 1, live=True),
    SimParameter('rate', 20.0, 'Camera rate in Hz.', 1.0, 100.0),
    SimParameter('lock_step', False, 'Physics waits for the chunk that answers the published '
                 'observation (reproducible); otherwise it follows the clock.'),
    SimParameter('controller', 'ideal', 'What stands between commands and joints in real time: '
                 + ', '.join(CONTROLLERS) + '; servo follows twist_topic, the others '
                 'trajectory_topic.'),
    SimParameter('execution_horizon', 4, 'Actions of a chunk executed per observation in lock '
                 'step.', 1, 1000, live=True),
    SimParameter('autostart', True, 'Begin an episode at start; otherwise wait for ~/reset.'),
    SimParameter('auto_reset', False, 'Begin the next episode by itself when one is over.',
                 live=True),
    SimParameter('policy_reset_service', '/pruned_policy/reset', 'std_srvs/Trigger that makes the '
                 'policy forget; called before the first image of every episode; empty = none.'),
    SimParameter('trajectory_topic', '/pruned_policy/ee_trajectory',
                 'trajectory_msgs/MultiDOFJointTrajectory: the motion.'),
    SimParameter('twist_topic', '/pruned_policy/twist',
                 'geometry_msgs/TwistStamped: the motion, where the controller is servo.'),
    SimParameter('gripper_topic', '/pruned_policy/gripper_command',
                 'trajectory_msgs/JointTrajectory: opening, 0 closed to 1 open; empty = none.'),
    SimParameter('resend_period', 1.0, 'Lock step: seconds without an answer until the same '
                 'observation is published again.', 0.05, 60.0),
    SimParameter('image_size', 224, 'Side of the camera images in pixels.', 16, 2048),
    SimParameter('viewer', False, 'Show the simulator in a window; needs a screen.'),
)


def declare(node: Node) -> None:
    """Declare the table on a node."""
    for one in TABLE:
        descriptor = ParameterDescriptor(description=one.doc, read_only=not one.live)
        if one.low < one.high and isinstance(one.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=one.low,
                                                                  to_value=one.high)]
        elif one.low < one.high:
            descriptor.integer_range = [IntegerRange(from_value=int(one.low),
                                                     to_value=int(one.high), step=1)]
        node.declare_parameter(one.name, one.default, descriptor)
