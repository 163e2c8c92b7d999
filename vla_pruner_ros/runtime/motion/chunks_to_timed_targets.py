# SPDX-License-Identifier: Apache-2.0
"""The one place where chunks become motion: it knows what was sent and joins a new chunk to it.

``propose`` turns a chunk into the command that would be sent now: timed by ``chunk_timing``,
joined to the motion under way, limited, and without points that come too soon for a controller.
``commit`` says that it was sent; only then does it count, and it must not be sent any more when
something happened in between (``fits``).  The same plan gives the velocities for
servo controllers (``velocity``) and the motion that stops the robot (``stop``), so a limit that
holds for one stream holds for all.  The inference thread proposes, the executor stops and
tightens; a lock keeps them apart.  Streams never wait for it: they read single references.
"""
from collections import Counter
from dataclasses import replace
import threading

import numpy as np

from vla_pruner_ros.core.action_limits import joint_start, motion_columns
from vla_pruner_ros.core.errors import UnsafeActionError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import ActionChunk, Observation, PolicySpec
from vla_pruner_ros.runtime.gripper_decision import GripperDecision
from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.chunk_joining import (
    end_of,
    Entry,
    join,
    MOST_CHUNKS,
    sampled,
)
from vla_pruner_ros.runtime.motion.chunk_timing import ANSWER, ChunkTiming
from vla_pruner_ros.runtime.motion.motion_limits import (
    brake,
    follow,
    Followed,
    limits_of,
    MotionLimits,
    Wanted,
)
from vla_pruner_ros.runtime.motion.motion_spaces import PoseSpace, space_of
from vla_pruner_ros.runtime.motion.proposal import (
    command_of,
    first_within_reach,
    path_of,
    Proposal,
    usable,
)
from vla_pruner_ros.runtime.motion.robot_commands import (
    Command,
    EndEffectorCommand,
    integrate,
    joint_command_names,
)
from vla_pruner_ros.runtime.motion.sent_motion import SentMotion, Start
from vla_pruner_ros.runtime.motion.timed_path import TimedPath
from vla_pruner_ros.runtime.motion.velocity_stream import VelocityStream

SECOND = 10**9
FINEST = SECOND // 40  # between sent points, where rows are further apart
#: Shares of the velocity limit at which a robot behind its plan is tried to be met.
SLOWER = (1.0, 0.5, 0.25)
TRIES = 4  # times that the first point is moved
#: Ages of a measurement in which a robot that was not moved by us is brought back to it.
UNHURRIED = 3


