# SPDX-License-Identifier: Apache-2.0
"""Action tokens and normalised values -> actions in the units of the data set.

OpenVLA (arXiv 2406.09246) says each action dimension with one of the last 256 tokens of the
Llama vocabulary, cut evenly between -1 and 1.  The published code turns ANY other token silently
into an extreme action; here it is an error.  Values in [-1, 1] are spread over the quantiles (or
the extremes) of the data set; dimensions without the mask, usually the gripper, are left as they
are.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import AnswerError, ConfigError

#: Statistics that may be the two ends of the normalised range: 'quantiles' or 'min_max'.
BOUNDS = {'quantiles': ('q01', 'q99'), 'min_max': ('min', 'max')}


class ActionTokens:
    """The 256 action tokens.

    Args:
        vocabulary: real tokens (32000), without the rows added for padding.
        bins: edges between -1 and 1; there is one centre less.
    """

    def __init__(self, vocabulary: int = 32000, bins: int = 256):
        edges = np.linspace(-1, 1, bins)
        self.centers = (edges[:-1] + edges[1:]) / 2.0
        self.first, self.last = vocabulary - bins, vocabulary - 1

    def check(self, token: int) -> int:
        """Return ``token``.

        Raises:
            AnswerError: not an action token.
        """
        if not self.first <= token <= self.last:
            raise AnswerError(f'the model answered with token {token}, which is not an action '
                              f'(action tokens are {self.first} to {self.last}); is the '
                              'checkpoint a robot policy, and the instruction one that it was '
                              'trained for?')
        return token

    def decode(self, tokens: Sequence[int]) -> np.ndarray:
        """(n,) float64 values in (-1, 1).

        The highest token is the lowest value.  Two tokens share the highest value: 256 edges have
        255 centres.

        Raises:
            AnswerError: one is not an action token.
        """
        index = self.last - np.array([self.check(one) for one in tokens])
        return np.asarray(self.centers[np.clip(index, 0, len(self.centers) - 1)])


@dataclass(frozen=True)
class Bounds:
    """The range of one quantity in one data set, that -1 and 1 stand for.

    Attributes:
        low, high: (D,) float64.
        mask: (D,) bool; False = never normalised.
        epsilon: added to the range (OpenVLA-OFT adds 1e-8, OpenVLA nothing).
    """

    low: np.ndarray
    high: np.ndarray
    mask: np.ndarray
    epsilon: float = 0.0

    @property
    def dimensions(self) -> int:
        """D."""
        return len(self.low)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Un-normalise (..., D) values."""
        wide = 0.5 * (values + 1) * (self.high - self.low + self.epsilon) + self.low
        return np.asarray(np.where(self.mask, wide, values), np.float64)

    def squeeze(self, values: np.ndarray) -> np.ndarray:
        """Normalise (..., D) values, clipped to [-1, 1]."""
        narrow = 2 * (values - self.low) / (self.high - self.low + self.epsilon) - 1
        return np.asarray(np.clip(np.where(self.mask, narrow, values), -1.0, 1.0), np.float64)


def choose_statistics(statistics: Mapping[str, Any], key: str) -> tuple[str, Mapping[str, Any]]:
    """Pick the statistics of one data set.

    Args:
        statistics: data set -> {'action': ..., 'proprio': ...}.
        key: parameter ``unnorm_key``; may be empty where there is only one.

    Raises:
        ConfigError: none, several without a key, or a key that is not there (known ones are
            listed); or statistics that are not an object.
    """
    if not statistics:
        raise ConfigError('the checkpoint has no action statistics (norm_stats in config.json or '
                          'dataset_statistics.json), so its actions have no scale')
    known = ', '.join(sorted(statistics))
    if not key:
        if len(statistics) > 1:
            raise ConfigError(f'the checkpoint has the statistics of {len(statistics)} data sets; '
                              f'set unnorm_key to one of: {known}')
        key = next(iter(statistics))
    if key not in statistics:
        raise ConfigError(f'unnorm_key is {key!r}; the checkpoint has: {known}')
    if not isinstance(statistics[key], Mapping):
        raise ConfigError(f'the statistics of {key!r} must be an object, they are '
                          f'{statistics[key]!r}')
    return key, statistics[key]


def read_bounds(block: Any, kind: str, where: str, epsilon: float = 0.0) -> Bounds:
    """Range of the actions or the proprioception of one data set.

    Args:
        block: its statistics.
        kind: ``'quantiles'`` or ``'min_max'``.
        where: for messages, e.g. ``"norm_stats['bridge_orig']['action']"``.
        epsilon: see ``Bounds``.

    Raises:
        ConfigError: a list is missing, has another length, is not finite, or upside down.
    """
    names = BOUNDS[kind]
    try:
        low, high = (np.asarray(block[name], dtype=np.float64) for name in names)
        mask = np.asarray(block.get('mask', np.ones(low.shape, bool)), dtype=bool)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f'{where} needs the lists {names[0]} and {names[1]}: '
                          f'{type(error).__name__} {error}') from error
    if low.ndim != 1 or not len(low) or high.shape != low.shape or mask.shape != low.shape:
        raise ConfigError(f'{where} has {names[0]} of shape {low.shape}, {names[1]} of '
                          f'{high.shape} and mask of {mask.shape}; they must have one length')
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ConfigError(f'{where} has bounds that are not finite or not in order: '
                          f'{low.tolist()} to {high.tolist()}')
    return Bounds(low, high, mask, epsilon)
