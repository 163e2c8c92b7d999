# SPDX-License-Identifier: Apache-2.0
"""What the papers say, as paired comparisons that a run can confirm or refute.

A claim of superiority holds when the 95 % interval of the paired difference lies above zero; a
claim of no loss holds when it lies above minus the stated margin.  When the interval lies wholly
on the other side, the claim does not hold; when it contains the border, the run was too small to
tell, and that is what the report says.  A claim that two things differ holds when the interval
excludes zero, and does not hold when it lies within the margin on both sides of zero.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.plan.method_variants import (
    parse_budget,
    parse_method,
    REUSE,
    Variant,
)
from vla_pruner_ros.evaluation.report.evaluation_summary import PATH, Results
from vla_pruner_ros.statistics.policy_blocks import Blocks

HOLDS, FAILS = 'holds', 'does not hold'
UNDECIDED, UNTESTED = 'undecided', 'not tested'
NO_LOSS = 0.05  # success rate; a smaller loss is called none where the paper says "nothing"
#: Reuse rates that count as "about a third".
A_THIRD = (0.25, 0.42)
#: Thresholds that ``--reuse-settings`` may change in the variants that reuse actions.
THRESHOLDS = ('reuse_angle', 'reuse_overlap', 'max_consecutive_reuses', 'reuse_min_norm')


@dataclass(frozen=True)
class Claim:
    """First variant against second.

    Attributes:
        key: letter of the claim; several comparisons may share one.
        text: what is claimed.
        first: (method, budget) that is claimed to be better, or no worse.
        second: (method, budget) that it is compared with.
        margin: largest loss (or difference) that still counts as none; 0 = the first must be
            better.
        differ: the claim is that the two differ, whichever is better.
        measure: what is compared: ``success``; one of the shares that show how the choice of
            tokens moves, ``overlap`` (kept tokens that the run before kept too) and ``ever_kept``
            (tokens that any run of the episode kept); or ``summary.PATH``.
        moving_target: only tasks whose target moves.
        reuse_rate: lowest and highest reuse rate of the first that the claim speaks of.
        tasks: on which it is judged; None = all that were run.
    """

    key: str
    text: str
    first: tuple[str, str]
    second: tuple[str, str]
    margin: float = 0.0
    differ: bool = False
    measure: str = 'success'
    moving_target: bool = False
    reuse_rate: tuple[float, float] = (0.0, 1.0)
    tasks: tuple[str, ...] | None = None


LOW, HALF = '12.5%', '50%'
OURS, ZERO = ('vla_pruner', LOW), ('vla_pruner/unseen=zero', LOW)
REFRESH = ('vla_pruner/unseen=zero/refresh_period=8', LOW)
BLIND_REUSE = ('flashvla/reuse_image_change=0+reuse', HALF)  # the published rule: no image veto
CLAIMS: tuple[Claim, ...] = (
    Claim('a', 'VLA-Pruner at 50 % loses nothing', ('vla_pruner', HALF), ('none', 'all'), NO_LOSS),
    *(Claim('b', f'VLA-Pruner beats {name} at 12.5 %', OURS, (name, LOW))
      for name in ('fastv', 'sparsevlm', 'divprune', 'random', 'uniform')),
    *(Claim('c', f'combine-then-filter beats {name} at 12.5 %', OURS, (name, LOW))
      for name in ('prefill_only', 'action_only', 'score_fusion')),
    Claim('d', 'a window of 3 steps beats 1', OURS, ('vla_pruner/temporal_window=1', LOW)),
    Claim('d', 'the direction of the decay matters', OURS,
          ('vla_pruner/reversed_decay=true', LOW), NO_LOSS, differ=True),
    Claim('e', 'carrying the scores of dropped tokens beats zeros (self-confirming loop)', OURS,
          ZERO),
    Claim('e', 'a refresh every 8 runs mends zeros', REFRESH, ZERO),
    Claim('e', 'the loop itself: zeros keep the same tokens again more than carried scores', ZERO,
          OURS, measure='overlap'),
    Claim('e', 'the loop itself: carried scores look at more tokens than zeros', OURS, ZERO,
          measure='ever_kept'),
    Claim('e', 'the loop itself: a refresh looks at more tokens than zeros alone', REFRESH, ZERO,
          measure='ever_kept'),
    Claim('f', 'reuse of about a third of the steps costs under 1 point', BLIND_REUSE,
          ('flashvla', HALF), 0.01, reuse_rate=A_THIRD),
    Claim('g', 'the image-change veto makes reuse safer when a target moves',
          ('flashvla+reuse', HALF), BLIND_REUSE, moving_target=True),
    Claim('g', 'without the veto the path strays farther when a target moves', BLIND_REUSE,
          ('flashvla+reuse', HALF), measure=PATH, moving_target=True),
)
KEYS = tuple(dict.fromkeys(one.key for one in CLAIMS))


def choose(plan_tasks: Sequence[str], moving: Sequence[str], keys: Sequence[str] = KEYS,
           thresholds: str = '', tasks: Mapping[str, Sequence[str]] | None = None
           ) -> tuple[Claim, ...]:
    """The claims of an evaluation, with the tasks that each is judged on.

    Args:
        plan_tasks: tasks of the evaluation.
        moving: those of them whose target moves.
        keys: letters.
        thresholds: ``'NAME=VALUE,...'`` of action reuse, for every variant that reuses.
        tasks: letter -> tasks that this claim is restricted to.

    Raises:
        ConfigError: an unknown letter, threshold or task.
    """
    tasks = tasks or {}
    for key in (*keys, *tasks):
        if key not in KEYS:
            raise ConfigError(f'claim {key!r} is unknown; accepted: {", ".join(KEYS)}')
    for key, names in tasks.items():
        strange = [name for name in names if name not in plan_tasks]
        if strange:
            raise ConfigError(f'claim {key!r} is restricted to {strange[0]!r}, which is no task '
                              f'of this evaluation; accepted: {", ".join(plan_tasks)}')
    changes = [one.strip() for one in thresholds.split(',') if one.strip()]
    for one in changes:
        if one.partition('=')[0] not in THRESHOLDS:
            raise ConfigError(f'reuse setting {one!r}; accepted: NAME=VALUE with one of '
                              f'{", ".join(THRESHOLDS)}')
    found = []
    for claim in CLAIMS:
        if claim.key in keys:
            wanted: tuple[str, ...] | None = None
            if claim.moving_target or claim.key in tasks:
                wanted = tuple(name for name in plan_tasks if name in tasks.get(claim.key, [name])
                               and (name in moving or not claim.moving_target))
            found.append(replace(claim, first=_with(claim.first, changes),
                                 second=_with(claim.second, changes), tasks=wanted))
    return tuple(found)


def _with(side: tuple[str, str], changes: Sequence[str]) -> tuple[str, str]:
    method, budget = side
    if not method.endswith(REUSE) or not changes:
        return side
    return '/'.join([method[:-len(REUSE)], *changes]) + REUSE, budget


def variants(claims: Sequence[Claim], base: Parameters, tokens: int,
             plan_tasks: Sequence[str] = ()) -> dict[Variant, tuple[str, ...] | None]:
    """Everything that the claims compare, and the tasks on which it is needed (None = all).

    The unpruned policy comes first and runs on all tasks.
    """
    found: dict[Variant, tuple[str, ...] | None] = {Variant(): None}
    for claim in claims:
        for side in (claim.first, claim.second):
            one = variant(side, base, tokens)
            before = found.get(one, ())
            if before is None or claim.tasks is None:
                found[one] = None
            else:
                found[one] = tuple(name for name in plan_tasks
                                   if name in before or name in claim.tasks)
    return found


def variant(side: tuple[str, str], base: Parameters, tokens: int) -> Variant:
    """Make the variant of (method, budget)."""
    method = parse_method(side[0], base)
    return Variant(method.pruner, parse_budget(side[1], tokens), method.settings, method.reuse)


def judge(results: Results, claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """Verdict on every claim (JSON types)."""
    return [verdict(claim, results) for claim in claims]


def verdict(claim: Claim, results: Results) -> dict[str, Any]:
    """Judge one claim."""
    plan = results.plan
    first, second = (variant(side, plan.parameters, plan.tokens_per_image).label
                     for side in (claim.first, claim.second))
    said: dict[str, Any] = {
        'key': claim.key, 'claim': claim.text, 'first': first, 'second': second,
        'margin': claim.margin, 'measure': claim.measure,
        'tasks': None if claim.tasks is None else list(claim.tasks)}
    pairs = results.pairs(first, second, claim.tasks, claim.measure)
    if not pairs.episodes:
        why = ('no task with a moving target was run' if claim.moving_target and not claim.tasks
               else f'needs episodes of {first!r} and {second!r}')
        return {**said, 'verdict': UNTESTED, 'why': why}
    said.update(compared(pairs, claim))
    if claim.reuse_rate != (0.0, 1.0):
        said.update(_reuse(claim, results, first))
    return said


def compared(pairs: Blocks, claim: Claim) -> dict[str, Any]:
    """Difference, interval, agreement of the policies and verdict."""
    success = claim.measure == 'success'
    low, high = pairs.interval() if success else pairs.mean_interval()
    sides = [value for one in pairs.of.values() for value in one.values()]
    return {'pairs': pairs.episodes, 'difference': pairs.difference, 'interval': [low, high],
            'p': pairs.p() if success else None,
            'means': [sum(side) / len(sides) for side in zip(*sides)],
            'policies': pairs.spread, 'same_sign': int(pairs.same_sign),
            'verdict': decide(low, high, claim.margin, claim.differ)}


def _reuse(claim: Claim, results: Results, label: str) -> dict[str, Any]:
    """Reuse rate of a variant; without a verdict where the claim speaks of another rate."""
    rows = [row for key, row in results.of[label].items()
            if claim.tasks is None or key[1] in claim.tasks]
    rate = sum(row['reused'] for row in rows) / max(1, sum(row['calls'] for row in rows))
    lowest, highest = claim.reuse_rate
    if lowest <= rate <= highest:
        return {'reuse_rate': rate}
    return {'reuse_rate': rate, 'verdict': UNTESTED,
            'why': f'{rate:.0%} of the steps were reused; the claim speaks of {lowest:.0%} to '
                   f'{highest:.0%} (--sweep-reuse finds thresholds, --reuse-settings sets them)'}


def decide(low: float, high: float, margin: float, differ: bool = False) -> str:
    """Compare an interval of first - second with minus the margin, or with zero."""
    if differ:
        if low > 0 or high < 0:
            return HOLDS
        return FAILS if -margin < low and high < margin else UNDECIDED
    if low > -margin:
        return HOLDS
    return FAILS if high < -margin else UNDECIDED