class MotionQueue:
    """What was sent, and how the next chunk continues it.

    Args:
        spec: of the policy.
        parameters: snapshot that fits it.

    Attributes:
        timing: when rows are executed and when the next observation is due.
        limited: limit -> points where it acted, of what was sent.
        restarts: motions that began at the measurement, because the robot was not where the plan
            had sent it.
    """

    def __init__(self, spec: PolicySpec, parameters: Parameters):
        self.spec = spec
        self.space = space_of(spec)
        self.timing = ChunkTiming(spec, parameters)
        self.limited: Counter[str] = Counter()
        self.restarts = 0
        self._lock = threading.RLock()
        self._gripper = GripperDecision(spec)
        self._columns = motion_columns(spec)
        self._row_ns = round(spec.control_dt * SECOND)
        self._step_ns = self._row_ns // -(-self._row_ns // FINEST)
        self._sent = SentMotion(self.space)
        self._stream = VelocityStream(self.space, self._sent)
        self._chunks: list[Entry] = []
        self._version = 0  # counts what makes a proposal worthless
        self._kept = limits_of(parameters)  # by the motion under way
        self._names = joint_command_names(spec, parameters)
        self.update(parameters)

    def update(self, parameters: Parameters) -> None:
        """Take live parameters; what is under way changes with ``relimit``."""
        with self._lock:
            self._parameters = parameters
            self._limits = MotionLimits.of(parameters, self.spec, self.space.size)
            self._sent.update(parameters)

    def clear(self, now_ns: int | None = None) -> None:
        """Forget everything, but not that the robot is still braking at ``now_ns``."""
        with self._lock:
            self._version += 1
            if now_ns is None or not self._sent.brakes(now_ns):
                self._sent.clear()
            self._chunks.clear()

    def shift(self, span_ns: int) -> None:
        """The clock was set by ``span_ns``; the robot moves on by a clock of its own."""
        with self._lock:
            self._version += 1
            self._chunks.clear()
            self._sent.shift(span_ns)

    def fits(self, proposal: Proposal, parameters: Parameters) -> bool:
        """Whether a proposal may still be sent: no stop, no other motion, the same limits."""
        with self._lock:
            return proposal.version == self._version and proposal.limits == limits_of(parameters)

    def outdated(self, parameters: Parameters) -> bool:
        """Whether a motion is under way that was made with other limits than these."""
        with self._lock:
            return (self._sent.path is not None and not self._sent.halted
                    and self._kept != limits_of(parameters))

    def forget_gripper(self) -> None:
        """A new episode: what the gripper was told belongs to the old one."""
        with self._lock:
            self._gripper.forget()

    @property
    def path(self) -> TimedPath | None:
        """The motion under way; one reference, so that a stream never waits for a proposal."""
        return self._sent.path

    @property
    def fastest(self) -> np.ndarray:
        """Velocity limits (D,), infinite where there is none."""
        return self._limits.velocity

    @property
    def coverage_ns(self) -> int | None:
        """Until when rows have been sent; None: nothing is under way."""
        with self._lock:
            return self._sent.coverage_ns

    # ---- a new chunk

    def propose(self, chunk: ActionChunk, observation: Observation, now_ns: int,
                measured: Measured | None) -> tuple[Proposal | None, str]:
        """The command for a chunk that is sent at ``now_ns``, or why there is none.

        Args:
            chunk: safe actions.
            observation: that it answers.
            now_ns: time of sending.
            measured: newest measurement; None where there is none.

        Returns:
            (proposal, '') or (None, 'late') when all its rows are past.

        Raises:
            UnsafeActionError: its numbers are too large to be places.
        """
        measured = usable(measured)
        with self._lock:
            begins = self._sent.start(now_ns, measured)
            actions = np.asarray(chunk.actions, np.float64)
            rows = actions
            if self.timing.mode == ANSWER:
                rows = actions[:self.timing.executed_rows]
            gripper = self._gripper.decide(actions, self._parameters)
            if self.timing.mode != ANSWER and chunk.stamp_ns + len(rows) * self._row_ns <= now_ns:
                return None, 'late'
            wanted, begin = self._wanted(rows, chunk, observation, now_ns, begins)
            start = wanted.at(now_ns)[0] if begins.point is None else begins.point
            begins = replace(begins, point=start)
            old: Wanted = (self._sent.path if self._sent.path is not None and not begins.astray
                           else TimedPath.through(self.space, np.array([now_ns]), start[None]))
            proposal = self._build(self._joined(old, wanted, now_ns), wanted, begins, now_ns,
                                   measured)
            if proposal is None:
                return None, 'late'
            if not np.isfinite(proposal.path.points).all():
                raise UnsafeActionError('the chunk leads to places that are not finite')
            times = proposal.command.times_ns
            positions = None
            if gripper.positions is not None:
                index = np.clip((times - begin - 1) // self._row_ns, 0, len(rows) - 1)
                positions = gripper.positions[index]
            command = replace(proposal.command, gripper=positions)
            if isinstance(command, EndEffectorCommand):
                command = replace(command, absolute=observation.pose is not None)
            return replace(proposal, command=command, gripper=gripper, wanted=wanted), ''

    def commit(self, proposal: Proposal) -> None:
        """The proposal was sent."""
        with self._lock:
            self._version += 1
            self._sent.put(proposal.path, None if proposal.stops else proposal.coverage_ns)
            if proposal.stops:
                self._chunks.clear()
            self._kept = proposal.limits
            self.limited.update(proposal.counts)
            self.restarts += proposal.from_measured
            if proposal.gripper is not None:
                self._gripper.commit(proposal.gripper)
            if proposal.wanted is not None:
                self._chunks = [one for one in self._chunks
                                if one.path.end_ns > proposal.now_ns][1 - MOST_CHUNKS:]
                self._chunks.append(Entry(proposal.wanted, proposal.now_ns))

    def _wanted(self, rows: np.ndarray, chunk: ActionChunk, observation: Observation,
                now_ns: int, start: Start) -> tuple[TimedPath, int]:
        """What the rows want, and when row 0 begins.

        Rows that have passed count as executed only where a motion was under way; a robot that
        stood still begins with row 0 now, instead of catching up with a plan it never followed.
        """
        moving = rows[:, self._columns]
        stood = self._sent.halted or self._sent.over(now_ns)
        first = start.point
        slope: np.ndarray | None = None
        if self.timing.mode == ANSWER or stood:
            begin = now_ns + round(self._parameters.min_lead * SECOND)
            if first is None:
                first = self._observed(observation, begin)
            else:
                first = self.space.plus(first, start.velocity * ((begin - now_ns) / SECOND))
            slope = start.velocity
        else:
            begin = min(chunk.stamp_ns, now_ns)  # a camera's clock may be ahead of ours
            first = self._observed(observation, begin)
        times = begin + self._row_ns * np.arange(len(rows) + 1, dtype=np.int64)
        if isinstance(self.space, PoseSpace):
            poses = integrate(moving, None if first is None else (first[:3], first[3:]))
            return TimedPath.through(self.space, times, poses, slope), begin
        if first is None:
            return TimedPath.through(self.space, times[1:], moving), begin
        return TimedPath.through(self.space, times, np.vstack([first, moving]), slope), begin

    def _observed(self, observation: Observation, begin_ns: int) -> np.ndarray | None:
        """Where the robot was sent when the observation was made; where it was, if elsewhere."""
        if not isinstance(self.space, PoseSpace):
            return joint_start(self.spec, observation)
        if observation.pose is not None:
            return self._sent.meant(np.concatenate(observation.pose), begin_ns)
        return None if self._sent.path is None else self._sent.path.at(begin_ns)[0]

    def _joined(self, old: Wanted, wanted: TimedPath, now_ns: int) -> Wanted:
        mode = self._parameters.chunk_join
        span = 0 if mode == 'replace' else round(self._parameters.join_time * SECOND)
        if self._sent.over(now_ns):
            span = 0  # the robot stands, and the rows begin where it stands
        live = self._chunks if mode == 'ensemble' else None
        return join(self.space, old, wanted, now_ns, span, live)

    def _build(self, joined: Wanted, wanted: TimedPath, start: Start, now_ns: int,
               measured: Measured | None) -> Proposal | None:
        """Limit the joined motion and leave out what comes too soon."""
        assert start.point is not None  # the caller knows where it begins
        met = False
        for share in SLOWER:
            limits = self._limits.slower(share)
            motion, met = self._met(joined, wanted, start, now_ns, limits, measured)
            if met or start.astray:
                break
            # At its limit and behind its plan: go on more slowly, until the robot is there.
        if not met and measured is not None and not start.astray:
            stray = Start(self._sent.by_now(measured, now_ns), np.zeros(self.space.size), True)
            return self._build(joined, wanted, stray, now_ns, measured)
        if not met:
            return None
        path = path_of(self.space, motion, start, now_ns)
        coverage = path.end_ns if self.timing.mode == ANSWER else wanted.end_ns
        return Proposal(self._command(motion, now_ns), path, coverage, motion.counts, None,
                        None, now_ns, start.astray and self._sent.path is not None, False,
                        limits_of(self._parameters), self._version)

    def _met(self, joined: Wanted, wanted: TimedPath, start: Start, now_ns: int,
             limits: MotionLimits, measured: Measured | None) -> tuple[Followed, bool]:
        """A limited motion, and whether the robot can be at its first point in time.

        Where it cannot, the first point is moved, not left out: the way to the second one would
        have other velocities than those that were limited.
        """
        end = end_of(joined, wanted, now_ns)
        soonest = round(self._parameters.min_lead * SECOND)
        if not limits.any:
            return sampled(self.space, joined, wanted, now_ns, self._step_ns, soonest,
                           self._parameters.chunk_join == 'ensemble'), True
        for _ in range(TRIES):
            assert start.point is not None
            motion = follow(self.space, limits, joined, start.point, start.velocity, now_ns, end,
                            self._step_ns, soonest)
            first = self._first(motion, now_ns, measured)
            if not first:
                break
            soonest = int(motion.times_ns[first]) - now_ns
        return motion, first == 0

    def _first(self, motion: Followed, now_ns: int, measured: Measured | None) -> int | None:
        """Index of the first point that the robot can be at in time, from where it is."""
        fastest = self._limits.velocity
        if measured is None or not np.isfinite(fastest).any():
            return 0
        here = self._sent.by_now(measured, now_ns)
        return first_within_reach(self.space, motion, here, fastest, now_ns)

    def _command(self, motion: Followed, stamp_ns: int) -> Command:
        return command_of(self.space, motion, stamp_ns, self._names,
                          bool(self._parameters.pose_topic))

    # ---- the motion under way

    def relimit(self, now_ns: int, measured: Measured | None) -> Proposal | None:
        """The motion under way with the limits of now; None when nothing is under way."""
        measured = usable(measured)
        with self._lock:
            sent, covered = self._sent.path, self._sent.coverage_ns
            if sent is None or self._sent.halted or self._sent.over(now_ns):
                self._kept = limits_of(self._parameters)  # nothing under way keeps other ones
                return None
            start = self._sent.start(now_ns, measured)
            proposal = None if start.astray else self._build(sent, sent, start, now_ns, measured)
            if proposal is None:
                return self._stopped(now_ns, measured)
            return replace(proposal, coverage_ns=min(covered or sent.end_ns, proposal.path.end_ns))

    def stop(self, now_ns: int, measured: Measured | None) -> Proposal | None:
        """The motion that brings the robot to rest where it is; None: nothing is known.

        The commanded motion is braked within the acceleration limit.  A robot that is not where
        the plan has it, or that was sent nothing, is held where it was measured.
        """
        with self._lock:
            return self._stopped(now_ns, usable(measured))

    def _stopped(self, now_ns: int, measured: Measured | None) -> Proposal | None:
        start = self._sent.start(now_ns, measured, stopping=True)
        if start.point is None:
            return None
        soonest = round(self._parameters.min_lead * SECOND)
        if start.astray and measured is not None:
            # What moved it, it may have gone on since: it is not to be pulled back in a hurry.
            soonest = max(soonest, UNHURRIED * measured.age_ns)
        for _ in range(TRIES):
            motion = self._rest(start, now_ns, soonest)
            if start.astray or self._first(motion, now_ns, measured) == 0:
                break
            soonest = 2 * max(soonest, self._step_ns)  # it lags: time to come to the first point
        else:
            if measured is not None:  # it does not follow
                start = Start(self._sent.by_now(measured, now_ns), np.zeros(self.space.size), True)
                motion = self._rest(start, now_ns, soonest)
        return Proposal(self._command(motion, now_ns), path_of(self.space, motion, start, now_ns),
                        now_ns, {}, None, None, now_ns, start.astray, True,
                        limits_of(self._parameters), self._version)

    def _rest(self, start: Start, now_ns: int, soonest_ns: int) -> Followed:
        assert start.point is not None
        return brake(self.space, self._limits, start.point, start.velocity, now_ns, self._step_ns,
                     soonest_ns).held(self._row_ns)

    def braking(self, point: np.ndarray, velocity: np.ndarray, now_ns: int) -> TimedPath:
        """The motion that brings a robot with this velocity to rest, within the limits."""
        motion = brake(self.space, self._limits, point, velocity, now_ns, self._step_ns)
        return path_of(self.space, motion, Start(point, velocity, False), now_ns)

    def velocity(self, now_ns: int, period_ns: int, measured: Measured | None,
                 path: TimedPath | None = None) -> np.ndarray | None:
        """Velocity (D,) for the next ``period_ns``; None when nothing is to be sent.

        ``path`` is a plan in place of the motion under way.
        """
        speed, cut = self._stream.at(path or self._sent.path, now_ns, period_ns,
                                     usable(measured), self._limits)
        if cut:
            with self._lock:
                self.limited['position'] += cut
        return speed
