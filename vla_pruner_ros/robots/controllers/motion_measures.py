# SPDX-License-Identifier: Apache-2.0
"""How smooth an executed motion is, at chunk boundaries and elsewhere, and how true to its plan.

All of it from positions as they were commanded or measured at the control rate.  Steps are lengths
over all columns, so give columns of one unit (metres of a hand, or radians of joints).
"""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND


@dataclass(frozen=True)
class StepSizes:
    """Largest and 99th percentile; NaN where there is nothing to measure.

    Attributes:
        position_max: of the distance between two samples, metres or radians.
        position_p99: likewise.
        velocity_max: of the change of velocity from sample to sample, per second.
        velocity_p99: likewise.
        acceleration_max: of that change per second, per second squared.
        acceleration_p99: likewise.
    """

    position_max: float
    position_p99: float
    velocity_max: float
    velocity_p99: float
    acceleration_max: float
    acceleration_p99: float


@dataclass(frozen=True)
class Smoothness:
    """Step sizes of one motion.

    Attributes:
        boundary: within the window around an arriving chunk.
        elsewhere: everywhere else.
    """

    boundary: StepSizes
    elsewhere: StepSizes


def smoothness(times_ns: Sequence[int], positions: np.ndarray, arrivals_ns: Sequence[int],
               window: int = 3) -> Smoothness:
    """Measure the steps of a motion.

    Args:
        times_ns: (T,) increasing times of the samples.
        positions: (T, D), or (T,) of one joint.
        arrivals_ns: when chunks arrived, in any order.
        window: samples before and after the first sample at or after an arrival that count as its
            boundary.  A position step belongs to its later sample, a velocity step to its middle.

    Raises:
        ConfigError: lengths differ, or times do not increase.
    """
    times, rows = _checked(times_ns, positions)
    seconds = np.diff(times) / SECOND
    steps = np.diff(rows, axis=0)
    turns = np.diff(steps / seconds[:, None], axis=0)
    near = np.zeros(len(times), bool)
    for arrival in arrivals_ns:
        first = int(np.searchsorted(times, arrival))
        near[max(first - window, 0):first + window + 1] = True
    lengths = [np.linalg.norm(steps, axis=1), np.linalg.norm(turns, axis=1)]
    lengths.append(lengths[1] / ((seconds[1:] + seconds[:-1]) / 2))
    masks = (near[1:], near[1:-1], near[1:-1])
    return Smoothness(*(StepSizes(*(value for length, mask in zip(lengths, masks)
                                    for value in _top(length[mask if inside else ~mask])))
                        for inside in (True, False)))


def uncovered_share(times_ns: Sequence[int], arrivals_ns: Sequence[int],
                    ends_ns: Sequence[int]) -> float:
    """Share of samples from the first arrival on at which no commanded row lies ahead.

    The newest chunk counts, as every controller replaces an old one by it.

    Args:
        times_ns: (T,) times of the samples.
        arrivals_ns: (C,) when chunks arrived, increasing.
        ends_ns: (C,) times of their last rows.

    Returns:
        0 to 1; 1 where no chunk ever arrived.
    """
    times, ends = np.asarray(times_ns), np.asarray(ends_ns)
    newest = np.searchsorted(np.asarray(arrivals_ns), times, side='right') - 1
    known = newest >= 0
    if not known.any():
        return 1.0
    return float(np.mean(ends[newest[known]] <= times[known]))


def path_length(positions: np.ndarray) -> float:
    """Length of the way through all rows (T, D) or (T,)."""
    rows = np.asarray(positions, np.float64).reshape(len(positions), -1)
    return float(np.linalg.norm(np.diff(rows, axis=0), axis=1).sum())


def path_ratio(executed: np.ndarray, planned: np.ndarray) -> float:
    """Length of the executed way by that of the plan's; NaN where the plan stands still."""
    length = path_length(planned)
    return path_length(executed) / length if length > 0 else float('nan')


def off_speed_share(times_ns: Sequence[int], positions: np.ndarray, begins_ns: Sequence[int],
                    ends_ns: Sequence[int], planned_speeds: Sequence[float],
                    tolerance: float = 0.1, still: float = 1e-3) -> float:
    """Share of rows that were executed at another speed than planned.

    Args:
        times_ns: (T,) increasing times of the samples.
        positions: (T, D) or (T,).
        begins_ns: (R,) from when each row was executed.
        ends_ns: (R,) until when: its end, or the arrival of the chunk that replaced it.
        planned_speeds: (R,) metres or radians per second that the policy meant.
        tolerance: share of the planned speed by which a row may differ.
        still: difference in speed that never counts, for rows that stand.

    Returns:
        0 to 1; NaN without rows.

    Raises:
        ConfigError: lengths differ, times do not increase, or a row ends before it begins.
    """
    times, rows = _checked(times_ns, positions)
    begins, ends = np.asarray(begins_ns, np.int64), np.asarray(ends_ns, np.int64)
    planned = np.asarray(planned_speeds, np.float64)
    if not len(begins) == len(ends) == len(planned) or (ends <= begins).any():
        raise ConfigError(f'{len(begins)} begins, {len(ends)} ends and {len(planned)} speeds of '
                          'rows: one of each, each end after its begin')
    if not len(planned):
        return float('nan')
    at = [np.stack([np.interp(when - times[0], times - times[0], column) for column in rows.T], 1)
          for when in (begins, ends)]
    speeds = np.linalg.norm(at[1] - at[0], axis=1) / ((ends - begins) / SECOND)
    return float(np.mean(np.abs(speeds - planned) > np.maximum(tolerance * planned, still)))


def _checked(times_ns: Sequence[int], positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times, rows = np.asarray(times_ns, np.int64), np.asarray(positions, np.float64)
    if len(times) != len(rows):
        raise ConfigError(f'{len(times)} times for {len(rows)} positions')
    if (np.diff(times) <= 0).any():
        raise ConfigError('the times of the samples do not increase')
    return times, rows.reshape(len(rows), -1)


def _top(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return float('nan'), float('nan')
    return float(values.max()), float(np.percentile(values, 99))
