# SPDX-License-Identifier: Apache-2.0
"""What the real-time evaluation compares: ways of publishing x delays x tokens x reuse, paired.

All settings of one (task, seed) follow each other, so that a run that is stopped early has
complete pairs.
"""
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.plan import episode_plan
from vla_pruner_ros.evaluation.plan.method_variants import checked_value
from vla_pruner_ros.evaluation.real_time.model_delays import Delay

#: Raised whenever a change of this package changes what an episode does or what a row holds.
FORMAT = 1
LOCK_STEP, NAIVE = 'lock_step', 'naive'
#: Ways to publish: the physics waits; rows as they come; the node's ways of joining chunks.
WAYS = (LOCK_STEP, NAIVE, 'replace', 'linear', 'ensemble')


@dataclass(frozen=True)
class Setting:
    """One line of the table.

    Attributes:
        way: one of ``WAYS``.
        delay: of the model; nothing in lock step.
        tokens: kept per image by the run's pruner; 0 = all.
        reuse: with action reuse.
        controller: see ``controlled_robot``.
        changes: (parameter, value) pairs that differ from the run's.
    """

    way: str
    delay: Delay = Delay(0)
    tokens: int = 0
    reuse: bool = False
    controller: str = 'jtc'
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Unique among the settings of a run."""
        parts = [self.way]
        if self.way != LOCK_STEP:
            parts += [f'{self.delay.name} ms', self.controller]
        parts.append(f'{self.tokens or "all"} tokens')
        parts += ['reuse'] * self.reuse + [f'{name}={value}' for name, value in self.changes]
        return ', '.join(parts)

    def apply(self, base: Parameters) -> Parameters:
        """Parameters of an episode.

        Raises:
            ConfigError: a value is refused.
        """
        joined = {} if self.way in (LOCK_STEP, NAIVE) else {'chunk_join': self.way}
        return base.changed({
            **joined, **dict(self.changes), 'lock_step': self.way == LOCK_STEP,
            'token_budget': self.tokens, 'reuse': self.reuse,
            'pruner': base.pruner if self.tokens else 'none'})


@dataclass(frozen=True)
class RealTimeJob:
    """One episode."""

    task: str
    seed: int
    setting: Setting

    @property
    def name(self) -> str:
        """Stable id, the key of the journal."""
        return f'{self.task} {self.seed} {self.setting.label}'


@dataclass(frozen=True)
class RealTimePlan(episode_plan.Planned):
    """Everything that a run evaluates.

    Attributes:
        tasks: names of tasks.
        seeds: of every task and setting.
        settings: that are compared.
        parameters: what all of them share.
        checkpoint_digest: of the policy's files.
        camera_hz: pictures per second.
        versions: of the libraries that an outcome depends on.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[Setting, ...]
    parameters: Parameters
    checkpoint_digest: str
    camera_hz: float = 20.0
    versions: Mapping[str, str] = field(default_factory=lambda: episode_plan.versions())

    def units(self) -> list[list[RealTimeJob]]:
        """Jobs, grouped by (task, seed); all tasks of one seed before the next seed."""
        return [[RealTimeJob(task, seed, one) for one in self.settings]
                for seed in self.seeds for task in self.tasks]

    def conditions(self) -> dict[str, Any]:
        """What outcomes depend on besides task, seed and setting (JSON types)."""
        base = asdict(self.parameters)
        own = ('checkpoint', 'token_budget', 'reuse', 'lock_step', 'chunk_join', 'seed', 'threads')
        return {'real_time_format': FORMAT, 'checkpoint': self.checkpoint_digest,
                'camera_hz': self.camera_hz,
                **episode_plan.in_group('versions', self.versions),
                **episode_plan.in_group('parameters', {name: value for name, value in base.items()
                                                       if name not in own})}


def parse_way(text: str, base: Parameters) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """A way of publishing, ``WAY[/NAME=VALUE...]``, as its name and changed parameters.

    Raises:
        ConfigError: there is no such way or parameter, or the value is refused.
    """
    way, *changes = text.strip().split('/')
    if way not in WAYS:
        raise ConfigError(f'way is {way!r}; accepted: {", ".join(WAYS)}')
    found: list[tuple[str, Any]] = []
    for change in changes:
        name, _, value = change.partition('=')
        found.append((name, checked_value(base, name, value)))
    return way, tuple(sorted(found))
