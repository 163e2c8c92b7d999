# SPDX-License-Identifier: Apache-2.0
"""A path in time: points with times, smooth between them, standing still before and after.

Between two points the path is a cubic whose velocities at the points are those given, or the mean
of the two neighbouring slopes (Catmull-Rom), which keeps a straight line straight and does not
ring.
"""
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vla_pruner_ros.runtime.motion.motion_spaces import Space

SECOND = 10**9


@dataclass(frozen=True)
class TimedPath:
    """Points in time.

    Attributes:
        space: of the points.
        times_ns: (P,) int64, strictly increasing.
        points: (P, ...) of the space.
        velocities: (P, D) units per second, at the points.
    """

    space: Space
    times_ns: np.ndarray
    points: np.ndarray
    velocities: np.ndarray

    @classmethod
    def through(cls, space: Space, times_ns: np.ndarray, points: np.ndarray,
                velocity: np.ndarray | None = None) -> 'TimedPath':
        """Path through ``points`` that ends standing still.

        It begins with ``velocity`` (D,), or at the first slope.
        """
        count = len(points)
        if count < 2:
            return cls(space, times_ns, points, np.zeros((count, space.size)))
        seconds = np.diff(times_ns)[:, None] / SECOND
        slopes = np.array([space.minus(after, before)
                           for before, after in zip(points[:-1], points[1:])]) / seconds
        inner = (slopes[:-1] * seconds[1:] + slopes[1:] * seconds[:-1]) / (
            seconds[:-1] + seconds[1:])
        return cls(space, times_ns, points,
                   np.vstack([slopes[:1] if velocity is None else velocity[None], inner,
                              np.zeros((1, space.size))]))

    @property
    def start_ns(self) -> int:
        """Time of the first point."""
        return int(self.times_ns[0])

    @property
    def end_ns(self) -> int:
        """Time of the last point."""
        return int(self.times_ns[-1])

    @cached_property
    def fastest(self) -> np.ndarray:
        """Largest speed at the points (D,)."""
        return np.asarray(np.abs(self.velocities).max(axis=0))

    def at(self, time_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Point and velocity (D,) at a time; at rest before the first and after the last point."""
        if time_ns < self.times_ns[0]:
            return self.points[0], np.zeros(self.space.size)
        if time_ns >= self.times_ns[-1]:
            return self.points[-1], np.zeros(self.space.size)
        index = int(np.searchsorted(self.times_ns, time_ns, side='right')) - 1
        span = (self.times_ns[index + 1] - self.times_ns[index]) / SECOND
        share = (time_ns - self.times_ns[index]) / SECOND / span
        before, after = self.points[index], self.points[index + 1]
        whole = self.space.minus(after, before)
        first, last = self.velocities[index] * span, self.velocities[index + 1] * span
        square = share * share
        cube = square * share
        away = (3 * square - 2 * cube) * whole + (cube - 2 * square + share) * first + (
            cube - square) * last
        speed = ((6 * share - 6 * square) * whole + (3 * square - 4 * share + 1) * first
                 + (3 * square - 2 * share) * last) / span
        return self.space.plus(before, away), speed
