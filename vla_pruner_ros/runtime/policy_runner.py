# SPDX-License-Identifier: Apache-2.0
"""Messages in, commands out: what the node and the replay both drive.

One call of ``tick`` is: newest observation -> resets -> policy step -> safety -> command.
Whatever goes wrong becomes a counted reason, so a caller needs no error handling of its own.
``tick`` belongs to one inference thread; ``update``, ``reset`` and everything on ``cache`` may be
called from any thread and takes effect at the next tick.
"""
from collections.abc import Callable
from dataclasses import dataclass
import threading
import traceback
from typing import Any

from vla_pruner_ros.core.backend_interface import Backend
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import BackendError, InputError, UnsafeActionError, VlaPrunerError
from vla_pruner_ros.core.parameter_table import Parameters
from vla_pruner_ros.core.types import ActionChunk, Observation, StepStats
from vla_pruner_ros.runtime.observation_cache import ObservationCache
from vla_pruner_ros.runtime.step_counters import Counters
from vla_pruner_ros.runtime.timed_targets import Command, CommandBuilder, trim

SECOND = 10**9


@dataclass(frozen=True)
class Tick:
    """Outcome of one tick.

    Attributes:
        reason: ``''`` with a command; else why there is none (a drop, ``'no_new_frame'``,
            ``'not_due'``, ``'late'``, ``'unsafe_action'``, ``'backend_error'`` ...).
        chunk: the safe chunk; None where the policy gave none.
        command: what to publish, past points trimmed.
        full: the same command before trimming (its twists cover the present).
        stats: of the policy step; also given when its answer was unsafe or late.
        observation: what the policy saw.
        resets: reasons for which the policy's memory was cleared before this step.
        message: one sentence for the log where something failed.
    """

    reason: str
    chunk: ActionChunk | None = None
    command: Command | None = None
    full: Command | None = None
    stats: StepStats | None = None
    observation: Observation | None = None
    resets: tuple[str, ...] = ()
    message: str = ''


class PolicyRunner:
    """A policy with its inputs, safety limits and counters.

    Args:
        backend: the loaded policy.
        parameters: first snapshot.

    Raises:
        ConfigError: parameters that do not fit the policy (cameras, state sources, joint names).
    """

    def __init__(self, backend: Backend, parameters: Parameters):
        self.spec = backend.spec
        self.parameters = parameters
        self.counters = Counters()
        self.cache = ObservationCache(backend.spec, parameters)
        self.commands = CommandBuilder(backend.spec, parameters)
        self.engine = PolicyEngine(backend, parameters)
        self._lock = threading.Lock()
        self._next_parameters: Parameters | None = None
        self._requested: list[str] = []

    def warm_up(self) -> None:
        """Run the policy once on made-up input: the first run is always a slow one."""
        self.engine.warm_up()

    def update(self, parameters: Parameters) -> None:
        """Use a new snapshot from the next tick on.

        Raises:
            ConfigError: it does not fit the policy; the present one stays in use.
        """
        self.engine.update(parameters)
        with self._lock:
            self._next_parameters = parameters
        self.cache.update(parameters)

    def reset(self, reason: str) -> None:
        """Clear the policy's memory before the next step."""
        with self._lock:
            self._requested.append(reason)

    def activate(self) -> None:
        """Start afresh: no old messages, no memory."""
        self.cache.clear()
        self.reset('activation')

    def diagnostics(self) -> dict[str, Any]:
        """All counts as plain data: counters, resets, drops and warnings by reason, cameras."""
        drops, warnings = self.cache.counts()
        return {**self.counters.snapshot(), 'resets': dict(self.engine.resets), 'drops': drops,
                'warnings': warnings, 'cameras': self.cache.cameras()}

    def tick(self, now_ns: int, clock: Callable[[], int] | None = None) -> Tick:
        """Answer the newest observation, if there is one that is due.

        Args:
            now_ns: time of the tick; ages are measured against it.
            clock: read again after the policy ran, to trim points that are past by then.  Without
                one, computing takes no time: that is how a bag is replayed deterministically.
        """
        requested = self._begin()
        take = self.cache.take(now_ns, self._interval_ns(requested))
        if take.observation is None:
            return Tick(take.reason, message=take.message)
        resets = tuple(dict.fromkeys((*requested, *take.resets)))
        self._forget(requested)
        for reason in resets:
            self.engine.reset(reason)
        if resets:
            self.commands.reset()
        try:
            return self._answer(take.observation, resets, clock or (lambda: now_ns))
        except Exception as error:  # a robot's node must outlive whatever a policy raises
            return self._failed(error, take.observation, resets)

    def _begin(self) -> tuple[str, ...]:
        with self._lock:
            parameters, self._next_parameters = self._next_parameters, None
            requested = tuple(self._requested)
        if parameters is not None:
            self.parameters = parameters
            self.commands.update(parameters)
        return requested

    def _forget(self, requested: tuple[str, ...]) -> None:
        with self._lock:
            del self._requested[:len(requested)]

    def _interval_ns(self, requested: tuple[str, ...]) -> int:
        """Time after an observation in which none is due: the executed part of its chunk."""
        if self.parameters.lock_step or requested:
            return 0
        # Some slack for jitter, but a camera three times as fast must not squeeze a step in.
        steps = min(self.parameters.execution_horizon, self.spec.action_horizon) - 0.25
        return round(steps * self.spec.control_dt * SECOND)

    def _answer(self, observation: Observation, resets: tuple[str, ...],
                clock: Callable[[], int]) -> Tick:
        chunk, stats = self.engine.step(observation)
        self.counters.step(stats)
        full = self.commands.build(chunk, observation)
        command, reason = trim(full, clock(), self.parameters.min_lead, self.parameters.lock_step)
        if reason:
            self.counters.failure(reason)
        return Tick(reason, chunk, command, full, stats, observation, resets)

    def _failed(self, error: Exception, observation: Observation,
                resets: tuple[str, ...]) -> Tick:
        reason, message = 'internal_error', str(error)
        if isinstance(error, InputError):
            reason = error.reason
        elif isinstance(error, UnsafeActionError):
            reason = 'unsafe_action'
        elif isinstance(error, BackendError):
            reason = 'backend_error'
        elif not isinstance(error, VlaPrunerError):
            message = traceback.format_exc()
        self.counters.failure(reason)
        return Tick(reason, observation=observation, resets=resets, message=message)
