# SPDX-License-Identifier: Apache-2.0
"""Where episodes run: in this process, or in several processes of this machine.

A pool has lanes; each lane runs one job at a time.  The rows do not depend on the pool.
"""
from abc import ABC, abstractmethod
import multiprocessing
from multiprocessing.connection import Connection, wait
import os
import signal
import traceback
from typing import Any

from vla_pruner_ros.core import errors
from vla_pruner_ros.core.errors import BackendError, ConfigError, VlaPrunerError
from vla_pruner_ros.evaluation.environments.environment_interface import find

WORKER = 'vla_pruner_ros.evaluation.running.episode_worker:EpisodeWorker'
MOST_JOBS = 1024
Row = dict[str, Any]


class Pool(ABC):
    """Lanes that run jobs; a context manager."""

    lanes: int

    @abstractmethod
    def start(self, lane: int, job: Any) -> None:
        """Give an idle lane a job."""

    @abstractmethod
    def wait(self) -> list[tuple[int, Row]]:
        """Block until at least one lane is done; (lane, row) of those that are.

        Raises:
            VlaPrunerError: a lane failed.
        """

    def close(self) -> None:
        """End all lanes; jobs under way are lost."""

    def __enter__(self) -> 'Pool':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Inline(Pool):
    """One lane, in this process.

    Args:
        setup: what the worker is made of.
        worker: ``module:attribute`` of its class.
    """

    lanes = 1

    def __init__(self, setup: Any, worker: str = WORKER):
        self._worker = find(worker)(setup)
        self._job: Any = None

    def start(self, lane: int, job: Any) -> None:
        """Keep the job for ``wait``."""
        self._job = job

    def wait(self) -> list[tuple[int, Row]]:
        """Run it."""
        return [(0, self._worker.run(self._job))]

    def close(self) -> None:
        """Free the worker."""
        self._worker.close()


class Processes(Pool):
    """One process per lane, spawned: an OpenGL context does not survive a fork.

    A worker whose parent is gone ends after its episode, because its pipe is closed.

    Args:
        count: number of processes.
        setup: what the workers are made of; must be picklable.
        worker: ``module:attribute`` of their class.
    """

    def __init__(self, count: int, setup: Any, worker: str = WORKER):
        self.lanes = count
        context = multiprocessing.get_context('spawn')
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        # Read by the numeric libraries when a worker loads them: waiting threads must not spin.
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
        for number in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, setup, worker),
                                      name=f'eval-{number}', daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(mine)
            self._processes.append(process)

    def start(self, lane: int, job: Any) -> None:
        """Send the job."""
        try:
            self._pipes[lane].send(job)
        except OSError:
            pass  # it has died; ``wait`` reads from the pipe why

    def wait(self) -> list[tuple[int, Row]]:
        """Collect what arrived."""
        rows = []
        for pipe in wait(self._pipes):
            lane = self._pipes.index(pipe)  # type: ignore[arg-type]
            try:
                kind, value = self._pipes[lane].recv()
            except (EOFError, OSError) as error:
                self._processes[lane].join(5)
                raise BackendError(f'worker process {lane} ended by itself (exit status '
                                   f'{self._processes[lane].exitcode}; -9 usually means that '
                                   'memory ran out: use fewer --jobs)') from error
            if kind == 'error':
                raise restore(*value)
            rows.append((lane, value))
        return rows

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def serve(pipe: Connection, setup: Any, worker: str) -> None:
    """Body of a worker process: jobs in, rows out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    try:
        made = find(worker)(setup)
        while True:
            job = pipe.recv()
            pipe.send(('row', made.run(job)))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        try:
            pipe.send(('error', (type(error).__name__, str(error), traceback.format_exc())))
        except OSError:
            return


def restore(kind: str, message: str, where: str) -> VlaPrunerError:
    """Make an error of this package out of one from another process; ``where`` is its cause."""
    known: type[VlaPrunerError] | None = getattr(errors, kind, None)
    found: VlaPrunerError
    if known is not None and known is not errors.InputError:
        found = known(message)
    elif kind == 'InputError':
        found = ConfigError(f'the policy cannot use what the simulator shows: {message}')
    else:
        found = BackendError(f'{kind} in a worker: {message} (--debug shows where)')
    found.__cause__ = RuntimeError(where)
    return found


def check_jobs(count: int) -> None:
    """Refuse a number of processes that makes no sense.

    Raises:
        ConfigError: names what is accepted.
    """
    if not 1 <= count <= MOST_JOBS:
        raise ConfigError(f'--jobs is {count}; accepted: 1 to {MOST_JOBS}')


def local_pool(count: int, setup: Any, worker: str = WORKER) -> Pool:
    """Lanes on this machine; a single one needs no process of its own."""
    return Inline(setup, worker) if count == 1 else Processes(count, setup, worker)
