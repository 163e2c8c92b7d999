# SPDX-License-Identifier: Apache-2.0
"""Where ROS writes its log files: a temporary folder where the usual one cannot be used.

Without it rclpy ends with an error when HOME is not set or not writable (containers, services).
No ROS import.
"""
from collections.abc import Mapping
import os
from pathlib import Path
import sys
import tempfile


def log_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """``ROS_LOG_DIR`` of a temporary folder, said in a line; empty where the usual one works.

    Args:
        environ: of the process; None = this one's.
    """
    environ = os.environ if environ is None else environ
    wanted = usual_folder(environ)
    if wanted is not None and can_be_written(wanted):
        return {}
    folder = tempfile.mkdtemp(prefix='vla_pruner_ros_log_')
    why = (f'{wanted} cannot be written' if wanted is not None else 'HOME is not set')
    print(f'ROS log files go to {folder}, because {why}', file=sys.stderr, flush=True)
    return {'ROS_LOG_DIR': folder}


def usual_folder(environ: Mapping[str, str]) -> Path | None:
    """The folder that ROS would choose, or None where it finds none."""
    if environ.get('ROS_LOG_DIR'):
        return _expanded(environ['ROS_LOG_DIR'], environ)
    if environ.get('ROS_HOME'):
        home = _expanded(environ['ROS_HOME'], environ)
        return home and home / 'log'
    return Path(environ['HOME']) / '.ros' / 'log' if environ.get('HOME') else None


def can_be_written(folder: Path) -> bool:
    """Whether a file can be made in a folder that may have to be made first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _expanded(text: str, environ: Mapping[str, str]) -> Path | None:
    if not text.startswith('~'):
        return Path(text)
    return Path(environ['HOME'] + text[1:]) if environ.get('HOME') else None
