# SPDX-License-Identifier: Apache-2.0
"""What was sent to the robot, and where it therefore is.

The robot is taken to be where it was sent, because a measurement is old when it is used and a
robot lags behind its commands.  Only one that is further away than its tolerance (it was moved by
hand, blocked, or never followed) starts again from the measurement.
"""
from collections import deque
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.core.parameter_table import Parameters
from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.motion_spaces import PoseSpace, Space
from vla_pruner_ros.runtime.motion.timed_path import TimedPath

#: Default of ``tracking_tolerance``: metres and radians of a pose, radians of a joint.
POSE_TOLERANCE, JOINT_TOLERANCE = (0.05, 0.05, 0.05, 0.2, 0.2, 0.2), 0.15
#: Seconds that a robot may lag behind its commands and still be where it was sent.
TRACKING_LAG = 0.15
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

    Attributes:
        path: what was sent last; None: nothing, or it was stopped.
        coverage_ns: until when rows of the policy have been sent.
    """

    def __init__(self, space: Space):
        self._space = space
        self.path: TimedPath | None = None
        self.coverage_ns: int | None = None
        self._past: deque[TimedPath] = deque(maxlen=REMEMBERED)
        self._tolerance = np.zeros(space.size)

    def update(self, parameters: Parameters) -> None:
        """Take the tolerance of a snapshot that fits the policy."""
        given, size = parameters.tracking_tolerance, self._space.size
        if not given:
            self._tolerance = (np.array(POSE_TOLERANCE) if isinstance(self._space, PoseSpace)
                               else np.full(size, JOINT_TOLERANCE))
        else:
            self._tolerance = np.full(size, given[0]) if len(given) == 1 else np.array(given)

    def put(self, path: TimedPath, coverage_ns: int) -> None:
        """A motion was sent."""
        self.path, self.coverage_ns = path, coverage_ns
        self._past.append(path)

    def clear(self) -> None:
        """Forget everything."""
        self.path = self.coverage_ns = None
        self._past.clear()

    def over(self, now_ns: int) -> bool:
        """Whether nothing is under way."""
        return self.path is None or now_ns >= self.path.end_ns

    def start(self, now_ns: int, measured: Measured | None) -> Start:
        """Where a motion that is sent now begins."""
        still = np.zeros(self._space.size)
        if self.path is None:
            return Start(None if measured is None else measured.point, still, measured is not None)
        point, speed = self.path.at(now_ns)
        if measured is None:
            return Start(point, speed, False)
        # The measurement is old by now: it is held against what was commanded then.
        if self._agrees(measured.point, self._when(measured, now_ns), speed):
            return Start(point, speed, False)
        return Start(measured.point, still, True)

    def meant(self, point: np.ndarray, time_ns: int) -> np.ndarray:
        """Where the robot was sent when it was measured at ``point``; that, if it was not there.

        Differences that a policy wants count from here: counted from the measurement, whatever
        keeps a robot behind its targets (weight, friction, its lag) is lost with every chunk.
        """
        if self.path is None or not self._agrees(
                point, self._at(time_ns), np.zeros(self._space.size)):
            return point
        return self._at(time_ns)[0]

    def _agrees(self, point: np.ndarray, sent: tuple[np.ndarray, np.ndarray],
                speed: np.ndarray) -> bool:
        """Whether a robot is where it was ``sent`` (place, rate) then, give or take its lag."""
        then, rate = sent
        apart = np.abs(self._space.minus(point, then))
        most = np.maximum(np.abs(rate), np.abs(speed))
        return bool((apart <= self._tolerance + TRACKING_LAG * most).all())

    def by_now(self, measured: Measured, now_ns: int) -> np.ndarray:
        """Where a measurement says the robot is by now: it went on with its plan meanwhile."""
        if self.path is None or not measured.age_ns:
            return measured.point
        moved = self._space.minus(self.path.at(now_ns)[0], self._when(measured, now_ns)[0])
        return self._space.plus(measured.point, moved)

    def _when(self, measured: Measured, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """What was commanded when it was measured: each joint at its own time.

        Two senders have two ages; by the older one, the joints of the other would seem astray.
        """
        if len(set(measured.ages_ns)) < 2:
            return self._at(now_ns - measured.age_ns)
        found = [self._at(now_ns - age) for age in measured.ages_ns]
        joint = range(len(found))
        return (np.array([found[one][0][one] for one in joint]),
                np.array([found[one][1][one] for one in joint]))

    def _at(self, time_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """What was commanded at a time, also before the motion under way began."""
        paths = list(self._past)
        found = next((one for one in reversed(paths) if one.start_ns <= time_ns), paths[0])
        return found.at(time_ns)
