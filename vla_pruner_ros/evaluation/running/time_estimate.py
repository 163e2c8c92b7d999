# SPDX-License-Identifier: Apache-2.0
"""How long an evaluation takes, told early and while it runs."""
import sys
import time
from typing import Any

from vla_pruner_ros.runtime.progress_line import Progress


class Meter:
    """Counts finished episodes: share done, time left, and once an estimate of the whole.

    Time counts from the first episode on, because before it processes start and robots are built.

    Args:
        progress: where the line goes.
        total: episodes of the evaluation.
        before: of these, finished before this run.
        first_unit: episodes after which the whole is estimated: every variant ran once.
    """

    def __init__(self, progress: Progress, total: int, before: int, first_unit: int):
        self._progress, self._total, self._before = progress, total, before
        self._first_unit = max(2, first_unit)
        self._begin, self._done = 0.0, 0

    def on_row(self, row: dict[str, Any]) -> None:
        """Count one finished episode."""
        self._begin = self._begin or time.monotonic()
        self._done += 1
        finished = self._before + self._done
        note = f'{finished}/{self._total} episodes'
        if self._done > 1:
            each = (time.monotonic() - self._begin) / (self._done - 1)
            left = self._total - finished
            if self._done == self._first_unit and left:
                line = chr(13) if sys.stderr.isatty() else ''  # over the one that rewrites itself
                print(f'{line}eval: about {duration(each * left)} for the other {left} episodes '
                      '(every variant has run once; tasks differ)', file=sys.stderr)
            note += f', {duration(each * left)} left'
        self._progress.show(finished, note)


def duration(seconds: float) -> str:
    """``95`` -> ``1 min 35 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s' if minutes
            else f'{rest} s')
