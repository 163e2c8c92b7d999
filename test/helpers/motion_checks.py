# SPDX-License-Identifier: Apache-2.0
"""A robot in virtual time that is sent random motion, and everything that must hold for it.

The robot follows what it is sent as a controller with cubic interpolation does, from the state in
which a message finds it; its measurements are old, it lags, and people move it.
"""
from dataclasses import dataclass

from fakes import make_parameters, make_spec
import numpy as np

from vla_pruner_ros.core.types import ActionChunk, Observation
from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.chunks_to_timed_targets import MotionQueue
from vla_pruner_ros.runtime.motion.motion_limits import MotionLimits
from vla_pruner_ros.runtime.motion.proposal import Proposal
from vla_pruner_ros.runtime.motion.timed_path import TimedPath

SECOND, MS = 10**9, 10**6
BEAT = 33 * MS
SPECS = {
    'joints': make_spec(action_kind='joint_position', action_names=('a', 'b'), gripper_index=None,
                        state_names=('a', 'b')),
    'poses': make_spec(action_names=('dx', 'dy', 'dz', 'rx', 'ry', 'rz', 'gripper'),
                       gripper_index=6)}
HOME = {'joints': np.zeros(2), 'poses': np.array([0.0, 0, 0, 0, 0, 0, 1])}
SLACK = 1e-5


@dataclass
class State:
    """Where the controller has the robot, and how fast."""

    point: np.ndarray
    speed: np.ndarray


class MovedRobot:
    """A queue, the robot that follows it, and the checks of every message.

    Args:
        kind: ``joints`` or ``poses``.
        parameters: of the queue.
    """

    def __init__(self, kind: str, **parameters: object):
        self.spec, self.kind = SPECS[kind], kind
        self.parameters = make_parameters(instruction='x', **parameters)
        self.queue = MotionQueue(self.spec, self.parameters)
        self.space = self.queue.space
        self.now = 100 * SECOND
        self.path: TimedPath | None = None  # of the controller
        self.rest = HOME[kind]
        self.offset = np.zeros(self.space.size)  # of the robot from its controller
        self.age, self.lag = 0, 0
        self.tightened = False

    # ---- the world

    def state(self, at: int | None = None) -> State:
        """What the controller commands at a time."""
        if self.path is None:
            return State(self.rest, np.zeros(self.space.size))
        return State(*self.path.at(self.now if at is None else at))

    def measured(self) -> Measured:
        """An old measurement of a robot that lags."""
        return Measured(self.space.plus(self.state(self.now - self.age - self.lag).point,
                                        self.offset), self.age)

    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.now += ms * MS

    # ---- what is done to it

    def change(self, values: dict[str, object]) -> None:
        """Live parameters; the motion under way takes the new limits."""
        self.parameters = self.parameters.changed(values)
        self.queue.update(self.parameters)
        self.queue.timing.update(self.parameters, 100 * MS)
        if self.queue.outdated(self.parameters):
            self.tightened = True
            proposal = self.queue.relimit(self.now, self.measured())
            if proposal is not None:
                self.sent(proposal)

    def chunk(self, rows: list[float], age_ms: int) -> None:
        """An answer to an observation that is ``age_ms`` old."""
        stamp = self.now - age_ms * MS
        columns = len(self.spec.action_names)
        actions = np.resize(np.array(rows), (self.spec.action_horizon, columns))
        if self.kind == 'poses':
            actions = actions * 0.1
        then = self.state(stamp).point
        observation = (Observation({}, then, 'x', stamp) if self.kind == 'joints' else
                       Observation({}, np.zeros(4), 'x', stamp, (tuple(then[:3]),
                                                                 tuple(then[3:]))))
        proposal, reason = self.queue.propose(ActionChunk(actions, stamp, self.spec.control_dt),
                                              observation, self.now, self.measured())
        assert (proposal is None) == bool(reason)
        if proposal is not None:
            self.sent(proposal)

    def hand(self, apart: float) -> None:
        """Somebody pushes the robot away from where it was sent."""
        push = np.full(self.space.size, apart)
        if self.path is None:
            self.rest = self.space.plus(self.rest, push)
        else:
            self.offset = push

    def clock(self, ms: int) -> None:
        """The clock is set; the controller goes by another one."""
        self.now += ms * MS
        if self.path is not None:
            self.path = TimedPath(self.space, self.path.times_ns + ms * MS, self.path.points,
                                  self.path.velocities)
        self.queue.shift(ms * MS)

    def stop(self) -> None:
        """The safe action."""
        proposal = self.queue.stop(self.now, self.measured())
        self.sent(proposal)
        assert not self.queue.velocity(proposal.path.end_ns, BEAT, None).any()

    def sent(self, proposal: Proposal) -> None:
        """A message reaches the controller: check it, then follow it."""
        assert self.queue.fits(proposal, self.parameters)
        state = self.state()
        if proposal.from_measured:  # it is somewhere else, so nothing can be continuous
            state = State(proposal.path.points[0], np.zeros(self.space.size))
            self.offset = np.zeros(self.space.size)
        command = proposal.command
        points = command.positions if self.kind == 'joints' else command.poses
        path = TimedPath(self.space, np.concatenate([[self.now], command.times_ns]),
                         np.vstack([state.point, points]),
                         np.vstack([state.speed, command.velocities]))
        self.check(path)
        if not proposal.from_measured:
            self.reach(path)
        self.queue.commit(proposal)
        self.path = path

    # ---- what must hold

    def check(self, path: TimedPath) -> None:
        """Times, finite numbers, limits of the cubic through the points."""
        lead = round(self.parameters.min_lead * SECOND)
        assert (np.diff(path.times_ns) > 0).all()
        assert path.times_ns[1] >= self.now + lead
        assert np.isfinite(path.points).all() and np.isfinite(path.velocities).all()
        assert not path.velocities[-1].any()
        limits = MotionLimits.of(self.parameters, self.spec, self.space.size)
        fastest, force = limits.velocity, limits.acceleration
        if self.tightened:
            fastest = np.maximum(fastest, np.abs(path.velocities[0]))
        seconds = np.diff(path.times_ns)[:, None] / SECOND
        whole = np.array([self.space.minus(after, before)
                          for before, after in zip(path.points[:-1], path.points[1:])])
        first, last = path.velocities[:-1], path.velocities[1:]
        start = (6 * whole / seconds - 4 * first - 2 * last) / seconds
        end = (-6 * whole / seconds + 2 * first + 4 * last) / seconds
        assert np.abs(np.stack([start, end])).max() < np.inf
        over = np.maximum(np.abs(start), np.abs(end)) - force
        assert (over <= 1e-3 * np.minimum(force, 1e6) + SLACK).all(), over.max()
        share = np.linspace(0, 1, 9)[:, None, None]
        square = share**2
        speed = np.abs((6 * share - 6 * square) * whole / seconds
                       + (3 * square - 4 * share + 1) * first + (3 * square - 2 * share) * last)
        assert (speed <= fastest + SLACK).all(), (speed - fastest).max()
        self.check_box(path, limits)

    def check_box(self, path: TimedPath, limits: MotionLimits) -> None:
        """Positions, also between the points."""
        box = len(limits.low)
        if not box or self.tightened:
            return
        times = np.linspace(path.start_ns, path.end_ns, 200).astype(np.int64)
        places = np.array([path.at(int(time))[0][:box] for time in times])
        start = path.points[0][:box]
        assert (places <= np.maximum(limits.high, start) + SLACK).all()
        assert (places >= np.minimum(limits.low, start) - SLACK).all()

    def reach(self, path: TimedPath) -> None:
        """The first point is within reach of a robot that lags behind its controller."""
        limits = MotionLimits.of(self.parameters, self.spec, self.space.size)
        fastest = np.maximum(limits.velocity, np.abs(path.velocities[0]))
        away = np.abs(self.space.minus(path.points[1], self.state(self.now - self.lag).point))
        seconds = (path.times_ns[1] - self.now) / SECOND
        if self.offset.any() or self.tightened:
            return
        assert (away <= fastest * seconds + SLACK).all(), (away / seconds).max()


