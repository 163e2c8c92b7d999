# SPDX-License-Identifier: Apache-2.0
"""What stops the robot: the messages that end a motion.  Pure functions; nothing is sent here.

A joint policy holds its joints; an end-effector policy holds the pose and sends zero velocity.
Only a measurement is held: without a fresh one there is nothing to hold.
"""
from collections.abc import Sequence
from typing import Any

import numpy as np
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.ros import message_encoding as messages

STILL = (0.0,) * 6


def stop_messages(spec: PolicySpec, action: str, now_ns: int, lead_ns: int, frame: str,
                  joint_names: Sequence[str], joints: Any, pose: Any) -> list[tuple[str, Any]]:
    """Messages that end a motion, as (topic name, message).

    Args:
        spec: of the policy.
        action: ``hold`` the measured pose or joint positions (and zero velocity), ``zero``
            velocity only (a joint policy has none, so it holds), or ``none``.
        now_ns: node time.
        lead_ns: how far ahead the held point lies.
        frame: ``frame_id`` of poses and velocities.
        joint_names: of the joint command.
        joints: newest JointState, or None when it is not fresh.
        pose: newest PoseStamped, or None when it is not fresh.
    """
    if action == 'none':
        return []
    if spec.action_kind == 'joint_position':
        still = hold_joints(joint_names, joints, now_ns, lead_ns)
        return [('action_chunk', still)] if still is not None else []
    held = hold_pose(pose, now_ns, lead_ns, frame)
    out: list[tuple[str, Any]] = []
    if action == 'hold' and held is not None:
        out.append(('ee_trajectory', held))
    return [*out, ('twist', messages.twist(STILL, now_ns, frame))]


def hold_joints(names: Sequence[str], measured: Any, now_ns: int,
                lead_ns: int) -> JointTrajectory | None:
    """One point, ``lead_ns`` ahead, at the measured joint positions; None if one is not known."""
    known = dict(zip(measured.name, measured.position)) if measured is not None else {}
    values = np.array([known.get(name, np.nan) for name in names], np.float64)
    if not np.isfinite(values).all():
        return None
    return messages.joint_trajectory(names, values[None], [now_ns + lead_ns], now_ns)


def hold_pose(measured: Any, now_ns: int, lead_ns: int,
              frame: str) -> MultiDOFJointTrajectory | None:
    """Stay at the measured pose (PoseStamped) for ``lead_ns``; None if it is not finite.

    Two equal points, so that a robot that executes differences stands still, too.
    """
    if measured is None:
        return None
    place, turn = measured.pose.position, measured.pose.orientation
    values = np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w], np.float64)
    if not np.isfinite(values).all():
        return None
    return messages.pose_trajectory(np.stack([values, values]), [now_ns, now_ns + lead_ns],
                                    now_ns, frame, 'end_effector')
