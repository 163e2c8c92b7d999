# SPDX-License-Identifier: Apache-2.0
"""What was sent to the robot, and where it therefore is.

The robot is taken to be where it was sent, because a measurement is old when it is used and a
robot lags behind its commands.  Only one that is further away than its tolerance (it was moved by
hand, blocked, or never followed) starts again from the measurement.
"""
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.motion_spaces import PoseSpace, Space
from vla_pruner_ros.runtime.motion.timed_path import TimedPath

#: Default of ``tracking_tolerance``: metres and radians of a pose, radians of a joint.
POSE_TOLERANCE, JOINT_TOLERANCE = (0.05, 0.05, 0.05, 0.2, 0.2, 0.2), 0.15
#: Seconds that a robot may lag behind its commands and still be where it was sent.
TRACKING_LAG = 0.15
LAG_NS = round(TRACKING_LAG * 10**9)
REMEMBERED = 16  # motions, to know where the robot was sent when an old measurement was made


@dataclass(frozen=True)
class Start:
    """Where a motion begins.

    Attributes:
        point: of the space; None where nothing is known.
        velocity: (D,).
        astray: the robot is not where it was sent: ``point`` was measured.
    """

    point: np.ndarray | None
    velocity: np.ndarray
    astray: bool


class SentMotion:
    """The motion under way, and those before it.

    Args:
        space: that the robot moves in.

    Streams read it while others write: what they read is one reference.

    Attributes:
        coverage_ns: until when rows of the policy have been sent; None: no chunk is under way.
    """

    def __init__(self, space: Space):
        self._space = space
        self.coverage_ns: int | None = None
        self._past: tuple[TimedPath, ...] = ()  # the motion under way is the last one
        self._tolerance = np.zeros(space.size)

    @property
    def path(self) -> TimedPath | None:
        """What was sent last; None: nothing."""
        past = self._past
        return past[-1] if past else None

    def update(self, parameters: Parameters) -> None:
        """Take the tolerance of a snapshot that fits the policy."""
        given, size = parameters.tracking_tolerance, self._space.size
        if not given:
            self._tolerance = (np.array(POSE_TOLERANCE) if isinstance(self._space, PoseSpace)
                               else np.full(size, JOINT_TOLERANCE))
        else:
            self._tolerance = np.full(size, given[0]) if len(given) == 1 else np.array(given)

    @property
    def halted(self) -> bool:
        """Whether ``path`` brings the robot to rest, and no chunk is under way."""
        return bool(self._past) and self.coverage_ns is None

    def put(self, path: TimedPath, coverage_ns: int | None) -> None:
        """A motion was sent; without a coverage it brings the robot to rest."""
        self._past = (*self._past[1 - REMEMBERED:], path)
        self.coverage_ns = coverage_ns

    def clear(self) -> None:
        """Forget everything."""
        self._past, self.coverage_ns = (), None

    def shift(self, span_ns: int) -> None:
        """The clock was set by ``span_ns``: the robot goes on as if nothing had happened."""
        self._past = tuple(replace(one, times_ns=one.times_ns + span_ns) for one in self._past)
        if self.coverage_ns is not None:
            self.coverage_ns += span_ns

    def over(self, now_ns: int) -> bool:
        """Whether nothing is under way."""
        return self.path is None or now_ns >= self.path.end_ns

    def brakes(self, now_ns: int) -> bool:
        """Whether the robot is on its way to rest."""
        return (self.halted and self.path is not None
                and self.path.start_ns <= now_ns < self.path.end_ns + LAG_NS)

    def settled(self, now_ns: int, measured: Measured | None) -> bool:
        """Whether the measurement was made when the motion was over: there the robot stands."""
        return self.path is None or (
            measured is not None
            and now_ns - measured.age_ns >= self.path.end_ns + LAG_NS)

    def start(self, now_ns: int, measured: Measured | None, stopping: bool = False) -> Start:
        """Where a motion that is sent now begins.

        Args:
            now_ns: when.
            measured: newest measurement.
            stopping: it ends where it begins: a robot that stands is left where it is, because
                somebody else may have moved it.
        """
        still = np.zeros(self._space.size)
        if self.path is None or (stopping or self.halted) and self.settled(now_ns, measured):
            return Start(None if measured is None else measured.point, still, measured is not None)
        point, speed = self.path.at(now_ns)
        if measured is None:
            return Start(point, speed, False)
        # The measurement is old by now: it is held against what was commanded then.
        if self._agrees(measured.point, _when(self._past, measured, now_ns), speed):
            return Start(point, speed, False)
        return Start(measured.point, still, True)

    def meant(self, point: np.ndarray, time_ns: int) -> np.ndarray:
        """Where the robot was sent when it was measured at ``point``; that, if it was not there.

        Differences that a policy wants count from here: counted from the measurement, whatever
        keeps a robot behind its targets (weight, friction, its lag) is lost with every chunk.
        """
        past = self._past
        if not past:
            return point
        sent = _at(past, time_ns)
        return sent[0] if self._agrees(point, sent, np.zeros(self._space.size)) else point

    def _agrees(self, point: np.ndarray, sent: tuple[np.ndarray, np.ndarray],
                speed: np.ndarray) -> bool:
        """Whether a robot is where it was ``sent`` (place, rate) then, give or take its lag."""
        then, rate = sent
        apart = np.abs(self._space.minus(point, then))
        most = np.maximum(np.abs(rate), np.abs(speed))
        return bool((apart <= self._tolerance + TRACKING_LAG * most).all())

    def by_now(self, measured: Measured, now_ns: int) -> np.ndarray:
        """Where a measurement says the robot is by now: it went on with its plan meanwhile."""
        past = self._past
        if not past or not measured.age_ns:
            return measured.point
        moved = self._space.minus(past[-1].at(now_ns)[0], _when(past, measured, now_ns)[0])
        return self._space.plus(measured.point, moved)


def _when(past: Sequence[TimedPath], measured: Measured,
          now_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """What was commanded when it was measured: each joint at its own time.

    Two senders have two ages; by the older one, the joints of the other would seem astray.
    """
    if len(set(measured.ages_ns)) < 2:
        return _at(past, now_ns - measured.age_ns)
    found = [_at(past, now_ns - age) for age in measured.ages_ns]
    joint = range(len(found))
    return (np.array([found[one][0][one] for one in joint]),
            np.array([found[one][1][one] for one in joint]))


def _at(past: Sequence[TimedPath], time_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """What was commanded at a time, also before the motion under way began."""
    found = next((one for one in reversed(past) if one.start_ns <= time_ns), past[0])
    return found.at(time_ns)
