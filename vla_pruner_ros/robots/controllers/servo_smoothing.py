# SPDX-License-Identifier: Apache-2.0
"""Smoothing plugins of MoveIt Servo (moveit_core, online_signal_smoothing)."""
from typing import Protocol

import numpy as np

from vla_pruner_ros.core.errors import ConfigError

#: Below these two differences the acceleration limited filter stays where it is.
_NO_DIFFERENCE = 1e-4


class Smoothing(Protocol):
    """Acts on one row of joint positions per cycle."""

    def smooth(self, position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Wanted position and velocity (J,) -> those that are sent."""

    def reset(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """Forget the past: the robot is here."""


class NoSmoothing:
    """``use_smoothing: false``."""

    def smooth(self, position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change nothing."""
        return position, velocity

    def reset(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """Nothing to forget."""


class Butterworth:
    """First-order low pass on POSITIONS (butterworth_filter.cpp), the default of all versions.

    Because Servo adds its step to the filter's own last output, a constant twist ends up at
    2 / (2 + coefficient) of the speed that was asked: 4/7 with the default.

    Args:
        coefficient: more than 1; more is slower.

    Raises:
        ConfigError: 1 or less.
    """

    def __init__(self, coefficient: float = 1.5):
        if not coefficient > 1:
            raise ConfigError(f'butterworth_filter_coeff is {coefficient!r}, more than 1 is '
                              'accepted')
        self._scale, self._feedback = 1 / (1 + coefficient), 1 - coefficient
        self._input = self._output = np.zeros(1)

    def smooth(self, position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Filter the position; the velocity stays as asked."""
        self._output = self._scale * (self._input + position - self._feedback * self._output)
        self._input = position
        return self._output, velocity

    def reset(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """Let past input and output be here."""
        self._input = self._output = position


class AccelerationLimited:
    """Goes on the straight line to the target as far as accelerations allow, else brakes.

    acceleration_filter.cpp, Jazzy and later.  There a solver looks for the point of the line; in
    one dimension the answer is the end of an interval.

    Args:
        limit: (J,) or one number for all, largest acceleration.
        period: seconds between calls.

    Raises:
        ConfigError: a limit that is not positive.
    """

    def __init__(self, limit: np.ndarray | float, period: float):
        if not (np.asarray(limit) > 0).all():
            raise ConfigError(f'max_acceleration is {limit!r}, positive numbers are accepted')
        self._limit, self._period = limit, period
        self._position = self._velocity = np.zeros(1)

    def smooth(self, position: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest point to the target that may be reached."""
        back = self._position - position
        if np.linalg.norm(back) < _NO_DIFFERENCE \
                and np.linalg.norm(self._velocity - velocity) < _NO_DIFFERENCE:
            return self._position, self._velocity
        part = self._part_left(back, position)
        if part is None:
            wanted = -self._velocity / self._period
            with np.errstate(divide='ignore', invalid='ignore'):
                fits = np.where(wanted == 0, 1.0, self._limit / np.abs(wanted))
            wanted = wanted * min(1.0, float(np.min(fits)))
            self._velocity = self._velocity + wanted * self._period
            self._position = self._position + self._velocity * self._period
        else:
            there = part * self._position + (1 - part) * position
            self._velocity = (there - self._position) / self._period
            self._position = there
        return self._position, self._velocity

    def reset(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """The robot is here, this fast."""
        self._position, self._velocity = position, velocity

    def _part_left(self, back: np.ndarray, position: np.ndarray) -> float | None:
        """Smallest part of the way that must be left, None: no point of the line will do."""
        drift = self._position + self._velocity * self._period - position
        room = np.asarray(self._limit) * self._period**2
        low, high = 0.0, 1.0
        for way, least, most in zip(back, drift - room, drift + room):
            if way == 0:
                if not least <= 0 <= most:
                    return None
                continue
            ends = sorted((least / way, most / way))
            low, high = max(low, ends[0]), min(high, ends[1])
        return low if low <= high else None
