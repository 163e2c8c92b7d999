# SPDX-License-Identifier: Apache-2.0
"""Runs a launch file up to its actions; nothing is started.  Needs a ROS installation's launch."""
from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import runpy
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable

from launch import LaunchContext


def launched(path: Path, arguments: dict[str, str]) -> tuple[Any, list[Any]]:
    """Return (context, what the file's functions want to start) for launch arguments."""
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    description = runpy.run_path(str(path))['generate_launch_description']()
    actions: list[Any] = []
    for entity in description.entities:
        if isinstance(entity, OpaqueFunction):
            actions += entity.visit(context)
        elif isinstance(entity, (DeclareLaunchArgument, SetEnvironmentVariable)):
            entity.visit(context)
    return context, actions


@contextmanager
def environment_kept() -> Iterator[None]:
    """Undo what launch files set."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
