# SPDX-License-Identifier: Apache-2.0
r"""Start the node pruned_policy: deployment facts are arguments, tuning is YAML.

    ros2 launch vla_pruner_ros pruned_policy.launch.py device:=cuda \
        camera_topics:="['front=/camera/image_raw']" params_file:=/my/tuning.yaml
    ros2 launch vla_pruner_ros pruned_policy.launch.py robot:=ur5e params_file:=/my/tuning.yaml

What is read later wins: the robot's file, then params_file, then arguments.  An argument that is
left empty does not override a file.  The node configures and activates itself (parameter
``autostart``), so no lifecycle manager is needed.
"""
from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
import yaml

from launch import LaunchDescription
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.runtime.installed_files import process_environment, shipped_file

# Arguments that are parameters of the node; each overrides the YAML file when it is not empty.
PARAMETER_ARGUMENTS = {
    'backend': 'Policy family to load.',
    'checkpoint': 'metaworld or tabletop (shipped), directory, or Hugging Face repository id.',
    'unnorm_key': 'Data set whose statistics scale the actions (OpenVLA).',
    'dtype': 'Precision of the weights: auto, float32, bfloat16 or float16.',
    'device': 'Torch device: cpu, cuda or cuda:N.',
    'camera_topics': "List of 'role=topic', in brackets: \"['front=/camera/image_raw']\".",
    'max_skew': 'Largest stamp difference between cameras, seconds.',
    'joint_state_topic': 'sensor_msgs/JointState topic.',
    'pose_topic': 'geometry_msgs/PoseStamped topic of the end effector.',
    'instruction_topic': 'std_msgs/String topic.',
    'instruction': 'Instruction used until one arrives on the topic.',
    'joint_names': 'List of joint names of published joint chunks, in brackets.',
    'base_frame': 'Frame of published chunks, and of the poses that are used.',
    'dry_run': 'true: publish on ~/dry_run/* only.',
    'position_low': 'Lower position limits, in brackets.',
    'position_high': 'Upper position limits, in brackets.',
    'tracking_tolerance': 'How far the robot may be from where it was sent, in brackets.',
    'autostart': 'false: wait for ros2 lifecycle set.',
    'lock_step': 'true: for simulators that wait for the policy.',
}
OTHER_ARGUMENTS = {
    'robot': ('', 'Robot whose file in config/robots is read first: {robots}; empty = none.'),
    'params_file': ('', 'YAML file with tuning; empty = the shipped defaults, those of '
                        'config/pruned_policy.yaml.'),
    'namespace': ('', 'Namespace of the node.'),
    'node_name': ('pruned_policy', 'Name of the node.'),
    'use_sim_time': ('false', 'true: take time from /clock (simulator, bag replay).'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
}
TEXT = ('backend', 'checkpoint', 'unnorm_key', 'dtype', 'device', 'joint_state_topic',
        'pose_topic', 'instruction_topic', 'instruction', 'base_frame')


def robot_files() -> dict[str, Path]:
    """Name of a robot -> its shipped parameter file."""
    folder = shipped_file('config/pruned_policy.yaml').parent / 'robots'
    return {path.stem: path for path in sorted(folder.glob('*.yaml'))}


def parameter_files(robot: str, params_file: str) -> list[str]:
    """Files of parameters, the one that wins last.

    Raises:
        ConfigError: there is no such robot; the message lists those there are.
    """
    files = robot_files()
    if robot and robot not in files:
        raise ConfigError(f'robot is {robot!r}; accepted: {", ".join(files)}; for another one '
                          'write its parameters into a params_file')
    found = [str(files[robot])] if robot else []
    found += [params_file] if params_file else []
    # Not behind the robot's file: a file with all defaults would undo what that says.
    return found or [str(shipped_file('config/pruned_policy.yaml'))]


def _node(context):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    overrides = {'use_sim_time': value('use_sim_time').lower() in ('true', '1')}
    for name in PARAMETER_ARGUMENTS:
        given = value(name)
        if given:
            # Text stays text ("instruction:=5" is no number); lists and booleans are YAML.
            overrides[name] = (ParameterValue(given, value_type=str) if name in TEXT
                               else yaml.safe_load(given))
    files = parameter_files(value('robot'), value('params_file'))
    return [LifecycleNode(
        package='vla_pruner_ros', executable='pruned_policy', name=value('node_name'),
        namespace=value('namespace'), output='screen', emulate_tty=True,
        sigterm_timeout='15',  # a policy that is being loaded or a busy machine needs its time
        parameters=[*files, overrides],
        ros_arguments=['--log-level', value('log_level')])]


def generate_launch_description():
    """Describe the launch."""
    arguments = [DeclareLaunchArgument(name, default_value='', description=words)
                 for name, words in PARAMETER_ARGUMENTS.items()]
    robots = ', '.join(robot_files())
    arguments += [DeclareLaunchArgument(name, default_value=default,
                                        description=words.format(robots=robots))
                  for name, (default, words) in OTHER_ARGUMENTS.items()]
    environment = [SetEnvironmentVariable(name, value)
                   for name, value in process_environment().items()]
    return LaunchDescription([*arguments, *environment, OpaqueFunction(function=_node)])
