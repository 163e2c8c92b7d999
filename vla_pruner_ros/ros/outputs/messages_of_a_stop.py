# SPDX-License-Identifier: Apache-2.0
"""What stops the robot: the messages that end a motion.  Pure functions; nothing is sent here.

The motion under way is braked and then held (``MotionQueue.stop``); a robot that was sent nothing
is held where it was measured.  Outputs that are told in every cycle play the same motion
(``PlanPlayer.stop``) and are not asked here.
"""
from collections.abc import Sequence
from typing import Any

from vla_pruner_ros.ros import message_encoding as messages
from vla_pruner_ros.runtime.motion.robot_commands import Command
from vla_pruner_ros.runtime.output_lines import OutputLine


def stop_messages(lines: Sequence[OutputLine], action: str, frame: str,
                  held: Command | None) -> list[tuple[str, Any]]:
    """Messages that end a motion, as (name of the output, message).

    Args:
        lines: all outputs.
        action: ``hold`` the robot where it comes to rest, ``zero`` velocity (an output without one
            holds, except for the hand beside a twist), or ``none``.
        frame: ``frame_id`` of poses.
        held: braking and holding, the gripper as it was told; None where nothing is known to hold.
    """
    if action == 'none' or held is None:
        return []
    twisted = any(line.kind == 'twist' for line in lines)
    out = [(line.name, messages.encode(line, held, frame)) for line in lines
           if not line.rate and not (action == 'zero' and line.kind == 'ee_trajectory'
                                     and twisted)]
    return [(name, message) for name, message in out if message is not None]
