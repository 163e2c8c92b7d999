# SPDX-License-Identifier: Apache-2.0
"""The plan by time, for controllers that want to be told in every cycle: where to be, how fast.

Follows the motion under way; at the end it says for a moment where that ended, then nothing, so
that others may command the robot.  A stop is played by the player's own time, so it ends also
where the clock stands still or jumps.  Whatever becomes of the plan, a motion that was begun is
braked: there is nothing behind these controllers that would end it.
"""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.chunks_to_timed_targets import MotionQueue
from vla_pruner_ros.runtime.motion.timed_path import TimedPath
from vla_pruner_ros.runtime.motion.velocity_stream import CLOSING_NS

SECOND = 10**9
CLOCK_STEP = SECOND // 4  # the clock may run ahead by this much from one call to the next
APART = SECOND // 20  # between the times of the player and of a stop that it can go over to
STILL = 1e-9  # units per second


@dataclass(frozen=True)
class Sample:
    """What a stream says at one moment.

    Attributes:
        time_ns: of the plan.
        point: where to be, of the motion's space; None where that is not known.
        velocity: (D,) mean until the next sample.
    """

    time_ns: int
    point: np.ndarray | None
    velocity: np.ndarray


class PlanPlayer:
    """Plays the motion under way; belongs to one stream, whose lock it relies on.

    Args:
        motion: what was sent.
        period_ns: between two samples.
        measured: time -> newest measurement.
    """

    def __init__(self, motion: MotionQueue, period_ns: int,
                 measured: Callable[[int], Measured | None]):
        self._motion, self._period, self._measured = motion, period_ns, measured
        self._following = False
        self._path: TimedPath | None = None  # that is played
        self._said: tuple[np.ndarray, np.ndarray] | None = None  # point and velocity, last
        self._held = 0  # samples in a row that stand still where the path does
        self._time = 0
        self._planned: int | None = None
        self._closing: int | None = None  # until when zeros are said, where nothing is known

    @property
    def following(self) -> bool:
        """Whether the motion under way is played, with whatever takes its place."""
        return self._following

    @property
    def stopping(self) -> bool:
        """Whether a stop is being played."""
        return not self._following and (self._path is not None or self._closing is not None)

    @property
    def rested(self) -> bool:
        """Whether what was said last holds the robot: the same place twice."""
        return self._said is None or self._held > 1

    def follow(self) -> None:
        """A command was sent: play the motion under way."""
        self._following = True
        self._closing = None

    def stop(self, path: TimedPath | None = None) -> None:
        """End the motion: play ``path``, or brake from what was said last.

        So it does also where ``path`` is timed by a clock that has stood still or was set
        meanwhile: played from here, it would be a leap.
        """
        self._following = False
        if self._said is None:
            self._time = self._time if path is None else path.start_ns
        elif path is None or abs(path.start_ns - self._time) > 2 * self._period + APART:
            path = self._motion.braking(*self._said, self._time)
        self._path = path
        self._closing = self._time + CLOSING_NS if path is None else None

    def still(self) -> Sample:
        """What ends a motion at once."""
        return Sample(self._time, None if self._said is None else self._said[0],
                      np.zeros(self._motion.space.size))

    def silence(self) -> None:
        """Say nothing more."""
        self._following = False
        self._path = self._said = self._closing = None

    def sample(self, now_ns: int, planned_ns: int) -> Sample | None:
        """What to say now; None: nothing.

        Args:
            now_ns: node time.
            planned_ns: steady time for which this call was planned, one period after the last.
        """
        elapsed = self._period if self._planned is None else planned_ns - self._planned
        self._planned = planned_ns
        if self._following:
            self._take(now_ns, elapsed)
        else:
            self._time = self._time + elapsed if self.stopping else now_ns
        if self._path is None:
            return self._zeros()
        velocity = self._motion.velocity(self._time, self._period, self._measured(now_ns),
                                         self._path)
        if velocity is None:
            self._said = None
            if not self._following:
                self._path = None
            return None
        point, speed = self._path.at(self._time)
        near = self._in_reach(point)
        self._held = self._held + 1 if near is point and np.abs(speed).max() < STILL else 0
        self._said = near, speed
        return Sample(self._time, near, velocity)

    def _take(self, now_ns: int, elapsed: int) -> None:
        """Go on in the motion under way, which may be another one by now."""
        path = self._motion.path
        if path is None:  # forgotten by somebody: end what was begun
            self._time += elapsed
            self.stop()
        elif path is not self._path and (self._path is None or now_ns >= path.start_ns):
            self._path, self._time = path, now_ns
            if self._said is None:  # the robot is where the plan begins
                self._said = path.points[0], path.velocities[0]
        elif 0 <= now_ns - self._time <= elapsed + CLOCK_STEP:
            self._time = now_ns
        else:  # the clock was set: the motion goes on at its own pace
            self._time += elapsed

    def _zeros(self) -> Sample | None:
        if self._closing is None or self._time >= self._closing:
            self._closing = None
            return None
        return Sample(self._time, None, np.zeros(self._motion.space.size))

    def _in_reach(self, point: np.ndarray) -> np.ndarray:
        """Where samples were left out, the way is made good at the velocity limit, not at once."""
        fastest = self._motion.fastest
        if self._said is None or not np.isfinite(fastest).any():
            return point
        space, reach = self._motion.space, fastest * (self._period / SECOND)
        away = space.minus(point, self._said[0])
        if (np.abs(away) <= reach).all():
            return point
        return space.plus(self._said[0], np.clip(away, -reach, reach))
