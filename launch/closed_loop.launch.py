# SPDX-License-Identifier: Apache-2.0
"""A policy and its simulated robot, in closed loop.

`ros2 launch vla_pruner_ros closed_loop.launch.py task:=drawer-open-v3 lock_step:=false`
`ros2 launch vla_pruner_ros closed_loop.launch.py checkpoint:=tabletop task:=reach-colour`

The robot begins the next episode by itself.  Tuning of the policy: params_file, as in
pruned_policy.launch.py; of the robot: config/sim_robot.yaml.
"""
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

from launch import LaunchDescription
from vla_pruner_ros.backends.shipped_policies import policy_facts
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.camera_topics import camera_topics, MAX_SKEW
from vla_pruner_ros.robots.policy_parameters import real_time_parameters
from vla_pruner_ros.runtime.installed_files import process_environment, shipped_file

# name: (default, type of the robot's parameter, words)
ROBOT = {
    'task': ('', str, 'Task of the simulated robot; empty = the first one of the policy.'),
    'seed': ('900000', int, 'Placement of the objects in the first episode.'),
    'lock_step': ('true', bool, 'true: physics waits for the policy; false: it follows the wall '
                                'clock.'),
    'controller': ('ideal', str, 'What stands before the robot in real time: ideal, jtc, '
                                 'jtc_desired, jtc_splicing or servo.'),
    'viewer': ('false', bool, 'true: show the simulator in a window.'),
    'auto_reset': ('true', bool, 'true: begin the next episode when one is over.'),
}
POLICY = {
    'params_file': ('', 'YAML file with tuning of the policy; empty = the shipped one.'),
    'checkpoint': ('', 'metaworld or tabletop (shipped), or a directory; empty = metaworld.'),
    'device': ('', 'Torch device; empty = as in the YAML file.'),
}


def _both(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in (*ROBOT, *POLICY)}
    policy = {name: given[name] for name in (*POLICY, 'lock_step')}
    try:
        facts = policy_facts(given['checkpoint'])
    except ConfigError:  # of another family; params_file says what it needs
        if not (given['params_file'] and given['task']):
            raise
    else:
        given['task'] = given['task'] or facts.tasks[0]
        if given['checkpoint']:
            policy['camera_topics'] = str(camera_topics(facts.cameras))
        if len(facts.cameras) > 1:
            policy['max_skew'] = str(MAX_SKEW)
    if given['lock_step'].lower() not in ('true', '1'):
        policy |= {name: str(value) for name, value in real_time_parameters(given['task']).items()}
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(shipped_file('launch/pruned_policy.launch.py'))),
            launch_arguments=list(policy.items())),
        Node(
            package='vla_pruner_ros', executable='sim_robot', name='sim_robot', output='screen',
            emulate_tty=True, sigterm_timeout='15',  # a busy machine needs time to free OpenGL
            parameters=[ParameterFile(str(shipped_file('config/sim_robot.yaml'))),
                        {**{name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                            for name, (_, kind, _) in ROBOT.items()},
                         'task': ParameterValue(given['task'], value_type=str)}],
            # Without a robot the policy would wait for ever.
            on_exit=EmitEvent(event=Shutdown(reason='the simulated robot has ended')))]


def generate_launch_description():
    """Describe the launch."""
    arguments = [DeclareLaunchArgument(name, default_value=default, description=words)
                 for name, (default, _, words) in ROBOT.items()]
    arguments += [DeclareLaunchArgument(name, default_value=default, description=words)
                  for name, (default, words) in POLICY.items()]
    environment = [SetEnvironmentVariable(name, value)
                   for name, value in process_environment().items()]
    return LaunchDescription([*arguments, *environment, OpaqueFunction(function=_both)])
