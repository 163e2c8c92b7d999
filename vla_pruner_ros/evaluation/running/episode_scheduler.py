"""Runs what a plan still lacks on a pool and keeps every finished episode at once."""
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List

from vla_pruner_ros.evaluation.plan.episode_plan import Job, Plan
from vla_pruner_ros.evaluation.running.episode_journal import Journal
from vla_pruner_ros.evaluation.running.process_pools import Pool

Row = Dict[str, Any]


def missing(plan: Plan, journal: Journal) -> List[List[Job]]:
    """Units of the plan without the jobs that the journal has."""
    units = ([job for job in unit if job.name not in journal.rows] for unit in plan.units())
    return [unit for unit in units if unit]


def run(units: List[List[Job]], journal: Journal, pool: Pool,
        on_row: Callable[[Row], None] = lambda row: None) -> None:
    """Run all jobs of ``units``; rows are in the journal before ``on_row`` is called."""
    for row in dispatch(units, pool):
        journal.add(row)
        on_row(row)


def dispatch(units: List[List[Job]], pool: Pool) -> Iterator[Row]:
    """Rows in the order in which they are done.

    A lane takes a whole unit, because changing the task costs time; when no unit is left, it takes
    over jobs of the lane that has most of them.
    """
    waiting = deque(units)
    queues: List[Deque[Job]] = [deque() for _ in range(pool.lanes)]

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
