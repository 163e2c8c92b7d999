# SPDX-License-Identifier: Apache-2.0
"""What stops the robot: the messages that end a motion.  Pure functions; nothing is sent here.

The motion under way is braked and then held (``MotionQueue.stop``); a robot that was sent nothing
is held where it was measured.  An end-effector policy has a velocity stream too, which gets zero.
"""
from typing import Any

from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.ros import message_encoding as messages
from vla_pruner_ros.runtime.timed_targets import Command

STILL = (0.0,) * 6


def stop_messages(spec: PolicySpec, action: str, now_ns: int, frame: str,
                  held: Command | None) -> list[tuple[str, Any]]:
    """Messages that end a motion, as (topic name, message).

    Args:
        spec: of the policy.
        action: ``hold`` the robot where it comes to rest (and zero velocity), ``zero`` velocity
            only (a joint policy has none, so it holds), or ``none``.
        now_ns: node time.
        frame: ``frame_id`` of poses and velocities.
        held: braking and holding; None where nothing is known to hold.
    """
    if action == 'none':
        return []
    out = [] if held is None else messages.encode(held, frame, '')
    if spec.action_kind == 'joint_position':
        return out
    return [*(out if action == 'hold' else ()), ('twist', messages.twist(STILL, now_ns, frame))]
