# SPDX-License-Identifier: Apache-2.0
"""Simulators that an evaluation can run in, behind one small interface.

An environment shows what the policy needs and executes what the policy's node would publish.  It
does not know pruners, engines or journals.
"""
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.types import ActionChunk, Observation, PolicySpec
from vla_pruner_ros.runtime.motion.robot_commands import Command

REGISTRY = {
    'sim': 'vla_pruner_ros.evaluation.environments.simulated_robot:Simulation',
    'libero': 'vla_pruner_ros.evaluation.environments.libero.libero_environment:Libero',
}


class Environment(ABC):
    """One simulator, one episode at a time, stepped in lock step with the policy.

    Args:
        spec: of the policy that is evaluated.

    Raises:
        ConfigError: the policy cannot drive this simulator.
    """

    @classmethod
    @abstractmethod
    def check(cls, tasks: list[str]) -> None:
        """Refuse tasks that do not exist, without starting the simulator.

        Raises:
            ConfigError: an unknown task; the message lists the known ones.
        """

    @classmethod
    def expand(cls, tasks: Sequence[str]) -> tuple[str, ...]:
        """Tasks that names on the command line stand for; here: themselves.

        Raises:
            ConfigError: as ``check``.
        """
        cls.check(list(tasks))
        return tuple(tasks)

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Name -> version of what outcomes depend on here, beside ``plan.versions``."""
        return {}

    @classmethod
    def moving_target(cls, task: str) -> bool:
        """Tell whether the target of a task moves by itself; here: never."""
        return False

    @abstractmethod
    def __init__(self, spec: PolicySpec):
        ...

    @abstractmethod
    def start(self, task: str, seed: int) -> None:
        """Begin an episode; the same seed gives the same episode."""

    @abstractmethod
    def observe(self) -> Observation:
        """See and feel what the policy gets now."""

    def rows(self, chunk: ActionChunk, command: Command, horizon: int) -> np.ndarray:
        """At most ``horizon`` rows to execute, one per control step, of one answer.

        By default those of the command that the policy's node would publish; a simulator whose
        published evaluation executes the policy's own numbers takes the chunk instead.
        """
        return self.control_steps(command)[:horizon]

    def control_steps(self, command: Command) -> np.ndarray:
        """Rows of a command; not needed where ``rows`` is overridden."""
        raise NotImplementedError(f'{type(self).__name__} must define control_steps or rows')

    @abstractmethod
    def execute(self, row: np.ndarray) -> None:
        """Execute one of the rows, in their order."""

    @property
    @abstractmethod
    def position(self) -> np.ndarray:
        """End-effector position (3,) in metres."""

    @property
    @abstractmethod
    def success(self) -> bool:
        """The task has been solved in this episode."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Solved, or the step limit is reached."""

    def close(self) -> None:
        """Free what the simulator holds."""


def find(name: str) -> Any:
    """Import ``module:attribute``.

    Raises:
        ConfigError: there is no such thing.
    """
    module, _, attribute = name.partition(':')
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f'{name!r} cannot be imported: {error}') from error


def environment_class(name: str) -> type[Environment]:
    """Find an environment by its registered name, or as ``module:attribute``.

    Raises:
        ConfigError: neither; the message lists the registered names.
    """
    if name not in REGISTRY and ':' not in name:
        raise ConfigError(f'environment is {name!r}; accepted: {", ".join(REGISTRY)}, or '
                          'module:attribute of your own')
    found: type[Environment] = find(REGISTRY.get(name, name))
    return found
