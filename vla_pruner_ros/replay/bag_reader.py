# SPDX-License-Identifier: Apache-2.0
"""Reads rosbag2 recordings with the ``rosbags`` package; needs no ROS installation.

Reads directories with or without ``metadata.yaml`` and single files; sqlite3 and mcap; zstd per
file or per message, also where the metadata that would say so is missing; type names with and
without ``/msg/``.  Knows bags; does not know policies.
"""
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vla_pruner_ros.core.errors import (
    ConfigError,
    MissingDependencyError,
    VlaPrunerError,
)
from vla_pruner_ros.core.install_hints import how_to_install

DISTROS = ('foxy', 'galactic', 'humble', 'iron', 'jazzy', 'kilted')
SUFFIXES = ('.mcap', '.db3')
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
INSTALL = f'needs the package rosbags: {how_to_install("rosbags")}'


@dataclass(frozen=True)
class Topic:
    """One topic of a bag."""

    name: str
    type_name: str
    count: int


class Bag:
    """An open bag; use it as a context manager.

    Args:
        path: bag directory or file.
        distro: ROS distribution whose message definitions are used where the bag has none.

    Raises:
        ConfigError: no such bag, not a bag, damaged, or an unknown distribution.
        MissingDependencyError: rosbags is not installed.
    """

    def __init__(self, path: Path, distro: str = 'jazzy'):
        try:
            from rosbags.highlevel import AnyReader
            from rosbags.typesys import get_typestore, Stores
        except ImportError as error:
            raise MissingDependencyError(f'reading bags {INSTALL}') from error
        if distro not in DISTROS:
            raise ConfigError(f'ROS distribution {distro!r}; accepted: {", ".join(DISTROS)}')
        self.path = path
        self._types = get_typestore(Stores[f'ROS2_{distro.upper()}'])
        self._stack = ExitStack()
        try:
            paths = self._files()
            reader = AnyReader(paths, default_typestore=self._types)
            self._reader = self._stack.enter_context(reader)
            self.topics = self._topics()
        except VlaPrunerError:
            self.close()
            raise
        except Exception as error:  # rosbags raises what its storage libraries raise
            self.close()
            raise ConfigError(f'{path} is not a readable rosbag2 ({_words(error)})') from error

    def __enter__(self) -> 'Bag':
        """Give itself."""
        return self

    def __exit__(self, *unused: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close files and remove temporary ones."""
        self._stack.close()

    @property
    def count(self) -> int:
        """Messages in the bag."""
        return sum(topic.count for topic in self.topics.values())

    @property
    def span_ns(self) -> tuple[int, int]:
        """Log time of the first message, and just after the last one."""
        return int(self._reader.start_time), int(self._reader.end_time)

    def listing(self) -> str:
        """Topics with types and message counts, for error messages."""
        return ', '.join(f'{one.name} ({one.type_name}, {one.count})'
                         for one in self.topics.values()) or 'none'

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """Yield (topic, log time in ns, message) in log-time order.

        Raises:
            ConfigError: the bag ends early or holds a message that does not fit its type.
        """
        connections = [one for one in self._reader.connections if one.topic in topics]
        # An empty list would mean all topics.
        if not connections:
            return
        done = 0
        try:
            for connection, log_ns, raw in self._reader.messages(connections=connections):
                yield connection.topic, log_ns, self._decode(raw, connection.msgtype)
                done += 1
        except VlaPrunerError:
            raise
        except Exception as error:
            raise ConfigError(f'{self.path} is damaged after {done} messages '
                              f'({_words(error)})') from error

    def _decode(self, raw: bytes, type_name: str) -> Any:
        if bytes(raw[:4]) == ZSTD_MAGIC:  # serialized messages start with 00
            raw = _zstd().decompress(bytes(raw))
        own = self._reader.typestore
        name = full_type(type_name)
        store = own if name in own.fielddefs else self._types
        return store.deserialize_cdr(raw, name)

    def _topics(self) -> dict[str, Topic]:
        found: dict[str, Topic] = {}
        for one in self._reader.connections:
            before = found[one.topic].count if one.topic in found else 0
            found[one.topic] = Topic(one.topic, full_type(one.msgtype), before + one.msgcount)
        return dict(sorted(found.items()))

    def _files(self) -> list[Path]:
        """What to open: a directory with metadata, or files."""
        path = self.path
        if not path.exists():
            raise ConfigError(f'no bag at {path}')
        if path.is_dir() and (path / 'metadata.yaml').exists():
            return [path]
        found = [path] if path.is_file() else sorted(path.iterdir())
        files = [one for one in found if one.suffix in SUFFIXES]
        packed = [one for one in found if one.suffix in ('.zstd', '.zst')
                  and one.with_suffix('').suffix in SUFFIXES]
        if packed:
            folder = Path(self._stack.enter_context(TemporaryDirectory()))
            files += [_unpack(one, folder) for one in packed]
        if not files:
            raise ConfigError(f'{path} is not a rosbag2; accepted: a bag directory, or a file '
                              f'ending in {", ".join(SUFFIXES)} (also .zstd)')
        return files


def full_type(name: str) -> str:
    """``'sensor_msgs/Image'`` -> ``'sensor_msgs/msg/Image'``."""
    package, slash, rest = name.partition('/')
    return name if rest.startswith('msg/') or not slash else f'{package}/msg/{rest}'


def _zstd() -> Any:
    """Import a zstd module: Python's own (3.14), or the one that rosbags brings."""
    try:
        from compression import zstd
    except ImportError:
        try:
            from backports import zstd
        except ImportError as error:
            raise MissingDependencyError('this bag is zstd-compressed: pip install '
                                         'backports.zstd') from error
    return zstd


def _unpack(path: Path, folder: Path) -> Path:
    target = folder / path.with_suffix('').name
    with _zstd().open(path, 'rb') as source, target.open('wb') as out:
        while block := source.read(1 << 20):
            out.write(block)
    return target


def _words(error: BaseException) -> str:
    """One short line about an error of somebody else."""
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) < 200 else text[:200] + ' ...'
