# SPDX-License-Identifier: Apache-2.0
"""Writes rosbag2 recordings with the ``rosbags`` package; needs no ROS installation."""
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import sqlite3
from typing import Any

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError, OutputError
from vla_pruner_ros.replay.bag_reader import full_type, INSTALL


class BagWriter:
    """Writes a new bag (sqlite3, metadata version 9); use it as a context manager.

    Args:
        path: directory to make; must not exist.
        distro: ROS distribution whose message definitions are stored.

    Raises:
        ConfigError: the directory exists or cannot be made.
        MissingDependencyError: rosbags is not installed.
    """

    def __init__(self, path: Path, distro: str = 'jazzy'):
        try:
            from rosbags.rosbag2 import Writer, WriterError
            from rosbags.typesys import get_typestore, Stores
        except ImportError as error:
            raise MissingDependencyError(f'writing bags {INSTALL}') from error
        self.path = Path(path)
        self._types = get_typestore(Stores[f'ROS2_{distro.upper()}'])
        self._connections: dict[tuple[str, str], Any] = {}
        try:
            self._writer: Any = Writer(self.path, version=9)
            self._writer.open()
        except (WriterError, OSError) as error:
            raise ConfigError(f'cannot write a bag at {self.path}: {error}') from error

    def __enter__(self) -> 'BagWriter':
        """Give itself."""
        return self

    def __exit__(self, *unused: object) -> None:
        """Close."""
        self.close()

    def write(self, topic: str, type_name: str, data: bytes, stamp_ns: int) -> None:
        """Append one serialized (CDR) message.

        Raises:
            ConfigError: a type without a known definition.
            OutputError: it cannot be written (disk full).
        """
        name = full_type(type_name)
        key = (topic, name)
        if key not in self._connections:
            if name not in self._types.fielddefs:
                raise ConfigError(f'topic {topic} has the type {type_name!r}, which has no known '
                                  'message definition; only standard types can be recorded')
            with self._errors():
                self._connections[key] = self._writer.add_connection(topic, name,
                                                                     typestore=self._types)
        with self._errors():
            self._writer.write(self._connections[key], stamp_ns, data)

    def close(self) -> None:
        """Write the metadata; a second call does nothing.

        Raises:
            OutputError: it cannot be written (disk full).
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._errors():
                writer.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f'the bag {self.path} cannot be written: {error}') from error
