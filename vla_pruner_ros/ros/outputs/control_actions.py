# SPDX-License-Identifier: Apache-2.0
"""The actions of control_msgs, imported only where an output needs them, and their goals."""
import importlib
from typing import Any

from trajectory_msgs.msg import JointTrajectory

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.runtime.output_lines import OutputLine

#: Kind of an output -> name of its action.
ACTIONS = {'follow_joint_trajectory': 'FollowJointTrajectory', 'gripper_action': 'GripperCommand',
           'parallel_gripper_action': 'ParallelGripperCommand'}


def action_type(line: OutputLine) -> Any:
    """The action of an output.

    Raises:
        ConfigError: control_msgs is not installed, or is too old to have it.
    """
    name = ACTIONS[line.kind]
    needs = f'the output {line.name!r} is a {line.kind}, which needs {name} of control_msgs'
    try:
        module = importlib.import_module('control_msgs.action')
    except ImportError as error:
        raise ConfigError(f'{needs}, which cannot be imported ({error}); install it: apt install '
                          'ros-$ROS_DISTRO-control-msgs, or use a kind that is told by a topic') \
            from error
    found = getattr(module, name, None)
    if found is None:
        has = [kind for kind, one in ACTIONS.items() if hasattr(module, one)]
        raise ConfigError(f'{needs}, but the installed ros-$ROS_DISTRO-control-msgs has none; '
                          f'accepted: {", ".join(has)}, or a kind that is told by a topic')
    return found


def goal_for(action: Any, kind: str, trajectory: JointTrajectory, effort: float) -> Any:
    """The goal that asks for a trajectory; a gripper is asked for where it ends."""
    goal = action.Goal()
    if kind == 'follow_joint_trajectory':
        goal.trajectory = trajectory
        return goal
    position = trajectory.points[-1].positions[0]
    if kind == 'gripper_action':
        goal.command.position, goal.command.max_effort = position, effort
    else:
        goal.command.name = list(trajectory.joint_names)
        goal.command.position = [position]
        goal.command.effort = [effort] if effort else []
    return goal
