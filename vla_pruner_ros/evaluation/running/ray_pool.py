# SPDX-License-Identifier: Apache-2.0
"""Lanes on a Ray cluster: the same workers, each an actor with one CPU.

Optional: needs ``ray`` here and this package, at the same version, on every node.
"""
import os
import socket
from typing import Any

from vla_pruner_ros.core.errors import BackendError, ConfigError, MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.core.whole_number import whole_number
from vla_pruner_ros.evaluation.environments.environment_interface import find
from vla_pruner_ros.evaluation.plan.episode_plan import Job
from vla_pruner_ros.evaluation.running.process_pools import Pool, restore, Row, WORKER

LOCAL = 'local'
CONNECT_TIMEOUT = 10.0  # seconds
OWN_MEMORY = 100 * 2**20  # bytes; rows are small


class RayActors(Pool):
    """One actor per lane.

    Args:
        address: of the cluster (``auto``, ``host:port``, ``ray://host:port``), or ``local`` to
            start one on this machine for as long as the pool lives.
        count: number of actors.
        setup: what the workers are made of.
        worker: ``module:attribute`` of their class.

    Raises:
        MissingDependencyError: ray is not installed.
        ConfigError: there is no such cluster, or it has too few CPUs.
    """

    def __init__(self, address: str, count: int, setup: Any, worker: str = WORKER):
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(f'--ray needs Ray: {how_to_install("ray")}') \
                from error
        self._ray = ray
        self.lanes = count
        self._running: dict[Any, int] = {}
        own = {'num_cpus': count, 'include_dashboard': False, 'object_store_memory': OWN_MEMORY}
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # nothing is reported to anybody
        try:
            if address == LOCAL:
                ray.init(address=LOCAL, log_to_driver=False, **own)
            else:
                knock(address)
                ray.init(address=address, log_to_driver=False)
        except Exception as error:  # Ray raises connection, value and its own errors here
            raise ConfigError(f'no Ray cluster at {address!r}: {error}') from error
        available = int(ray.cluster_resources().get('CPU', 0))
        if available < count:
            ray.shutdown()
            raise ConfigError(f'the Ray cluster has {available} CPUs; accepted for --jobs: at '
                              f'most that, got {count}')
        actor = ray.remote(num_cpus=1, scheduling_strategy='SPREAD')(Actor)
        self._actors = [actor.remote(setup, worker) for _ in range(count)]

    def start(self, lane: int, job: Job) -> None:
        """Submit the job."""
        self._running[self._actors[lane].run.remote(job)] = lane

    def wait(self) -> list[tuple[int, Row]]:
        """Collect the first that is ready."""
        ray = self._ray
        [ready], _ = ray.wait(list(self._running), num_returns=1)
        lane = self._running.pop(ready)
        try:
            row: Row = ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            found = restore(type(cause).__name__, str(cause), str(error))
            raise found from found.__cause__
        except ray.exceptions.RayError as error:
            raise BackendError(f'Ray worker {lane} ended: {error}') from error
        return [(lane, row)]

    def close(self) -> None:
        """End the actors and leave the cluster."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()


def knock(address: str) -> None:
    """Ask whether anybody listens at ``host:port``; Ray itself would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition('://')[2].rpartition(':')
    number = whole_number(port)
    if number is not None:
        socket.create_connection((host.strip('[]'), number), CONNECT_TIMEOUT).close()


class Actor:
    """A worker on some node; its class is looked up there, not sent there."""

    def __init__(self, setup: Any, worker: str):
        self._worker = find(worker)(setup)

    def run(self, job: Job) -> Row:
        """Run one episode."""
        row: Row = self._worker.run(job)
        return row
