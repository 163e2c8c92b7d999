# SPDX-License-Identifier: Apache-2.0
"""What the node of a policy must know of a simulated robot that it drives in real time.

In lock step the robot itself cuts what leaves its work space.  Whoever sends places in time must
know it: otherwise targets run on behind a wall, and the hand comes back late.
"""
from vla_pruner_ros.robots.metaworld import hand_tracking
from vla_pruner_ros.robots.tabletop import arm_kinematics, servo_tracking
from vla_pruner_ros.robots.tasks import get_task


def real_time_parameters(task: str) -> dict[str, list[float]]:
    """Parameters of the policy's node for the robot of a task, without building it.

    Raises:
        ConfigError: unknown task.
    """
    if get_task(task).scene == 'tabletop':
        low, high = arm_kinematics.WORKSPACE_LOW, arm_kinematics.WORKSPACE_HIGH
        tolerance = servo_tracking.TOLERANCE
    else:
        low, high = hand_tracking.WORKSPACE_LOW, hand_tracking.WORKSPACE_HIGH
        tolerance = hand_tracking.TOLERANCE
    return {'position_low': low.tolist(), 'position_high': high.tolist(),
            'tracking_tolerance': list(tolerance)}
