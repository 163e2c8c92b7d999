# SPDX-License-Identifier: Apache-2.0
"""A thread that calls something at a fixed rate and does not drift.

Every call is given the time for which it was planned; these lie exactly one period apart, however
late the thread was woken.  A call that comes more than a period late is left out, not made up for.
"""
from collections.abc import Callable
import threading
import time

SECOND = 10**9
PAUSE_AFTER_ERROR = 0.05  # seconds; keeps a call that always fails from spinning


class SteadyTicker:
    """Calls ``tick`` ``rate`` times per second, from its own thread.

    Args:
        name: of the thread.
        rate: calls per second.
        tick: called with the planned time, nanoseconds of ``time.monotonic_ns``.
        on_error: called with what a tick raised; the ticker goes on.
    """

    def __init__(self, name: str, rate: float, tick: Callable[[int], None],
                 on_error: Callable[[BaseException], None]):
        self.period_ns = round(SECOND / rate)
        self._tick, self._on_error = tick, on_error
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End after the call under way; harmless before the start."""
        self._closed.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        planned = time.monotonic_ns()
        while not self._closed.wait(max(planned - time.monotonic_ns(), 0) / SECOND):
            try:
                self._tick(planned)
            except Exception as error:
                self._on_error(error)
                self._closed.wait(PAUSE_AFTER_ERROR)
            planned = next_call(planned, time.monotonic_ns(), self.period_ns)


def next_call(planned_ns: int, now_ns: int, period_ns: int) -> int:
    """Time of the next call on the same grid; calls that are past by a period are left out."""
    late = now_ns - (planned_ns + period_ns)
    return planned_ns + period_ns * (1 + max(late // period_ns, 0))
