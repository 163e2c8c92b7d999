# SPDX-License-Identifier: Apache-2.0
"""How ``vla-pruner`` is called on this machine: the words for messages that name a next step."""
import os
from pathlib import Path
import shutil
import sys

NAME = 'vla-pruner'


def own_command() -> str:
    """The shortest call that works: by name, from the virtual environment, or through ROS."""
    if shutil.which(NAME):
        return NAME
    beside = Path(sys.executable).parent / NAME
    if beside.exists():
        here = os.path.relpath(beside)
        return str(beside) if here.startswith('..') else here
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix and (Path(prefix) / 'lib' / 'vla_pruner_ros' / NAME).exists():
            return f'ros2 run vla_pruner_ros {NAME}'
    return f'{Path(sys.executable).name} -m vla_pruner_ros.cli.main'
