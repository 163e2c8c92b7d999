# SPDX-License-Identifier: Apache-2.0
"""What is compared: a pruner, its budget, changed parameters, with or without action reuse.

A method is written ``PRUNER[/NAME=VALUE...][+reuse]``, for example ``vla_pruner``,
``vla_pruner/temporal_window=1`` or ``flashvla/reuse_angle=0.2+reuse``.  Only parameters of pruning
and reuse may be changed, so that methods differ in nothing else.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters, PRUNERS, table

REUSE = '+reuse'
UNPRUNED = 'unpruned'
#: Parameters that the notation has its own place for.
OWN_PLACE = ('pruner', 'token_budget', 'reuse')
CHANGEABLE = tuple(one.name for one in table() if one.metadata['group'] in ('pruning', 'reuse')
                   and one.name not in OWN_PLACE)


@dataclass(frozen=True)
class Variant:
    """One line of the comparison at one budget.

    Attributes:
        pruner: token-selection method.
        tokens: kept per image; 0 = all.
        settings: (parameter, value) pairs that differ from the run's parameters.
        reuse: with action reuse.
    """

    pruner: str = 'none'
    tokens: int = 0
    settings: tuple[tuple[str, Any], ...] = ()
    reuse: bool = False

    @property
    def method(self) -> str:
        """The notation, without the budget."""
        changes = ''.join(f'/{name}={value}' for name, value in self.settings)
        return f'{self.pruner}{changes}{REUSE if self.reuse else ""}'

    @property
    def label(self) -> str:
        """Unique among the variants of a run."""
        if self == Variant():
            return UNPRUNED
        return f'{self.method} {self.tokens or "all"}'

    def apply(self, base: Parameters) -> Parameters:
        """Parameters of an episode.

        Raises:
            ConfigError: a setting is refused.
        """
        return base.changed({**dict(self.settings), 'pruner': self.pruner,
                             'token_budget': self.tokens, 'reuse': self.reuse})


def parse_method(text: str, base: Parameters) -> Variant:
    """Read the notation; the budget is left at all.

    Raises:
        ConfigError: unknown pruner or parameter, or a refused value.
    """
    body, reuse = text.strip(), False
    if body.endswith(REUSE):
        body, reuse = body[:-len(REUSE)], True
    pruner, *changes = body.split('/')
    if pruner not in PRUNERS:
        raise ConfigError(f'method {text!r} has the pruner {pruner!r}; accepted: '
                          f'{", ".join(PRUNERS)}')
    settings: list[tuple[str, Any]] = []
    for change in changes:
        name, equals, value = change.partition('=')
        if not equals or name not in CHANGEABLE:
            raise ConfigError(f'method {text!r} has {change!r}; accepted: NAME=VALUE with one of '
                              f'{", ".join(CHANGEABLE)}')
        settings.append((name, checked_value(base, name, value)))
    return Variant(pruner, 0, tuple(sorted(settings)), reuse)


def checked_value(base: Parameters, name: str, text: str) -> Any:
    """The value that ``text`` gives a parameter: through the table, so 1 and 1.0 give one label.

    Raises:
        ConfigError: there is no such parameter, or the value is not YAML or refused.
    """
    kept = isinstance(getattr(base, name, None), str)
    try:
        value = text if kept else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f'{name}={text}: the value is not YAML: {error}') from error
    return getattr(base.changed({name: value}), name)


def parse_budget(text: str, tokens: int) -> int:
    """``all``, a share like ``12.5%``, or a number of tokens -> tokens kept per image, 0 = all.

    Raises:
        ConfigError: none of these, or it keeps no token.
    """
    word = text.strip()
    if word == 'all':
        return 0
    from vla_pruner_ros.core.pruners.shared.token_ops import (
        token_budget,  # not before torch is needed
    )
    try:
        kept = (token_budget(tokens, 1 - float(word[:-1]) / 100) if word.endswith('%')
                else int(word))
    except ValueError:  # also the ConfigError of token_budget
        kept = 0
    if kept < 1:
        raise ConfigError(f"budget {text!r} is not usable; accepted: 'all', a share like '25%' or "
                          f'a number of tokens from 1 (the policy has {tokens} per image)')
    return kept if kept < tokens else 0


def cross(methods: Sequence[Variant], budgets: Sequence[int]) -> tuple[Variant, ...]:
    """Every method at every budget, the unpruned policy first, nothing twice.

    Keeping all tokens is the same with every pruner, so only ``none`` is run there.
    """
    found = {Variant(): None}
    for tokens in budgets:
        for one in methods:
            if tokens and one.pruner != 'none':
                found[Variant(one.pruner, tokens, one.settings, one.reuse)] = None
            elif not tokens and one.reuse:
                settings = tuple(pair for pair in one.settings if 'reuse' in pair[0])
                found[Variant('none', 0, settings, True)] = None
    return tuple(found)
