# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for ``launch`` and ``launch_ros``, enough to run a launch file's own functions.

They keep what they are given and resolve nothing, so the choices of the file are seen where no
ROS is installed; ``launch_files.py`` runs the same files in the real ones.
"""
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import runpy
import sys
import types
from typing import Any

ACTIONS = ('DeclareLaunchArgument', 'EmitEvent', 'IncludeLaunchDescription', 'OpaqueFunction',
           'SetEnvironmentVariable')
MODULES = {
    'launch': ('LaunchDescription',), 'launch.actions': ACTIONS,
    'launch.events': ('Shutdown',),
    'launch.launch_description_sources': ('PythonLaunchDescriptionSource',),
    'launch.substitutions': (), 'launch_ros': (),
    'launch_ros.actions': ('LifecycleNode', 'Node'),
    'launch_ros.parameter_descriptions': ('ParameterFile', 'ParameterValue')}


class Kept:
    """Anything that was made, with its arguments."""

    def __init__(self, *given: Any, **named: Any):
        self.given, self.named = given, named


class Configuration:
    """A launch argument; ``perform`` looks it up."""

    def __init__(self, name: str):
        self.name = name

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name]


@contextmanager
def launch_file(path: Path) -> Iterator[dict[str, Any]]:
    """What the file defines, while the stand-ins are in place."""
    before = {name: one for name, one in sys.modules.items()
              if name.partition('.')[0] in ('launch', 'launch_ros')}
    for name in before:
        del sys.modules[name]
    for name, kinds in MODULES.items():
        module = types.ModuleType(name)
        for kind in kinds:
            setattr(module, kind, type(kind, (Kept,), {}))
        sys.modules[name] = module
    sys.modules['launch.substitutions'].LaunchConfiguration = Configuration  # type: ignore
    try:
        yield runpy.run_path(str(path))
    finally:
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def arguments(defined: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Launch argument -> (default, description), as ``--show-args`` prints them."""
    described = defined['generate_launch_description']().given[0]
    return {one.given[0]: (one.named['default_value'], one.named['description'])
            for one in described if type(one).__name__ == 'DeclareLaunchArgument'}


def started(defined: dict[str, Any], **given: str) -> dict[str, Any]:
    """Arguments of the only node for launch arguments; the others have their defaults."""
    context = {name: default for name, (default, _) in arguments(defined).items()}
    assert set(given) <= set(context)
    (node,) = defined['_node']({**context, **given})
    return dict(node.named)
