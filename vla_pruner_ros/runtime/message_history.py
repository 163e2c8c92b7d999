# SPDX-License-Identifier: Apache-2.0
"""Small containers of newest messages: stamps, time-ordered values, and lost-frame estimates.

Times are nanoseconds.  Nothing here is thread-safe; ``observation_cache.py`` holds the lock.
"""
from collections import deque
from typing import Any, Generic, TypeVar

T = TypeVar('T')
Pose = tuple[tuple[float, float, float], tuple[float, float, float, float]]

HISTORY = 256  # samples: half a second of a 500 Hz joint stream
WINDOW = 64  # frame periods that the expected rate is taken from
MIN_PERIODS = 8
MIN_QUATERNION_NORM = 0.5  # a quaternion shorter than this is unset or garbage, not rounding


def stamp_of(message: Any) -> int:
    """Header stamp in nanoseconds; 0 where the message has none or an unset one."""
    header = getattr(message, 'header', None)
    if header is None:
        return 0
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


class History(Generic[T]):
    """Time-ordered values of one stream."""

    def __init__(self) -> None:
        """Start empty."""
        self._items: deque[tuple[int, T]] = deque(maxlen=HISTORY)

    def put(self, stamp_ns: int, value: T) -> None:
        """Append; a value that is not newer than the newest is ignored."""
        if not self._items or stamp_ns > self._items[-1][0]:
            self._items.append((stamp_ns, value))

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest value."""
        return self._items[-1][0] if self._items else None

    def nearest(self, stamp_ns: int) -> tuple[int, T] | None:
        """The value whose stamp is closest to ``stamp_ns``."""
        best: tuple[int, T] | None = None
        for item in reversed(self._items):
            if best is not None and abs(item[0] - stamp_ns) >= abs(best[0] - stamp_ns):
                break
            best = item
        return best

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()


class FrameLoss:
    """Estimate of lost frames of one camera, from the stamps of those that arrived.

    The expected period is the 10th percentile of the recent periods: with heavy loss the median is
    a multiple of the true period, the shortest ones are not.  A pause is no loss: the caller says
    from which gap on a silence counts as a pause.
    """

    def __init__(self) -> None:
        """Start without frames."""
        self.received = 0
        self.lost = 0
        self._last: int | None = None
        self._periods: deque[int] = deque(maxlen=WINDOW)

    @property
    def period_ns(self) -> int | None:
        """Expected period; None until enough frames were seen."""
        if len(self._periods) < MIN_PERIODS:
            return None
        return sorted(self._periods)[len(self._periods) // 10]

    def put(self, stamp_ns: int, pause_ns: int) -> None:
        """Count one received frame and the frames missing before it."""
        self.received += 1
        gap = 0 if self._last is None else stamp_ns - self._last
        self._last = stamp_ns
        if not 0 < gap < pause_ns:
            return
        self._periods.append(gap)
        period = self.period_ns
        if period:
            self.lost += max(0, round(gap / period) - 1)

    def restart(self) -> None:
        """Forget the last stamp (the clock jumped); keep the counts."""
        self._last = None
        self._periods.clear()