class TwistRobot(MovedRobot):
    """Integrates the velocities that it is sent every 33 ms; they are checked, not the poses."""

    def __init__(self, **parameters: object):
        super().__init__('poses', **parameters)
        self.places = [(self.now, self.rest)]
        self.twist = np.zeros(6)

    def state(self, at: int | None = None) -> State:
        """Where it went."""
        when = self.now if at is None else at
        place = next((one for time, one in reversed(self.places) if time <= when), self.rest)
        return State(place, self.twist)

    def wait(self, ms: int) -> None:
        """Some heartbeats."""
        for _ in range(-(-ms // 33)):
            self.beat()

    def beat(self) -> None:
        """One velocity, checked and integrated."""
        cut, before = self.queue.limited['position'], self.twist
        sent = self.queue.velocity(self.now, BEAT, self.measured())
        limits = MotionLimits.of(self.parameters, self.spec, 6)
        self.twist = np.zeros(6) if sent is None else sent
        assert (np.abs(self.twist) <= limits.velocity + SLACK).all()
        if self.queue.limited['position'] == cut and before is not None:
            change = np.abs(self.twist - before) / (BEAT / SECOND)
            # Some percent more: rotations one after the other do not just add up.
            assert (change <= limits.acceleration * 1.05 + SLACK).all(), change
        place = self.space.plus(self.places[-1][1], self.twist * (BEAT / SECOND))
        assert (place[:3] <= limits.high + SLACK).all()
        assert (place[:3] >= limits.low - SLACK).all()
        self.now += BEAT
        self.places.append((self.now, place))

    def stop(self) -> None:
        """Zero at once."""
        self.queue.clear()
        self.twist = np.zeros(6)
        self.beat()

    def sent(self, proposal: Proposal) -> None:
        """The plan is taken up; a robot that starts anew stands."""
        self.queue.commit(proposal)
        if proposal.from_measured or self.queue.limited['position']:
            self.twist = None  # where it was cut, it is not where it was planned
