# SPDX-License-Identifier: Apache-2.0
"""Node time held against wall time: does it stand still, was it set?  Pure logic.

A motion timed by a clock that stands still would never end; one timed by a clock that was set is
somewhere else than its times say.
"""
from collections.abc import Callable
from dataclasses import dataclass
import time

from vla_pruner_ros.runtime.stamp_order import JUMP_BACK

SECOND = 10**9
PATIENCE = SECOND // 2  # of wall time in which the node's clock may stand still


@dataclass(frozen=True)
class ClockNews:
    """What one look at the clocks showed.

    Attributes:
        now_ns: node time.
        jump_ns: how far node time was set; 0: not.
        stopped: it has just been found to stand still.
        resumed: it goes on again.
    """

    now_ns: int
    jump_ns: int = 0
    stopped: bool = False
    resumed: bool = False


class ClockWatch:
    """Looks at node time again and again.

    Args:
        now: node time in nanoseconds.
        wall: wall time in nanoseconds; never set.

    Attributes:
        standing: node time stands still.
    """

    def __init__(self, now: Callable[[], int], wall: Callable[[], int] = time.monotonic_ns):
        self._now = now
        self._wall = wall
        self.restart()

    def restart(self) -> None:
        """Forget what was seen."""
        self.standing = False
        self._seen: tuple[int, int, int] | None = None  # node time, wall before and after

    def look(self, simulated: bool) -> ClockNews:
        """Read both clocks.

        Args:
            simulated: node time may run at any speed, so only falling back is a jump.
        """
        before, now, after = self._wall(), self._now(), self._wall()
        seen, self._seen = self._seen, (now, before, after)
        if seen is None:
            return ClockNews(now)
        if now == seen[0]:
            self._seen = seen
            if self.standing or before - seen[2] <= PATIENCE:
                return ClockNews(now)
            self.standing = True
            return ClockNews(now, stopped=True)
        resumed, self.standing = self.standing, False
        advance = now - seen[0]
        # The thread may have been held up between two readings: bounds of what really passed.
        least, most = (0, advance) if simulated else (before - seen[2], after - seen[1])
        if advance < least - JUMP_BACK:
            return ClockNews(now, advance - least, resumed=resumed)
        if advance > most + JUMP_BACK:
            return ClockNews(now, advance - most, resumed=resumed)
        return ClockNews(now, resumed=resumed)
