# SPDX-License-Identifier: Apache-2.0
"""Rows of the journals -> the numbers of the report, as plain data.

Everything is computed from the rows alone, so a report can be made again at any time.  Success
rates pool the episodes of all tasks (every task has the same seeds) and of all policies; each task
and each policy is also given.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from vla_pruner_ros.evaluation.plan.episode_plan import Plan
from vla_pruner_ros.evaluation.plan.method_variants import UNPRUNED, Variant
from vla_pruner_ros.evaluation.running.hand_paths import deviation, unpack
from vla_pruner_ros.statistics.intervals import holm
from vla_pruner_ros.statistics.policy_blocks import Blocks, over_policies, rate_interval

PATH = 'path_deviation'  # measure: metres from the unpruned path, mean of an episode
Row = dict[str, Any]
Key = tuple[str, str, int]  # policy, task, seed


@dataclass(frozen=True)
class PolicyRun:
    """The episodes of one policy.

    Attributes:
        name: of the policy, unique in an evaluation.
        plan: which episodes count.
        rows: job name -> row; those outside the plan are left out.
    """

    name: str
    plan: Plan
    rows: Mapping[str, Row]


class Results:
    """Finished episodes, by variant.

    Args:
        runs: one per policy; their plans differ in the policy only.
    """

    def __init__(self, runs: Sequence[PolicyRun]):
        self.runs = tuple(runs)
        self.plan = runs[0].plan
        self.of: dict[str, dict[Key, Row]] = {one.label: {} for one in self.plan.variants}
        for run in runs:
            for job in run.plan.jobs():
                row = run.rows.get(job.name)
                if row is not None:
                    self.of[job.variant.label][run.name, job.task, job.seed] = row
        self._paths: dict[Key, np.ndarray] = {}

    @property
    def planned(self) -> int:
        """Episodes of all plans."""
        return sum(len(run.plan.jobs()) for run in self.runs)

    @property
    def finished(self) -> int:
        """Episodes that count."""
        return sum(len(rows) for rows in self.of.values())

    def pairs(self, first: str, second: str, tasks: Sequence[str] | None = None,
              measure: str = 'success') -> Blocks:
        """A number of the rows of two variants (labels) on the episodes that both have finished.

        Args:
            first: label.
            second: label.
            tasks: only these; None = all.
            measure: key of the number, or ``PATH``; episodes without it are left out.
        """
        one, other = self.of.get(first, {}), self.of.get(second, {})
        found: dict[str, dict[Any, tuple[float, float]]] = {}
        for key, row in one.items():
            if key in other and (tasks is None or key[1] in tasks):
                mine, others = (self._measure(measure, key, of) for of in (row, other[key]))
                if mine is not None and others is not None:
                    found.setdefault(key[0], {})[key[1:]] = mine, others
        return Blocks(found)

    def _measure(self, measure: str, key: Key, row: Row) -> float | None:
        if measure != PATH:
            value: float | None = row[measure]
            return value
        apart = self._deviation(key, row)
        return None if apart is None else apart['mean']

    def _deviation(self, key: Key, row: Row) -> dict[str, float] | None:
        reference = self.of.get(UNPRUNED, {}).get(key)
        if reference is None:
            return None
        if key not in self._paths:
            self._paths[key] = unpack(reference['path'])
        return deviation(unpack(row['path']), self._paths[key])

    def deviations(self, label: str) -> list[dict[str, float]]:
        """Path deviation of every episode from the unpruned one of the same task and seed."""
        apart = [self._deviation(key, row) for key, row in self.of[label].items()]
        return [one for one in apart if one is not None]


def summarize(results: Results) -> dict[str, Any]:
    """All variants, and the comparisons of those with the same budget (JSON types)."""
    plan = results.plan
    variants = [describe(results, one) for one in plan.variants]
    against = [one['against_unpruned'] for one in variants if one['against_unpruned']]
    adjust(against)
    comparisons: list[dict[str, Any]] = []
    for tokens in dict.fromkeys(one.tokens for one in plan.variants):
        labels = [one.label for one in plan.variants if one.tokens == tokens]
        family = [dict(tokens=tokens, first=first, second=second,
                       **compare(results.pairs(first, second)))
                  for first, second in combinations(labels, 2)]
        adjust(family)
        comparisons += family
    return {'plan': plan.describe(),
            'policies': [policy(results, run) for run in results.runs],
            'episodes': {'planned': results.planned, 'finished': results.finished},
            'variants': variants, 'comparisons': comparisons}


def policy(results: Results, run: PolicyRun) -> dict[str, Any]:
    """What one policy is and how far it got."""
    finished = sum(key[0] == run.name for rows in results.of.values() for key in rows)
    whole = {key: row for key, row in results.of.get(UNPRUNED, {}).items() if key[0] == run.name}
    return {'name': run.name, 'checkpoint': run.plan.checkpoint_digest, 'digest': run.plan.digest,
            'planned': len(run.plan.jobs()), 'finished': finished, 'unpruned': success(whole)}


def describe(results: Results, variant: Variant) -> dict[str, Any]:
    """Success, cost and path of one variant."""
    found = results.of[variant.label]
    rows = list(found.values())
    all_tokens = results.plan.tokens_per_image
    calls = sum(row['calls'] for row in rows)
    reused, runs = sum(row['reused'] for row in rows), sum(row['runs'] for row in rows)
    apart = results.deviations(variant.label)
    stages = sorted({name for row in rows for name in row['ms_stages']})
    pairs = results.pairs(variant.label, UNPRUNED)
    policies = {run.name: success({key: row for key, row in found.items() if key[0] == run.name})
                for run in results.runs}
    reasons: dict[str, int] = {}
    for row in rows:
        for name, count in row['reasons'].items():
            reasons[name] = reasons.get(name, 0) + count
    return {
        'label': variant.label, 'method': variant.method, 'pruner': variant.pruner,
        'tokens': variant.tokens or all_tokens,
        'kept_share': (variant.tokens or all_tokens) / all_tokens,
        **success(found),
        'tasks': {task: success({key: row for key, row in found.items() if key[1] == task})
                  for task in results.plan.tasks},
        'policies': policies,
        'over_policies': over_policies([one['rate'] for one in policies.values()]),
        'unsafe': sum(bool(row['error']) for row in rows),
        'limited_values': sum(row['limited'] for row in rows),
        'control_steps_median': middle([row['steps'] for row in rows if row['success']]),
        'path_deviation_m': None if variant == Variant() or not apart else {
            'mean_median': middle([one['mean'] for one in apart]),
            'mean_90': float(np.quantile([one['mean'] for one in apart], 0.9)),
            'max_median': middle([one['max'] for one in apart])},
        'stages_ms': {name: middle([row['ms_stages'][name] for row in rows
                                    if name in row['ms_stages']]) for name in stages},
        'call_ms': middle([row['ms_call'] for row in rows if row['calls']]),
        'multiply_adds_per_call': sum(row['flops'] for row in rows) / calls if calls else None,
        'calls_median': middle([row['calls'] for row in rows]),
        'pruned_share': sum(row['pruned'] for row in rows) / runs if runs else None,
        'reuse_rate': reused / calls if calls else None,
        'reuse_reasons': reasons,
        'kept_again_share': average([row['overlap'] for row in rows]),
        'ever_kept_share': average([row['ever_kept'] for row in rows]),
        'against_unpruned': (None if variant == Variant() or not pairs.episodes
                             else compare(pairs))}


def success(rows: Mapping[Key, Row]) -> dict[str, Any]:
    """Episodes, successes, rate and its 95 % interval (Wilson, see ``blocks``)."""
    solved: dict[str, dict[Any, float]] = {}
    for key, row in rows.items():
        solved.setdefault(key[0], {})[key[1:]] = bool(row['success'])
    successes = sum(row['success'] for row in rows.values())
    return {'episodes': len(rows), 'successes': successes,
            'rate': successes / len(rows) if rows else None,
            'interval': list(rate_interval(solved))}


def compare(blocks: Blocks) -> dict[str, Any]:
    """Paired comparison of two variants; differences are first minus second."""
    pairs = blocks.pairs
    return {'pairs': pairs.episodes, 'both': pairs.both, 'first_only': pairs.first,
            'second_only': pairs.second, 'neither': pairs.neither,
            'difference': blocks.difference, 'interval': list(blocks.interval()),
            'p': blocks.p(), 'policies': blocks.spread, 'same_sign': int(blocks.same_sign)}


def adjust(family: Sequence[dict[str, Any]]) -> None:
    """Add Holm's adjusted p-values to the comparisons of one family."""
    for one, value in zip(family, holm([one['p'] for one in family])):
        one['p_holm'] = value


def middle(values: Sequence[float]) -> float | None:
    """Median, or None."""
    return float(np.median(values)) if len(values) else None


def average(values: Sequence[float | None]) -> float | None:
    """Mean of those that are not None, or None."""
    known = [one for one in values if one is not None]
    return float(np.mean(known)) if known else None
