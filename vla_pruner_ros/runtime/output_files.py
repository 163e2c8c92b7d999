# SPDX-License-Identifier: Apache-2.0
"""Results on disk: places are tried before the work, files appear whole or not at all.

A full disk or a folder that cannot be written is noticed before anything expensive starts; a file
that exists is a complete one, because it is written aside and renamed.
"""
from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import tempfile

from vla_pruner_ros.core.errors import ConfigError, OutputError

PROBE = 2**20  # bytes that must fit: about as much as the reports take


def check_folder(folder: Path, option: str = '--out') -> None:
    """See whether files can be made in a folder; leaves no trace, not even the folder.

    Args:
        folder: may be missing, with its parents.
        option: of the command line, for the message.

    Raises:
        ConfigError: it cannot be made or written to, or the disk is full.
    """
    made: list[Path] = []
    try:
        for one in (folder, *folder.parents):
            if one.exists():
                break
            made.append(one)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise ConfigError(f'{option} {folder} cannot be written: {error.strerror or error}; '
                          'choose another place') from error
    finally:
        with suppress(OSError):
            for one in made:
                one.rmdir()


def check_file(path: Path, option: str = '--out') -> None:
    """See whether a file can be written; leaves no trace.

    Raises:
        ConfigError: its folder cannot be written to, or it is a folder itself.
    """
    if path.is_dir():
        raise ConfigError(f'{option} {path} is a folder; accepted: the name of a file')
    check_folder(path.parent, option)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a name to write to; at the end that file takes the place of ``path``.

    The name has the ending of ``path``, which tells libraries the format.

    Raises:
        OutputError: it cannot be written; what was at ``path`` before is still there.
    """
    aside = path.with_name(f'.{path.stem}.unfinished{path.suffix}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise OutputError(f'{path} cannot be written: {error.strerror or error}') from error
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with written_aside(path) as aside, aside.open('w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
