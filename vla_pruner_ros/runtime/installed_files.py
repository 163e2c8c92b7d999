# SPDX-License-Identifier: Apache-2.0
"""Where the shipped configuration lies, and the process environment that goes with it.

The same files are found from a source tree (also ``colcon build --symlink-install`` and editable
installs), from a colcon install space, and from a pip install.  No ROS import.
"""
from collections.abc import Iterator, Mapping
import os
from pathlib import Path
import sys

from vla_pruner_ros.core.errors import ConfigError

PACKAGE = 'vla_pruner_ros'
DDS_PROFILE = 'config/fastdds_shm.xml'

#: Variables by which a user chooses a transport; if one is set, ours stays away.
_DDS_CHOICES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE',
                'FASTDDS_BUILTIN_TRANSPORTS')


def share_directories() -> Iterator[Path]:
    """Yield the places where ``config/`` and ``launch/`` may lie, best first."""
    yield Path(__file__).resolve().parents[2]
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix:
            yield Path(prefix) / 'share' / PACKAGE
    yield Path(sys.prefix) / 'share' / PACKAGE
    # pip install --user and --prefix: <prefix>/lib/pythonX.Y/site-packages/vla_pruner_ros/runtime
    for parent in Path(__file__).resolve().parents:
        yield parent / 'share' / PACKAGE


def shipped_file(relative: str) -> Path:
    """Return the path of a shipped file such as ``config/pruned_policy.yaml``.

    Raises:
        ConfigError: the file is in none of the known places; the message lists them.
    """
    places = list(share_directories())
    for place in places:
        if (place / relative).is_file():
            return place / relative
    raise ConfigError(f'{relative} of {PACKAGE} was not found in '
                      + ', '.join(str(place) for place in places))


def dds_chosen(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process was started with a transport setting of Fast DDS, ours or another."""
    environ = os.environ if environ is None else environ
    return any(name in environ for name in _DDS_CHOICES)


def process_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a process that sends or receives images needs in addition to ``environ``.

    A user's own choice of transport, middleware or OpenMP policy is left alone.
    """
    environ = os.environ if environ is None else environ
    extra: dict[str, str] = {}
    if 'OMP_WAIT_POLICY' not in environ:
        # Spinning OpenMP threads take the cores from the ROS threads of the same process.
        extra['OMP_WAIT_POLICY'] = 'PASSIVE'
    middleware = environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp')
    if middleware.startswith('rmw_fastrtps') and not dds_chosen(environ):
        try:
            profile = str(shipped_file(DDS_PROFILE))
        except ConfigError:
            return extra
        extra['FASTRTPS_DEFAULT_PROFILES_FILE'] = profile
        extra['FASTDDS_DEFAULT_PROFILES_FILE'] = profile
    return extra
