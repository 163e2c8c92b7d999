# SPDX-License-Identifier: Apache-2.0
"""How long answers take: from the observation's stamp to the moment its chunk is sent.

A windowed distribution, never an all-time maximum: one slow answer must not slow the robot for
ever.  The first answers after a start are left out, because they pay for what later ones do not.
"""
from collections import deque
import threading

import numpy as np

WINDOW = 50  # answers
SKIPPED = 1  # answers after a start


class DelayWindow:
    """Delays of the last answers; written by the inference thread, read by any."""

    def __init__(self) -> None:
        """Start without answers."""
        self._lock = threading.Lock()
        self._delays: deque[int] = deque(maxlen=WINDOW)
        self._skip = SKIPPED
        self._expected = 0

    def restart(self, expected_ns: int | None = None) -> None:
        """Forget all answers; ``expected_ns`` stands in until there are some."""
        with self._lock:
            self._delays.clear()
            self._skip = SKIPPED
            if expected_ns is not None:
                self._expected = expected_ns

    def add(self, delay_ns: int) -> None:
        """Note one answer; negative ones (stamps ahead of the clock) count as 0."""
        with self._lock:
            if self._skip:
                self._skip -= 1
            else:
                self._delays.append(max(delay_ns, 0))

    def percentile(self, percent: float) -> int:
        """Delay in nanoseconds that ``percent`` of the answers do not exceed."""
        with self._lock:
            if not self._delays:
                return self._expected
            return int(np.percentile(list(self._delays), percent, method='higher'))

    def snapshot(self) -> dict[str, float]:
        """Count, and milliseconds at 50, 95 and 100 %."""
        return {'answers': float(len(self._delays)),
                **{name: self.percentile(percent) / 1e6 for name, percent in (
                    ('p50', 50.0), ('p95', 95.0), ('max', 100.0))}}
