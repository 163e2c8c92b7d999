# SPDX-License-Identifier: Apache-2.0
"""Tasks x variants x seeds -> episode jobs with stable names, and what they depend on.

All variants of one (task, seed) follow each other, so that a run that is stopped early has
complete pairs.  ``conditions`` are what an episode's outcome depends on besides its own name; two
plans with the same conditions can share a journal, so a run can be extended by more seeds, tasks
or methods without repeating anything.
"""
from abc import ABC, abstractmethod
from collections.abc import Mapping
import dataclasses
from dataclasses import dataclass, field
import hashlib
from importlib import metadata
import json
from pathlib import Path
import platform
from typing import Any

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters, table
from vla_pruner_ros.evaluation.plan.method_variants import OWN_PLACE, Variant

#: Raised whenever a change of this package changes what an episode does or what a row holds.
FORMAT = 1
#: First seed of an evaluation; demonstrations use smaller ones.
FIRST_SEED = 900_000
MOST_EPISODES = 2**31 - FIRST_SEED
PACKAGES = ('torch', 'numpy', 'mujoco', 'metaworld')
#: VLA-Pruner cannot prune before it has seen ``temporal_window`` unpruned runs.  In the short
#: episodes of a simulator that alone would decide, so all methods are treated alike.
WARM_UPS = {
    'settle': 'before the robot moves, temporal_window unpruned runs fill the memories',
    'equal': 'the first temporal_window runs of every method are unpruned',
    'own': 'the methods that need unpruned runs at the beginning make them while moving'}
OUTCOME_GROUPS = ('model', 'pruning', 'reuse', 'safety')
OUTCOME_PARAMETERS = ('execution_horizon', 'gripper_mode', 'gripper_hysteresis')
#: ``checkpoint`` is replaced by a digest of its files, ``seed`` by that of the episode.
NO_OUTCOME = (*OWN_PLACE, 'checkpoint', 'seed', 'watchdog_timeout', 'watchdog_action')
LARGE_FILE = 256 * 2**20  # bytes; of larger files only name and size count


@dataclass(frozen=True)
class Job:
    """One episode.

    Attributes:
        task: name of the task.
        seed: placement of the objects, and of random choices.
        variant: what runs.
    """

    task: str
    seed: int
    variant: Variant

    @property
    def name(self) -> str:
        """Stable id, the key of the journal."""
        return f'{self.task} {self.seed} {self.variant.label}'


class Planned(ABC):
    """Episodes that are to run under some conditions."""

    @abstractmethod
    def units(self) -> list[list[Any]]:
        """Jobs, grouped by what is compared; each has a ``name``."""

    @abstractmethod
    def conditions(self) -> dict[str, Any]:
        """What outcomes depend on besides the jobs (JSON types)."""

    def jobs(self) -> list[Any]:
        """All jobs in the order of ``units``."""
        return [job for unit in self.units() for job in unit]

    @property
    def digest(self) -> str:
        """Of the conditions (16 hexadecimal digits)."""
        text = json.dumps(self.conditions(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def in_group(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions as ``group.name`` -> value (JSON types)."""
    return {f'{group}.{name}': list(value) if isinstance(value, tuple) else value
            for name, value in values.items()}


@dataclass(frozen=True)
class Plan(Planned):
    """Everything that an evaluation runs.

    Attributes:
        environment: name in ``environments.REGISTRY`` or ``module:attribute``.
        tasks: names of tasks.
        seeds: of the episodes of every task and variant.
        variants: the unpruned policy and what is compared with it.
        parameters: what all variants share.
        tokens_per_image: of the policy.
        checkpoint_digest: of the policy's files.
        warm_up: one of ``WARM_UPS``.
        versions: of the libraries that an outcome depends on.
        only: label of a variant -> the tasks on which it runs; without an entry on all.
    """

    environment: str
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    parameters: Parameters
    tokens_per_image: int
    checkpoint_digest: str = ''
    warm_up: str = 'settle'
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def units(self) -> list[list[Job]]:
        """Jobs, grouped by (task, seed); all tasks of one seed before the next seed."""
        return [[Job(task, seed, variant) for variant in self.variants
                 if task in self.only.get(variant.label, self.tasks)]
                for seed in self.seeds for task in self.tasks]

    def conditions(self) -> dict[str, Any]:
        """What outcomes depend on besides task, seed and variant (JSON types)."""
        values = {one.name: getattr(self.parameters, one.name) for one in table()
                  if one.metadata['group'] in OUTCOME_GROUPS or one.name in OUTCOME_PARAMETERS}
        return {'format': FORMAT, 'environment': self.environment,
                'checkpoint': self.checkpoint_digest, 'tokens_per_image': self.tokens_per_image,
                'warm_up': self.warm_up,
                **in_group('versions', self.versions),
                **in_group('parameters', {name: value for name, value in values.items()
                                          if name not in NO_OUTCOME})}

    def describe(self) -> dict[str, Any]:
        """What is run, for reports (JSON types)."""
        return {'environment': self.environment, 'tasks': list(self.tasks),
                'first_seed': self.seeds[0], 'episodes_per_task': len(self.seeds),
                'variants': [dict(dataclasses.asdict(one), label=one.label)
                             for one in self.variants],
                'only': {label: list(tasks) for label, tasks in self.only.items()},
                'digest': self.digest, 'conditions': self.conditions()}


def seeds(episodes: int, first: int = FIRST_SEED) -> tuple[int, ...]:
    """Seeds of the episodes of one task.

    Raises:
        ConfigError: no episode, or seeds that demonstrations may have used.
    """
    if not 1 <= episodes <= MOST_EPISODES:
        raise ConfigError(f'episodes is {episodes}; accepted: 1 to {MOST_EPISODES}')
    if not FIRST_SEED <= first <= 2**31 - episodes:
        raise ConfigError(f'the first seed is {first}; accepted: {FIRST_SEED} to '
                          f'{2**31 - episodes}, because smaller ones may have been trained on')
    return tuple(range(first, first + episodes))


def versions() -> dict[str, str]:
    """Versions that outcomes depend on."""
    found = {'python': platform.python_version(), 'machine': platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = 'not installed'
    return found


def files_digest(folder: Path, subfolders: bool = True) -> str:
    """Digest of the names, sizes and contents of a checkpoint's files.

    Args:
        folder: of the checkpoint.
        subfolders: files below count, too.

    Raises:
        ConfigError: the folder cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(one for one in folder.glob('**/*' if subfolders else '*')
                           if one.is_file()):
            size = path.stat().st_size
            digest.update(f'{path.relative_to(folder).as_posix()} {size}\n'.encode())
            if size <= LARGE_FILE:
                digest.update(path.read_bytes())
    except OSError as error:
        raise ConfigError(f'checkpoint {folder} cannot be read: {error}') from error
    return digest.hexdigest()[:16]
