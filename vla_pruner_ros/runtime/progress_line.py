# SPDX-License-Identifier: Apache-2.0
"""Progress on standard error: a line that rewrites itself on a terminal, few lines elsewhere."""
import sys
import time
from typing import TextIO

from vla_pruner_ros.runtime.terminal_tables import terminal_width

INTERVAL = 0.2  # seconds between rewrites on a terminal


class Progress:
    """Share done of a task whose size is known.

    Args:
        label: what is being done.
        total: units of the whole.
        stream: where to write; None = standard error.
    """

    def __init__(self, label: str, total: float, stream: TextIO | None = None):
        self._label = label
        self._total = max(total, 1e-9)
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._shown = -1
        self._when = 0.0

    def show(self, done: float, note: str = '') -> None:
        """Report ``done`` units."""
        percent = min(100, int(100 * done / self._total))
        if self._terminal:
            now = time.monotonic()
            if now - self._when >= INTERVAL:
                self._when = now
                # A line that is wrapped could not be rewritten.
                line = f'{self._label}: {percent:3d} % {note}'[:terminal_width(self._stream)]
                self._stream.write(f'\r\033[K{line}')
                self._stream.flush()
        elif percent // 25 > self._shown:
            self._shown = percent // 25
            self._stream.write(f'{self._label}: {percent} % {note}\n')
            self._stream.flush()

    def end(self, note: str) -> None:
        """Replace the line by its final text."""
        self._stream.write(('\r\033[K' if self._terminal else '') + f'{self._label}: {note}\n')
        self._stream.flush()
