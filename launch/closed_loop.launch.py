"""The policy and the simulated robot, in closed loop.

`ros2 launch vla_pruner_ros closed_loop.launch.py task:=drawer-open-v3 lock_step:=false`

The robot begins the next episode by itself.  Tuning of the policy: params_file, as in
pruned_policy.launch.py; of the robot: config/sim_robot.yaml.
"""
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    SetEnvironmentVariable,
)
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

from launch import LaunchDescription
from vla_pruner_ros.ros.shipped import process_environment, shipped_file

# name: (default, type of the robot's parameter, words)
ROBOT = {
    'task': ('reach-v3', str, 'Task of the simulated robot.'),
    'seed': ('900000', int, 'Placement of the objects in the first episode.'),
    'lock_step': ('true', bool, 'true: physics waits for the policy; false: it follows the wall '
                                'clock.'),
    'viewer': ('false', bool, 'true: show the simulator in a window.'),
    'auto_reset': ('true', bool, 'true: begin the next episode when one is over.'),
}
POLICY = {
    'params_file': ('', 'YAML file with tuning of the policy; empty = the shipped one.'),
    'checkpoint': ('', 'Checkpoint directory; empty = the shipped policy.'),
    'device': ('', 'Torch device; empty = as in the YAML file.'),
}


def generate_launch_description():
    """Describe the launch."""
    arguments = [DeclareLaunchArgument(name, default_value=default, description=words)
                 for name, (default, _, words) in ROBOT.items()]
    arguments += [DeclareLaunchArgument(name, default_value=default, description=words)
                  for name, (default, words) in POLICY.items()]
    environment = [SetEnvironmentVariable(name, value)
                   for name, value in process_environment().items()]
    policy = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(shipped_file('launch/pruned_policy.launch.py'))),
        launch_arguments=[(name, LaunchConfiguration(name)) for name in (*POLICY, 'lock_step')])
    robot = Node(
        package='vla_pruner_ros', executable='sim_robot', name='sim_robot', output='screen',
        emulate_tty=True, sigterm_timeout='15',  # a busy machine needs its time to free OpenGL
        parameters=[ParameterFile(str(shipped_file('config/sim_robot.yaml'))),
                    {name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                     for name, (_, kind, _) in ROBOT.items()}],
        # Without a robot the policy would wait for ever.
        on_exit=EmitEvent(event=Shutdown(reason='the simulated robot has ended')))
    return LaunchDescription([*arguments, *environment, policy, robot])
