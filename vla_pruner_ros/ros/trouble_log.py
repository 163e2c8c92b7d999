# SPDX-License-Identifier: Apache-2.0
"""Trouble that goes on is logged when it begins, now and then, and when it is over."""
import time
from typing import Any

EVERY = 30.0  # seconds between repeats of a message
GAP = 2.0  # seconds after a recovery until the same trouble is logged again


class TroubleLog:
    """Warnings of one node; the caller sees to it that one thread at a time is here.

    Args:
        logger: of the node.
    """

    def __init__(self, logger: Any):
        self._logger = logger
        self._logged: dict[str, float] = {}
        self._lost = ''  # trouble that was logged last and is not over

    def warn(self, key: str, words: str) -> None:
        """Say ``words``, unless the same kind of trouble was told a moment ago."""
        now = time.monotonic()
        if now - self._logged.get(key, -EVERY) >= EVERY:
            self._logged[key] = now
            self._lost = key
            self._logger.warning(words)

    def well(self) -> None:
        """All is well: say what is over, if anything was told."""
        if self._lost:
            self._logger.info(f'recovered from {self._lost}')
            # A loss right after this one is the same trouble; a later one is worth a line.
            self._logged[self._lost] = time.monotonic() - EVERY + GAP
            self._lost = ''
