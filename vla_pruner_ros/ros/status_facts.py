# SPDX-License-Identifier: Apache-2.0
"""What a step did, and rates over the last seconds, as plain data (JSON types)."""
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TYPE_CHECKING

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.types import StepStats
from vla_pruner_ros.runtime.installed_files import dds_chosen, DDS_PROFILE, shipped_file

if TYPE_CHECKING:  # no model code before the node is configured
    from vla_pruner_ros.runtime.policy_runner import Tick

SECOND = 10**9


def step_facts(tick: 'Tick', stats: StepStats, revision: int) -> dict[str, Any]:
    """Facts of one policy step; ``revision`` counts the parameter changes it has seen."""
    return {
        'stamp_ns': tick.observation.stamp_ns if tick.observation else 0,
        'published': tick.command is not None,
        'reason': tick.reason,
        'pruner': stats.pruner,
        'token_budget': stats.token_budget,
        'kept': [len(one) for one in stats.kept],
        'tokens_per_image': stats.tokens_per_image,
        'pruned': stats.pruned,
        'unpruned_reason': stats.unpruned_reason,
        'reused': stats.reused,
        'reuse_reason': stats.reuse_reason,
        'stages_ms': {name: round(float(value), 3) for name, value in stats.stages_ms.items()},
        'flops': float(stats.flops),
        'resets': list(tick.resets),
        'revision': revision,
    }


class Window:
    """Growth of counters over the last seconds."""

    def __init__(self, seconds: float = 10.0):
        """Look back ``seconds``."""
        self._span = int(seconds * SECOND)
        self._samples: deque[tuple[int, dict[str, float]]] = deque()

    def growth(self, now_ns: int, counters: Mapping[str, float]) -> tuple[dict[str, float], float]:
        """Return (counter -> increase, seconds it took) against the oldest sample kept."""
        if self._samples and now_ns < self._samples[-1][0]:
            self._samples.clear()
        self._samples.append((now_ns, dict(counters)))
        while len(self._samples) > 2 and now_ns - self._samples[0][0] > self._span:
            self._samples.popleft()
        begin, before = self._samples[0]
        return ({name: value - before.get(name, 0.0) for name, value in counters.items()},
                (now_ns - begin) / SECOND)


class Trends:
    """Rates over the last seconds, and what only the graph knows; asked once per diagnostics."""

    def __init__(self) -> None:
        """Start without history."""
        self._window = Window()

    def add(self, facts: dict[str, Any], publishers: Callable[[str], int]) -> dict[str, Any]:
        """Return the facts with ``rate_hz`` and, per camera, loss, rate and publishers.

        Args:
            facts: of a configured policy.
            publishers: topic -> how many publish it.
        """
        counters = {'steps': float(facts['steps'])}
        for role, camera in facts['cameras'].items():
            counters[f'received {role}'] = camera['received']
            # The middleware's own count is exact.  Stamps also show frames that a busy sender
            # never sent, so they are only asked where nobody counts.
            counted = camera['middleware_lost']
            counters[f'lost {role}'] = camera['lost'] if counted is None else counted
        growth, seconds = self._window.growth(facts['time_ns'], counters)
        cameras = {}
        for role, camera in facts['cameras'].items():
            received, lost = growth[f'received {role}'], growth[f'lost {role}']
            cameras[role] = {
                **camera,
                'lost_share': lost / (lost + received) if received else 0.0,
                'received_hz': received / seconds if seconds else 0.0,
                'publishers': publishers(camera['topic'])}
        return {**facts, 'cameras': cameras,
                'watched_s': seconds,
                'rate_hz': growth['steps'] / seconds if seconds else 0.0,
                'dds_profile': dds_profile(),
                'dds_chosen': dds_chosen()}


def dds_profile() -> str:
    """Path of the shipped Fast DDS profile, or its name where it is not installed."""
    try:
        return str(shipped_file(DDS_PROFILE))
    except ConfigError:
        return DDS_PROFILE
