# SPDX-License-Identifier: Apache-2.0
"""Suites and task names of LIBERO, and what its published evaluations fix per suite.

A task is named ``SUITE/INDEX`` (``libero_spatial/3``) in the suite's default order.  Knows no
simulator.
"""
from collections.abc import Sequence
from dataclasses import dataclass

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.whole_number import whole_number
from vla_pruner_ros.evaluation.plan.episode_plan import FIRST_SEED

SETTLE_STEPS = 10  # control steps without a policy, while objects fall into place
CONTROL_RATE = 20.0  # Hz


@dataclass(frozen=True)
class Suite:
    """One suite.

    Attributes:
        tasks: how many.
        steps: control steps that a policy has; the longest demonstration is a little shorter.
    """

    tasks: int
    steps: int


SUITES = {'libero_spatial': Suite(10, 220), 'libero_object': Suite(10, 280),
          'libero_goal': Suite(10, 300), 'libero_10': Suite(10, 520),
          'libero_90': Suite(90, 400)}


def parse_task(name: str) -> tuple[str, int]:
    """``'libero_spatial/3'`` -> ``('libero_spatial', 3)``.

    Raises:
        ConfigError: no such suite or task.
    """
    suite, slash, index = name.partition('/')
    if suite not in SUITES:
        raise ConfigError(f'unknown LIBERO task {name!r}; accepted: SUITE or SUITE/INDEX with the '
                          f'suites {", ".join(SUITES)}')
    number = whole_number(index)
    if number is None or number >= SUITES[suite].tasks:
        raise ConfigError(f'unknown LIBERO task {name!r}; accepted: {suite}/0 to '
                          f'{suite}/{SUITES[suite].tasks - 1}, or {suite} for all of them')
    return suite, number


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Task names, with every suite replaced by its tasks; each once.

    Raises:
        ConfigError: a name is neither.
    """
    found: list[str] = []
    for name in names:
        if name in SUITES:
            found += [f'{name}/{index}' for index in range(SUITES[name].tasks)]
        else:
            suite, index = parse_task(name)
            found.append(f'{suite}/{index}')
    return tuple(dict.fromkeys(found))


def episode(seed: int, states: int) -> int:
    """Index of the official initial state that an episode's seed stands for.

    The first seed of an evaluation is state 0, the next one state 1, and so on; after the last one
    they begin again.
    """
    return (seed - FIRST_SEED) % states
