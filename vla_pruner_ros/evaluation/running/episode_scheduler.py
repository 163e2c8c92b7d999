# SPDX-License-Identifier: Apache-2.0
"""Runs what a plan still lacks on a pool and keeps every finished episode at once."""
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from vla_pruner_ros.evaluation.running.episode_journal import Journal
from vla_pruner_ros.evaluation.running.process_pools import Pool

Row = dict[str, Any]


class Job(Protocol):
    """One episode; whoever runs it knows more of it."""

    @property
    def name(self) -> str:
        """Stable id, the key of the journal."""


class Units(Protocol):
    """A plan, as far as it matters here."""

    def units(self) -> Sequence[Sequence[Job]]:
        """Jobs in groups that belong together."""


def missing(plan: Units, journal: Journal) -> list[list[Job]]:
    """Units of the plan without the jobs that the journal has."""
    units = ([job for job in unit if job.name not in journal.rows] for unit in plan.units())
    return [unit for unit in units if unit]


def run(units: list[list[Job]], journal: Journal, pool: Pool,
        on_row: Callable[[Row], None] = lambda row: None) -> None:
    """Run all jobs of ``units``; rows are in the journal before ``on_row`` is called."""
    for row in dispatch(units, pool):
        journal.add(row)
        on_row(row)


def dispatch(units: list[list[Job]], pool: Pool) -> Iterator[Row]:
    """Rows in the order in which they are done.

    A lane takes a whole unit, because changing the task costs time; when no unit is left, it takes
    over jobs of the lane that has most of them.
    """
    waiting = deque(units)
    queues: list[deque[Job]] = [deque() for _ in range(pool.lanes)]

    def feed(lane: int) -> bool:
        if not queues[lane] and waiting:
            queues[lane].extend(waiting.popleft())
        source = queues[lane] or max(queues, key=len)
        if not source:
            return False
        pool.start(lane, source.popleft() if source is queues[lane] else source.pop())
        return True

    busy = sum(feed(lane) for lane in range(pool.lanes))
    while busy:
        for lane, row in pool.wait():
            yield row
            busy -= not feed(lane)
