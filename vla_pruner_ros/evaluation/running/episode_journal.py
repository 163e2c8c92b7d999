# SPDX-License-Identifier: Apache-2.0
"""The journal of finished episodes: one JSON line each, never rewritten.

The first line says what the episodes depend on.  A line counts as soon as its line feed is on
disk, so a killed run loses only the episodes that were under way; a half-written last line is cut
off when the journal is opened again.
"""
from contextlib import suppress
import hashlib
import json
import os
from pathlib import Path
from typing import Any, IO, Protocol

from vla_pruner_ros.core.errors import ConfigError, OutputError
from vla_pruner_ros.evaluation.plan.episode_plan import Plan

NAME = 'episodes.jsonl'
RESUME = ('automatic', 'never')


class Conditions(Protocol):
    """What a journal needs to know of a plan."""

    @property
    def digest(self) -> str:
        """Of the conditions."""

    def conditions(self) -> dict[str, Any]:
        """What outcomes depend on besides the name of a job (JSON types)."""


def policy_folder(folder: Path, plan: Plan) -> Path:
    """Where the journal of one of several policies lies: the same however they are ordered."""
    digest = hashlib.sha256(plan.checkpoint_digest.encode()).hexdigest()[:12]
    return folder / f'policy-{digest}'


class Journal:
    """Append-only file of episodes; a context manager.

    Args:
        folder: where the journal lies; made when needed.
        plan: a journal of other conditions is refused.
        resume: ``automatic`` continues a journal, ``never`` refuses one that exists.

    Attributes:
        rows: job name -> row, of all finished episodes (also those outside the plan).

    Raises:
        ConfigError: not writable, of another plan, or damaged; nothing was changed.
    """

    def __init__(self, folder: Path, plan: Conditions, resume: str = 'automatic'):
        if resume not in RESUME:
            raise ConfigError(f'resume is {resume!r}; accepted: {" or ".join(RESUME)}')
        self.path = folder / NAME
        self.rows: dict[str, dict[str, Any]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = open(self.path, 'ab+')
        except OSError as error:
            raise ConfigError(f'{self.path} cannot be written: {error}') from error
        try:
            _lock(self._file, self.path)  # before reading: nobody may append in between
            self._begin(plan, resume)
        except BaseException:
            self.close()
            raise

    def _begin(self, plan: Conditions, resume: str) -> None:
        self._file.seek(0)
        content = self._file.read()
        if content and resume == 'never':
            raise ConfigError(f'{self.path} holds episodes already; choose another folder, or '
                              '--resume automatic to continue')
        complete = content[:content.rfind(b'\n') + 1]
        if complete:
            header, self.rows = read(self.path, complete)
            check_same(self.path, header, plan)
        self._file.truncate(len(complete))
        if not complete:
            self._write({'digest': plan.digest, 'conditions': plan.conditions()})

    def add(self, row: dict[str, Any]) -> None:
        """Keep a finished episode.

        Args:
            row: JSON types; ``job`` is its name.

        Raises:
            OutputError: it cannot be written (disk full).
        """
        self._write(row)
        self.rows[row['job']] = row

    def _write(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, separators=(',', ':'), allow_nan=False) + '\n'
        try:
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f'{self.path} cannot be written: {error.strerror or error}') \
                from error

    def close(self) -> None:
        """Release the file."""
        with suppress(OSError):  # the rest of a line that did not fit
            self._file.close()

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def read(path: Path, content: bytes) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(header, job name -> row) of the complete lines of a journal.

    Raises:
        ConfigError: a line is damaged.
    """
    values: list[dict[str, Any]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            value = json.loads(line)
            value['digest' if number == 1 else 'job']
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f'{path} line {number} is damaged: it is no '
                              f'{"header" if number == 1 else "episode"} of an evaluation; '
                              'remove that line, or choose another folder') from error
        values.append(value)
    return values[0], {row['job']: row for row in values[1:]}


def check_same(path: Path, header: dict[str, Any], plan: Conditions) -> None:
    """Refuse a journal whose episodes do not belong to the plan.

    Raises:
        ConfigError: names what differs.
    """
    if header['digest'] == plan.digest:
        return
    old, new = dict(header.get('conditions', {})), plan.conditions()
    differ = [f'{name}: {old.get(name)!r} there, {new.get(name)!r} here'
              for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    raise ConfigError(f'{path} belongs to another evaluation (plan {header["digest"]}, this is '
                      f'{plan.digest}): {"; ".join(differ) or "its header was changed"}. Choose '
                      'another folder')


def _lock(file: IO[bytes], path: Path) -> None:
    """Two runs in one folder would run every episode twice and mix their lines."""
    try:
        import fcntl
    except ImportError:  # not on this operating system
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f'{path} is in use by another evaluation') from error
