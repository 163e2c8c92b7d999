# SPDX-License-Identifier: Apache-2.0
"""How long a model takes to answer, in virtual time: drawn from a stated distribution.

Written ``100`` (milliseconds, always) or ``100~`` (random around it: evenly distributed from half
to one and a half times).  The draws of an episode depend on its seed only, so that everything
that is compared waits for the same times.
"""
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.whole_number import whole_number

MS = 10**6
RANDOM = '~'
SPREAD = 0.5  # of the mean, to both sides
MOST = 5000  # milliseconds


@dataclass(frozen=True)
class Delay:
    """A distribution of delays.

    Attributes:
        mean_ms: milliseconds.
        random: evenly distributed around the mean, else constant.
    """

    mean_ms: int
    random: bool = False

    @property
    def name(self) -> str:
        """As it is written."""
        return f'{self.mean_ms}{RANDOM if self.random else ""}'


def parse_delay(text: str) -> Delay:
    """Read the notation.

    Raises:
        ConfigError: another form, or too long.
    """
    word = text.strip()
    number = whole_number(word.removesuffix(RANDOM))
    if number is None or number > MOST:
        raise ConfigError(f'delay is {text!r}; accepted: milliseconds from 0 to {MOST}, with '
                          f'{RANDOM!r} behind them for random ones around it')
    return Delay(number, word.endswith(RANDOM))


class DelayDraws:
    """The delays of one episode, one after the other.

    Args:
        delay: their distribution.
        seed: of the episode.
    """

    def __init__(self, delay: Delay, seed: int):
        self._delay = delay
        self._random = np.random.default_rng([seed, delay.mean_ms])

    def next_ns(self) -> int:
        """Nanoseconds that the next answer takes."""
        mean = self._delay.mean_ms * MS
        if not self._delay.random:
            return mean
        return round(mean * self._random.uniform(1.0 - SPREAD, 1.0 + SPREAD))
