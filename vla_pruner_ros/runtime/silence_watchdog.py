# SPDX-License-Identifier: Apache-2.0
"""Notices that the policy fell silent.  Pure logic; the node owns clock, timer and action."""


class Watchdog:
    """Trips once per silence; ``feed`` ends the silence."""

    def __init__(self) -> None:
        """Start disarmed."""
        self.trips = 0
        self.tripped = False
        self._last_ns: int | None = None

    @property
    def armed(self) -> bool:
        """Whether silence counts."""
        return self._last_ns is not None

    def arm(self, now_ns: int) -> None:
        """Start counting silence at ``now_ns``."""
        self._last_ns = now_ns
        self.tripped = False

    def disarm(self) -> None:
        """Stop counting."""
        self._last_ns = None
        self.tripped = False

    def feed(self, now_ns: int) -> bool:
        """Note a fresh chunk; return True when this ends a silence."""
        recovered = self.tripped
        if self.armed:
            self._last_ns = now_ns
            self.tripped = False
        return recovered

    def silence_ns(self, now_ns: int) -> int:
        """Nanoseconds since the last chunk (0 when disarmed)."""
        return 0 if self._last_ns is None else max(now_ns - self._last_ns, 0)

    def check(self, now_ns: int, timeout_ns: int) -> bool:
        """Return True exactly once per silence longer than ``timeout_ns``."""
        if self._last_ns is None:
            return False
        if now_ns < self._last_ns:  # the clock jumped back (bag loop, simulator reset)
            self._last_ns = now_ns
        if self.tripped or now_ns - self._last_ns <= timeout_ns:
            return False
        self.tripped = True
        self.trips += 1
        return True
