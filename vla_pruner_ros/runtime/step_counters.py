# SPDX-License-Identifier: Apache-2.0
"""What happened so far, for diagnostics and reports: counts by reason, rolling stage medians."""
from collections import Counter, deque
from statistics import median
import threading
from typing import Any

from vla_pruner_ros.core.types import StepStats

WINDOW = 50  # model runs that the rolling medians cover


class Counters:
    """Counts of one runner; written by the inference thread, read by any."""

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self.steps = 0
        self.reused = 0
        self.failures: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.reuse_reasons: Counter[str] = Counter()
        self.unpruned_reasons: Counter[str] = Counter()
        self._stages: dict[str, deque[float]] = {}

    def step(self, stats: StepStats) -> None:
        """Count one answered step."""
        with self._lock:
            self.steps += 1
            self.reused += stats.reused
            self.reuse_reasons[stats.reuse_reason] += 1
            self.limited.update(stats.limited)
            if not stats.pruned and not stats.reused:
                self.unpruned_reasons[stats.unpruned_reason] += 1
            if stats.reused:  # a median over model runs and reused steps would describe neither
                return
            for name, value in stats.stages_ms.items():
                self._stages.setdefault(name, deque(maxlen=WINDOW)).append(value)

    def failure(self, reason: str) -> None:
        """Count one step without a usable answer."""
        with self._lock:
            self.failures[reason] += 1

    def stages_ms(self) -> dict[str, float]:
        """Rolling median milliseconds per stage, over model runs only."""
        with self._lock:
            return {name: median(values) for name, values in self._stages.items()}

    def snapshot(self) -> dict[str, Any]:
        """All counts as plain dictionaries (JSON)."""
        stages = self.stages_ms()
        with self._lock:
            return {'steps': self.steps, 'reused': self.reused,
                    'failures': dict(self.failures), 'limited': dict(self.limited),
                    'reuse_reasons': dict(self.reuse_reasons),
                    'unpruned_reasons': dict(self.unpruned_reasons), 'stages_ms': stages}
