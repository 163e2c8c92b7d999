# SPDX-License-Identifier: Apache-2.0
"""Messages in, commands out: what the node and the replay both drive.

One call of ``tick`` is: newest observation -> resets -> policy step -> safety -> motion ->
command.  Whatever goes wrong becomes a counted reason, so a caller needs no error handling of its
own.  A command counts only when the caller says that it was sent (``sent``).
``tick`` belongs to one inference thread; ``update``, ``reset`` and everything on ``cache`` may be
called from any thread and takes effect at the next tick.
"""
from collections.abc import Callable
from dataclasses import dataclass, replace
import threading
import traceback
from typing import Any

from vla_pruner_ros.core.backend_interface import Backend
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import BackendError, InputError, UnsafeActionError, VlaPrunerError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import ActionChunk, Continuation, Observation, StepStats
from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.chunks_to_timed_targets import MotionQueue
from vla_pruner_ros.runtime.motion.delay_window import DelayWindow
from vla_pruner_ros.runtime.motion.proposal import Proposal
from vla_pruner_ros.runtime.motion.robot_commands import (
    Command,
    CommandBuilder,
    joint_command_names,
)
from vla_pruner_ros.runtime.observation_cache import ObservationCache
from vla_pruner_ros.runtime.step_counters import Counters

SECOND = 10**9


@dataclass(frozen=True)
class Tick:
    """Outcome of one tick.

    Attributes:
        reason: ``''`` with a command; else why there is none (a drop, ``'no_new_frame'``,
            ``'not_due'``, ``'late'``, ``'unsafe_action'``, ``'backend_error'`` ...).
        chunk: the safe chunk; None where the policy gave none.
        command: what to publish: joined to the motion under way, limited, without past points.
        proposal: what follows when it is sent; None in lock step.
        stats: of the policy step; also given when its answer was unsafe or late.
        observation: what the policy saw.
        resets: reasons for which the policy's memory was cleared before this step.
        message: one sentence for the log where something failed.
    """

    reason: str
    chunk: ActionChunk | None = None
    command: Command | None = None
    proposal: Proposal | None = None
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
        self.motion = MotionQueue(backend.spec, parameters)
        self.delays = DelayWindow()
        self.engine = PolicyEngine(backend, parameters)
        self._lock = threading.Lock()
        self._next_parameters: Parameters | None = None
        self._requested: list[str] = []
        self._last_stamp: int | None = None  # of the observation answered last
        self._last_chunk: ActionChunk | None = None
        self._joints = (joint_command_names(backend.spec, parameters)
                        if backend.spec.action_kind == 'joint_position' else ())

    def warm_up(self) -> int:
        """Run the policy on made-up input, because first runs are slow; ns of the last one."""
        return self.engine.warm_up()

    def expect_delay(self, delay_ns: int) -> None:
        """Plan for this delay until answers have been measured."""
        self.delays.restart(delay_ns)
        self._plan_for(delay_ns)

    def measured(self, now_ns: int) -> Measured | None:
        """Where the robot was measured last, in the space that the policy moves it in."""
        return self.cache.measured(now_ns, self._joints)

    def sent(self, tick: Tick, now_ns: int) -> None:
        """The command of a tick was sent at ``now_ns``: from now on it is the motion under way."""
        if tick.proposal is None:
            return
        self.motion.commit(tick.proposal)
        if tick.observation is not None and tick.stats is not None and not tick.stats.reused:
            self.delays.add(now_ns - tick.observation.stamp_ns)
        self._plan_for(self.delays.percentile(95.0))

    def _plan_for(self, delay_ns: int) -> None:
        self.motion.timing.update(self.parameters, delay_ns, self.cache.frame_period_ns)

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

    def activate(self, now_ns: int | None = None) -> None:
        """Start afresh: no old messages, no memory."""
        self.cache.clear()
        self.motion.clear(now_ns)
        self.delays.restart()
        self.reset('activation')

    def diagnostics(self) -> dict[str, Any]:
        """All counts as plain data: counters, resets, drops and warnings by reason, cameras."""
        drops, warnings = self.cache.counts()
        return {**self.counters.snapshot(), 'timing': self.motion.timing.mode,
                'delay_ms': self.delays.snapshot(), 'motion_limited': dict(self.motion.limited),
                'motion_restarts': self.motion.restarts, 'resets': dict(self.engine.resets),
                'drops': drops, 'warnings': warnings, 'cameras': self.cache.cameras()}

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
            self.motion.forget_gripper()
        if 'clock_jump' in resets:
            self.motion.clear()
            self.delays.restart()
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
            self.motion.update(parameters)
            self._plan_for(self.delays.percentile(95.0))
        return requested

    def _forget(self, requested: tuple[str, ...]) -> None:
        with self._lock:
            del self._requested[:len(requested)]

    def _interval_ns(self, requested: tuple[str, ...]) -> int:
        """Time after the last observation in which none is due; see ``chunk_timing``."""
        if self.parameters.lock_step or requested or self._last_stamp is None:
            return 0
        due = self.motion.timing.next_due_ns(self._last_stamp, self.motion.coverage_ns)
        return max(due - self._last_stamp, 0)

    def _answer(self, observation: Observation, resets: tuple[str, ...],
                clock: Callable[[], int]) -> Tick:
        lock_step = self.parameters.lock_step
        observation = self._with_continuation(observation)
        self._last_stamp = observation.stamp_ns
        chunk, stats = self.engine.step(observation,
                                        0 if lock_step else self.motion.timing.lead_rows)
        self._last_chunk = chunk
        self.counters.step(stats)
        if lock_step:
            return Tick('', chunk, self.commands.build(chunk, observation), None, stats,
                        observation, resets)
        return self._planned(Tick('', chunk, None, None, stats, observation, resets), clock())

    def again(self, tick: Tick, parameters: Parameters, now_ns: int) -> Tick:
        """The tick planned anew: the robot was stopped since, or its limits have changed."""
        self.motion.update(parameters)
        assert tick.observation is not None  # there was a proposal
        try:
            return self._planned(tick, now_ns)
        except Exception as error:
            return self._failed(error, tick.observation, tick.resets)

    def _planned(self, tick: Tick, now: int) -> Tick:
        """The motion for a tick's chunk, if it were sent now."""
        assert tick.chunk is not None and tick.observation is not None
        measured = self.measured(now)
        proposal, reason = self.motion.propose(tick.chunk, tick.observation, now, measured)
        if reason and self.parameters.chunk_timing == 'auto':
            # Wholly past: the robot has stood meanwhile, so the rows may as well begin now.
            self._plan_for(now - tick.observation.stamp_ns)
            proposal, reason = self.motion.propose(tick.chunk, tick.observation, now, measured)
        if reason:
            self.counters.failure(reason)
        return replace(tick, reason=reason, proposal=proposal,
                       command=None if proposal is None else proposal.command)

    def _with_continuation(self, observation: Observation) -> Observation:
        """Tell a policy that can inpaint what the robot does while it thinks."""
        chunk = self._last_chunk
        if self.parameters.chunk_join != 'rtc' or chunk is None:
            return observation
        passed = (observation.stamp_ns - chunk.stamp_ns) * 1e-9 / chunk.control_dt
        rows = chunk.actions[max(int(passed), 0):]
        if not len(rows):
            return observation
        return replace(observation, continuation=Continuation(
            rows, min(self.motion.timing.lead_rows, len(rows))))

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
