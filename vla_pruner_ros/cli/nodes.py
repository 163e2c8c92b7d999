# SPDX-License-Identifier: Apache-2.0
"""The executables ``pruned_policy`` and ``sim_robot``, which say in a line what is missing.

Kept apart from the nodes, which cannot be imported without rclpy.
"""
from importlib import import_module
import sys

from vla_pruner_ros.cli.main import guarded

HELP = """usage: {name} [--ros-args -p NAME:=VALUE ... --params-file FILE]

{what}
Parameters: {parameters}
"""


def pruned_policy() -> int:
    """Run the policy node; returns the exit status."""
    return _run('pruned_policy', 'vla_pruner_ros.ros.policy_node', 'Runs a policy on ROS topics.',
                'vla-pruner params')


def sim_robot() -> int:
    """Run the simulated robot; returns the exit status."""
    return _run('sim_robot', 'vla_pruner_ros.robots.node.robot_node',
                'Simulates a robot arm on ROS topics.', 'config/sim_robot.yaml')


def _run(name: str, module: str, what: str, parameters: str) -> int:
    if sys.argv[1:2] in (['-h'], ['--help']):
        print(HELP.format(name=name, what=what, parameters=parameters), end='')
        return 0
    return guarded(name, lambda: import_module(module).main())
