# SPDX-License-Identifier: Apache-2.0
"""A policy that takes time, a camera, and a robot that goes where it is told.

Real time, simulated: nothing waits here, time is counted in steps of 4 ms.  The robot follows the
newest command as a trajectory controller does (cubic where velocities are given, from the state at
arrival to the first point), or integrates velocities, and tracks absolutely.
"""
from collections.abc import Callable
from dataclasses import dataclass, field

from fakes import FakeBackend, image, joints, make_parameters, pose, SECOND
import numpy as np

from vla_pruner_ros.runtime.motion.motion_spaces import PoseSpace
from vla_pruner_ros.runtime.motion.timed_path import TimedPath
from vla_pruner_ros.runtime.policy_runner import PolicyRunner, Tick

MS = 10**6
T0 = 100 * SECOND
STEP = 4 * MS  # a controller at 250 Hz
FRAME = 32 * MS


@dataclass
class Log:
    """What happened, sampled at every step.

    Attributes:
        x: place of the hand.
        covered: whether a commanded row lay ahead.
        arrivals: milliseconds at which commands arrived.
        ticks: answered ones.
        twists: velocities sent along x, and when.
    """

    x: list[float] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)
    arrivals: list[int] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)
    twists: list[tuple[int, float]] = field(default_factory=list)

    @property
    def speed(self) -> np.ndarray:
        """Metres per second along x."""
        return np.diff(self.x) * (SECOND / STEP)

    def gaps(self, begin: float) -> float:
        """Share of the time after ``begin`` seconds without a commanded row ahead."""
        return 1.0 - float(np.mean(self.covered[round(begin * SECOND) // STEP:]))


class RealTime:
    """Runs a policy with a delay; the world goes on while it thinks.

    Args:
        backend: the policy.
        delay: answer number -> milliseconds that the model takes, or a number.
        by_twist: the robot integrates velocities instead of following poses.
        stamp_ahead: milliseconds that stamps are ahead of the node's clock.
        sag: metres along x that the hand is behind where it is sent.
        parameters: of the policy.
    """

    def __init__(self, backend: FakeBackend, delay: Callable[[int], int] | int,
                 by_twist: bool = False, stamp_ahead: int = 0, sag: float = 0.0,
                 **parameters: object):
        self.backend = backend
        self.delay = delay if callable(delay) else (lambda _: delay)
        self.by_twist, self.ahead, self.sag = by_twist, stamp_ahead, sag
        self.runner = PolicyRunner(backend, make_parameters(**{
            'instruction': 'reach', 'execution_horizon': 4, **parameters}))
        self.log = Log()
        self.here = np.array([0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 1.0])
        self.speed = 0.0
        self.now = T0
        self._twist = np.zeros(6)
        self._path: TimedPath | None = None
        self._runs = 0
        self.runner.expect_delay(self.delay(0) * MS)  # as the node measures it before it is active
        predict = backend.predict_action_chunk

        def slow(*args: object) -> object:
            self._runs += 1
            self.advance(self.delay(self._runs - 1) * MS)
            return predict(*args)
        backend.predict_action_chunk = slow  # type: ignore[method-assign]

    def run(self, seconds: float) -> Log:
        """Let time pass."""
        end = self.now + round(seconds * SECOND)
        while self.now < end:
            tick = self.runner.tick(self.now, lambda: self.now)
            if tick.stats is not None:
                self.log.ticks.append(tick)
            if tick.command is not None:
                self.runner.sent(tick, self.now)
                self.log.arrivals.append((self.now - T0) // MS)
                self._receive(tick)
            self.advance(STEP)
        return self.log

    def advance(self, span_ns: int) -> None:
        """Cameras, joints and the robot go on."""
        end = self.now + span_ns
        while self.now < end:
            stamp = self.now + self.ahead * MS
            if (self.now - T0) % FRAME == 0:
                self.runner.cache.put_image('corner', image(stamp), self.now)
            if (self.now - T0) % (2 * STEP) == 0:
                self.runner.cache.put_joint_state(joints(stamp), self.now)
                self.runner.cache.put_pose(pose(
                    stamp, self.here[:3] - np.array([self.sag, 0.0, 0.0])), self.now)
            self._move()
            self.now += STEP

    def _receive(self, tick: Tick) -> None:
        command = tick.command
        self._path = TimedPath(
            PoseSpace(), np.concatenate([[self.now], command.times_ns]),
            np.vstack([self.here, command.poses]),
            np.vstack([[self.speed, 0, 0, 0, 0, 0], command.velocities]))

    def _move(self) -> None:
        if self.by_twist:
            if (self.now - T0) % FRAME == 0:
                measured = self.runner.measured(self.now)
                twist = self.runner.motion.velocity(self.now, FRAME, measured)
                self._twist = np.zeros(6) if twist is None else twist
                self.log.twists.append(((self.now - T0) // MS, float(self._twist[0])))
            self.here = PoseSpace().plus(self.here, self._twist * (STEP / SECOND))
        elif self._path is not None:
            self.here, rate = self._path.at(self.now + STEP)
            self.speed = float(rate[0])
        coverage = self.runner.motion.coverage_ns
        self.log.covered.append(coverage is not None and self.now < coverage)
        self.log.x.append(float(self.here[0]))
