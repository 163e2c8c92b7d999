# SPDX-License-Identifier: Apache-2.0
"""What could not be used, and why: counted by reason, and named where it is missed.

A stream whose messages are refused looks like one that is silent.  So the last refusal of a stream
stands, until a message of it is accepted, in place of ``missing``, ``stale`` and ``skew``.
Not thread-safe; ``observation_cache.py`` holds the lock.
"""
from collections import Counter
from collections.abc import Iterable
from typing import Any

# Reasons that are no drop: nothing was offered, so nothing was refused.
WAITING = ('no_new_frame', 'not_due', 'waiting_state')


class InputFaults:
    """Counters of drops and warnings, and the refusals that stand.

    Attributes:
        drops: reason -> messages, or sets of frames, that were not used.
        warnings: reason -> messages that were used all the same.
    """

    def __init__(self) -> None:
        """Start without faults."""
        self.drops: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._refusals: dict[str, tuple[str, str]] = {}
        self._last_drop: tuple[Any, ...] = ()
        self._gone: frozenset[str] = frozenset()

    def refuse(self, streams: Iterable[str], reason: str, message: str) -> None:
        """A message was refused; ``message`` says in one sentence what to do."""
        self.drops[reason] += 1
        self._refusals.update({one: (reason, message) for one in streams})

    def accept(self, streams: Iterable[str]) -> None:
        """A message was used: what was refused before is no trouble of now."""
        for one in streams:
            self._refusals.pop(one, None)

    def clear(self) -> None:
        """Forget the refusals that stand (activation); the counts go on."""
        self._refusals.clear()
        self._gone = frozenset()

    def refused(self, reason: str, streams: Iterable[str]) -> tuple[str, str]:
        """The refusal (reason, message) behind a reason for no step; ('', '') if there is none.

        Args:
            reason: ``missing_STREAM`` and its like, or ``waiting_state``.
            streams: of the robot's state, which ``waiting_state`` waits for.
        """
        if reason == 'waiting_state':
            found = [self._refusals[one] for one in streams if one in self._refusals]
            return found[0] if found else ('', '')
        return self._refusals.get(reason.partition('_')[2], ('', ''))

    def drop(self, reason: str, frames: tuple[Any, ...]) -> None:
        """Count a refused set of frames once, however often it is asked for."""
        if reason not in WAITING and (reason, frames) != self._last_drop:
            self.drops[reason] += 1
            self._last_drop = (reason, frames)

    def gone(self, streams: Iterable[str]) -> None:
        """Count measurements that have become too old, once each time they do."""
        now = frozenset(streams)
        self.warnings.update(f'stale_measurement:{one}' for one in sorted(now - self._gone))
        self._gone = now
