# SPDX-License-Identifier: Apache-2.0
"""Fakes of the evaluation tests: a worker without a policy, a world in one dimension, a driver.

``python eval_fakes.py FOLDER GATE PROCESSES`` evaluates the fake worker's plan.
"""
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import hashlib
import math
import os
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
from pytest import MonkeyPatch

from vla_pruner_ros.backends.policy_outline import PolicyOutline
from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import Observation
from vla_pruner_ros.evaluation.environments.environment_interface import Environment
from vla_pruner_ros.evaluation.plan.episode_plan import FIRST_SEED, Job, Plan
from vla_pruner_ros.evaluation.plan.method_variants import Variant
from vla_pruner_ros.evaluation.running import episode_scheduler as runner
from vla_pruner_ros.evaluation.running.episode_journal import Journal
from vla_pruner_ros.evaluation.running.hand_paths import pack
from vla_pruner_ros.evaluation.running.process_pools import Inline, Pool, Processes

VARIANTS = (Variant(), Variant('random', 4), Variant('vla_pruner', 4))
WORKER = 'eval_fakes:FakeWorker'
DEADLINE = 60.0  # seconds that a gate may stay closed
GATED_SEED = FIRST_SEED + 5
TARGET_STEPS = 8


def make_plan(**changes: Any) -> Plan:
    """Two tasks, ten seeds, three variants: 60 jobs."""
    values: dict[str, Any] = {
        'environment': 'eval_fakes:Line', 'tasks': ('a', 'b'), 'variants': VARIANTS,
        'seeds': tuple(range(FIRST_SEED, FIRST_SEED + 10)), 'parameters': Parameters(),
        'tokens_per_image': 16, 'versions': {'fake': '1'}}
    return Plan(**{**values, **changes})


def row_of(job: Job, **changes: Any) -> dict[str, Any]:
    """A row that depends on the job only."""
    share = int(hashlib.sha256(job.name.encode()).hexdigest()[:4], 16) / 65536
    path = [np.array([0.001 * step * (1 + share), 0.0, 0.0]) for step in range(5)]
    return {'job': job.name, 'task': job.task, 'seed': job.seed, 'label': job.variant.label,
            'success': share < 0.7, 'error': '', 'steps': 4, 'calls': 4, 'runs': 3, 'reused': 1,
            'reasons': {'off': 4}, 'pruned': 3 if job.variant.tokens else 0,
            'flops': 100.0 * (job.variant.tokens or 16), 'limited': 0,
            'overlap': 0.5 if job.variant.tokens else None,
            'ever_kept': 0.75 if job.variant.tokens else None,
            'ms_stages': {'vision': 1.0, 'decoder': 2.0, 'total': 3.0}, 'ms_call': 3.0,
            'seconds': 0.01, 'path': pack(path), **changes}


def use_backend(monkeypatch: Any, load: Callable[[Parameters], Any]) -> None:
    """Let ``vla-pruner eval`` run what ``load`` makes; the outline is that of ``FakeBackend``."""
    monkeypatch.setattr('vla_pruner_ros.backends.load_backend', load)
    monkeypatch.setattr('vla_pruner_ros.evaluation.plan.requested_work.policy_outline',
                        lambda parameters: PolicyOutline(16))


@contextmanager
def interrupted(number: int) -> Iterator[None]:
    """Ctrl-C at the start of the episode of that number, 1 = the first."""
    started = []

    def start(self: 'Line', task: str, seed: int, original: Any = Line.start) -> None:
        started.append(seed)
        if len(started) == number:
            raise KeyboardInterrupt
        original(self, task, seed)

    with MonkeyPatch.context() as patch:
        patch.setattr(Line, 'start', start)
        yield


class FakeWorker:
    """Answers at once; later seeds wait until the gate file exists.

    ``setup``: gate (path or ''), pids (a folder in which every worker leaves its process id),
    fail (name of a job that raises), die (name of a job that kills its process).
    """

    def __init__(self, setup: dict[str, str]):
        self.setup = setup
        if setup.get('pids'):
            Path(setup['pids'], str(os.getpid())).touch()

    def run(self, job: Job) -> dict[str, Any]:
        """Make the row."""
        if job.name == self.setup.get('fail'):
            raise ConfigError('the fake was told to fail')
        if job.name == self.setup.get('bug'):
            raise ZeroDivisionError('a bug')
        if job.name == self.setup.get('die'):
            os._exit(7)
        gate = self.setup.get('gate')
        end = time.monotonic() + DEADLINE
        while gate and job.seed >= GATED_SEED and not Path(gate).exists():
            if time.monotonic() > end:
                raise BackendError('nobody opened the gate')
            time.sleep(0.01)
        return row_of(job)

    def close(self) -> None:
        """Nothing to free."""


class Line(Environment):
    """A hand on a line; the target is 30 to 50 mm away; bright tokens show the way.

    With ``FakeBackend`` the hand moves per step by the mean brightness of the kept tokens: 250 and
    50, half of each, are 150 / 25500 = 5.88 mm.
    """

    def __init__(self, spec: Any):
        self.spec = spec

    @classmethod
    def check(cls, tasks: list[str]) -> None:
        """Know two tasks."""
        for task in tasks:
            if task not in ('a', 'b'):
                raise ConfigError(f'unknown task {task!r}; known tasks: a, b')

    @classmethod
    def moving_target(cls, task: str) -> bool:
        """Say that b's target moves."""
        return task == 'b'

    def start(self, task: str, seed: int) -> None:
        """Place the target."""
        self.x, self.step = 0.0, 0
        self.target = 0.03 + 0.01 * (seed % 3)
        random = np.random.default_rng(seed)
        self.tokens = random.permutation([250] * 8 + [50] * 8).astype(np.uint8).reshape(4, 4)

    def observe(self) -> Observation:
        """Show the tokens as blocks of 2 x 2 pixels."""
        image = np.repeat(np.kron(self.tokens, np.ones((2, 2), np.uint8))[:, :, None], 3, axis=2)
        return Observation({'corner': image}, np.zeros(4), 'reach', self.step * 50_000_000,
                           ((self.x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)))

    def control_steps(self, command: Any) -> np.ndarray:
        """Differences of the poses."""
        return np.diff(command.poses[:, :3], axis=0)

    def execute(self, row: np.ndarray) -> None:
        """Move."""
        self.x += float(row[0])
        self.step += 1

    @property
    def position(self) -> np.ndarray:
        """Where the hand is."""
        return np.array([self.x, 0.0, 0.0])

    @property
    def success(self) -> bool:
        """Arrived."""
        return self.x >= self.target

    @property
    def done(self) -> bool:
        """Arrived or out of time."""
        return self.success or self.step >= TARGET_STEPS


def steps_needed(seed: int) -> int:
    """Control steps of the unpruned fake policy."""
    return min(TARGET_STEPS, math.ceil((0.03 + 0.01 * (seed % 3)) / (150 / 25500)))


def drive(folder: Path, setup: dict[str, str], processes: int, plan: Plan) -> dict[str, Any]:
    """Run what the plan lacks; returns all rows."""
    with Journal(folder, plan) as journal:
        units = runner.missing(plan, journal)
        made: Pool = (Processes(processes, setup, WORKER) if processes else
                      Inline(setup, WORKER))
        with made as pool:
            runner.run(units, journal, pool)
        return journal.rows


if __name__ == '__main__':
    out = Path(sys.argv[1])
    try:
        drive(out, {'gate': sys.argv[2], 'pids': str(out)}, int(sys.argv[3]), make_plan())
    except KeyboardInterrupt:
        sys.exit(130)
