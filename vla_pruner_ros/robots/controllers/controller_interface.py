# SPDX-License-Identifier: Apache-2.0
"""What every modelled controller can do: take a message, hear the robot, say where to go now.

The order of one control cycle is that of ros2_control: ``feedback``, then ``command``; messages
come in between.  Times are nanoseconds of one clock, whichever it is.
"""
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, InputError
from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND

#: Control cycles per second where nobody asks for another rate.
RATE_HZ = 250.0


@dataclass(frozen=True)
class Receipt:
    """What became of a message; true where it was accepted.

    Attributes:
        accepted: the controller will act on it.
        reason: one word, empty where accepted.
        detail: a sentence for people.
    """

    accepted: bool = True
    reason: str = ''
    detail: str = ''

    def __bool__(self) -> bool:
        """Whether the message was accepted."""
        return self.accepted


@dataclass(frozen=True)
class Setpoint:
    """What the robot is told in one control cycle.

    Attributes:
        position: (J,) radians or metres; of a hand (7,) x y z in metres, quaternion x y z w.
        velocity: (J,) per second; of a hand (6,) m/s and rad/s in the base frame.
    """

    position: np.ndarray
    velocity: np.ndarray


class Controller(ABC):
    """A controller of one group of joints, or of one hand.

    Attributes:
        refused: messages that were not accepted, by reason.
    """

    def __init__(self) -> None:
        """Start with nothing refused."""
        self.refused: Counter[str] = Counter()

    @abstractmethod
    def receive(self, message: Any, now_ns: int) -> Receipt:
        """Take a message at the time at which it arrives; never raises because of its content."""

    @abstractmethod
    def feedback(self, position: np.ndarray, now_ns: int,
                 velocity: np.ndarray | None = None) -> None:
        """Take the measured state.

        Args:
            position: as in ``Setpoint``.
            now_ns: time of the measurement.
            velocity: as in ``Setpoint``, or None where the robot reports none.
        """

    @abstractmethod
    def command(self, now_ns: int) -> Setpoint:
        """One control cycle.

        Raises:
            InputError: ``no_feedback``: the robot has not told where it is.
        """

    @property
    @abstractmethod
    def covered_until_ns(self) -> int | None:
        """Time of the last commanded row, None: nothing is commanded, the robot holds."""

    def _refuse(self, error: InputError) -> Receipt:
        self.refused[error.reason] += 1
        return Receipt(False, error.reason, str(error))


def period_of(rate_hz: float) -> int:
    """Cycles per second -> nanoseconds of one cycle.

    Raises:
        ConfigError: not a positive finite rate.
    """
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise ConfigError(f'rate_hz is {rate_hz!r}, a positive number is wanted')
    return int(SECOND / rate_hz)


def control_times(start_ns: int, stop_ns: int, rate_hz: float = RATE_HZ, jitter_ns: int = 0,
                  seed: int = 0) -> Iterator[int]:
    """Times of the control cycles from ``start_ns`` to before ``stop_ns``.

    Args:
        start_ns: nominal time of the first cycle.
        stop_ns: no cycle nominally begins here or later.
        rate_hz: cycles per second.
        jitter_ns: each cycle is early or late by at most this, evenly distributed.
        seed: of the jitter.

    Raises:
        ConfigError: the rate, or a jitter that would let cycles overtake each other.
    """
    period = period_of(rate_hz)
    if not 0 <= 2 * jitter_ns < period:
        raise ConfigError(f'jitter_ns is {jitter_ns}, at most {(period - 1) // 2} is accepted at '
                          f'{rate_hz} Hz')
    random = np.random.default_rng(seed)
    for nominal in range(start_ns, stop_ns, period):
        yield nominal + (int(random.integers(-jitter_ns, jitter_ns + 1)) if jitter_ns else 0)
