# SPDX-License-Identifier: Apache-2.0
"""The demo's node processes: started with log files, watched, always ended, by their own id."""
from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from vla_pruner_ros.core.errors import VlaPrunerError
from vla_pruner_ros.runtime.installed_files import process_environment
from vla_pruner_ros.runtime.log_folder import log_environment

RUNNER = 'vla_pruner_ros.demo.watched_module'
TAIL = 15  # log lines shown when a process died
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the terminal closed: SIGHUP
INTERRUPT_S, TERMINATE_S = 10.0, 5.0  # patience after SIGINT and after SIGTERM


class ProcessDied(VlaPrunerError):
    """A process of the demo ended by itself.

    Attributes:
        status: its exit status.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Process:
    """One Python module as a child process, which ends when this process does.

    Args:
        name: for messages and the log file.
        module: run as ``python -m module``.
        arguments: of the module.
        environment: of the process.
        folder: where ``name.log`` goes.
    """

    def __init__(self, name: str, module: str, arguments: Sequence[str],
                 environment: Mapping[str, str], folder: Path):
        self.name = name
        self.log = folder / f'{name}.log'
        with self.log.open('wb') as log:
            # Its own session: Ctrl-C in the terminal reaches the demo alone, which ends the others
            # in order.
            self._child = subprocess.Popen(
                [sys.executable, '-u', '-m', RUNNER, module, *arguments], stdin=subprocess.PIPE,
                stdout=log, stderr=subprocess.STDOUT, env=dict(environment),
                start_new_session=True)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def tail(self) -> str:
        """Last lines of the log."""
        try:
            lines = self.log.read_text(errors='replace').splitlines()
        except OSError:
            return ''
        return '\n'.join(f'    {line}' for line in lines[-TAIL:])

    def check(self) -> None:
        """Raise when it has ended.

        Raises:
            ProcessDied: with its last log lines.
        """
        status = self._child.poll()
        if status is not None:
            raise ProcessDied(f'{self.name} ended with status {status}; the end of {self.log}:\n'
                              f'{self.tail()}', status)

    def signal(self, number: int) -> None:
        """Send a signal to this process, if it still runs."""
        if self._child.poll() is None:
            self._child.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait for the end; False after ``seconds``."""
        try:
            self._child.wait(max(seconds, 0.0))
            return True
        except subprocess.TimeoutExpired:
            return False


class Processes:
    """All processes of a demo; leaving the context ends them.

    Args:
        environment: of every process.
        folder: for log files.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path):
        self._environment = dict(environment)
        self._folder = folder
        self._running: list[Process] = []

    def start(self, name: str, module: str, arguments: Sequence[str]) -> Process:
        """Start one."""
        process = Process(name, module, arguments, self._environment, self._folder)
        self._running.append(process)
        return process

    def check(self) -> None:
        """Raise ``ProcessDied`` when one has ended."""
        for process in self._running:
            process.check()

    def stop(self) -> None:
        """End all: SIGINT, after a while SIGTERM, at last SIGKILL; the last started first."""
        running, self._running = self._running[::-1], []
        for number, patience in ((signal.SIGINT, INTERRUPT_S), (signal.SIGTERM, TERMINATE_S),
                                 (signal.SIGKILL, TERMINATE_S)):
            for process in running:
                process.signal(number)
            end = time.monotonic() + patience
            running = [process for process in running
                       if not process.wait(end - time.monotonic())]

    def __str__(self) -> str:
        return ', '.join(f'{process.name} (pid {process.pid})' for process in self._running)

    def __enter__(self) -> 'Processes':
        return self

    def __exit__(self, *error: Any) -> None:
        # A second signal while the processes end must not leave any of them behind.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDS}
        try:
            self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def ros_arguments(values: Mapping[str, Any]) -> list[str]:
    """Parameters as command-line arguments of a node; YAML types (true, 4, 0.5, 'text', [...])."""
    arguments = ['--ros-args']
    for name, value in values.items():
        arguments += ['-p', f'{name}:={_yaml(value)}']
    return arguments


def _yaml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return '[' + ', '.join(_yaml(one) for one in value) + ']'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else str(value)


def environment(domain: int) -> dict[str, str]:
    """Environment of every process of the demo, its own included.

    Args:
        domain: ROS_DOMAIN_ID.
    """
    return {**os.environ, **process_environment(), **log_environment(),
            'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            # The line length and colours of a log file.
            'RCUTILS_COLORIZED_OUTPUT': '0'}
