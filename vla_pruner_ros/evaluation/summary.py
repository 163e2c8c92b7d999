"""Rows of the journal -> the numbers of the report, as plain data.

Everything is computed from the rows alone, so a report can be made again at any time.  Success
rates pool the episodes of all tasks (every task has the same seeds); each task is also given.
"""
from itertools import combinations
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from vla_pruner_ros.evaluation.methods import UNPRUNED, Variant
from vla_pruner_ros.evaluation.paths import deviation, unpack
from vla_pruner_ros.evaluation.plan import Job, Plan
from vla_pruner_ros.evaluation.stats import difference_interval, holm, mcnemar, Pairs, wilson

Row = Dict[str, Any]
Key = Tuple[str, int]  # task, seed


class Results:
    """Finished episodes of a plan, by variant.

    Args:
        plan: which episodes count.
        rows: job name -> row; those outside the plan are left out.
    """

    def __init__(self, plan: Plan, rows: Mapping[str, Row]):
        self.plan = plan
        self.of: Dict[str, Dict[Key, Row]] = {one.label: {} for one in plan.variants}
        for task in plan.tasks:
            for seed in plan.seeds:
                for variant in plan.variants:
                    row = rows.get(Job(task, seed, variant).name)
                    if row is not None:
                        self.of[variant.label][task, seed] = row
        self._paths: Dict[Key, np.ndarray] = {}

    @property
    def finished(self) -> int:
        """Episodes that count."""
        return sum(len(rows) for rows in self.of.values())

    def pairs(self, first: str, second: str, tasks: Optional[Sequence[str]] = None) -> Pairs:
        """Outcomes of two variants (labels) on the episodes that both have finished."""
        one, other = self.of.get(first, {}), self.of.get(second, {})
        return Pairs.count((one[key]['success'], other[key]['success']) for key in one
                           if key in other and (tasks is None or key[0] in tasks))

    def deviations(self, label: str) -> List[Dict[str, float]]:
        """Path deviation of every episode from the unpruned one of the same task and seed."""
        found = []
        for key, row in self.of[label].items():
            reference = self.of.get(UNPRUNED, {}).get(key)
            if reference is None:
                continue
            if key not in self._paths:
                self._paths[key] = unpack(reference['path'])
            found.append(deviation(unpack(row['path']), self._paths[key]))
        return found


def summarize(results: Results) -> Dict[str, Any]:
    """All variants, and the comparisons of those with the same budget (JSON types)."""
    plan = results.plan
    variants = [describe(results, one) for one in plan.variants]
    against = [one['against_unpruned'] for one in variants if one['against_unpruned']]
    adjust(against)
    comparisons: List[Dict[str, Any]] = []
    for tokens in dict.fromkeys(one.tokens for one in plan.variants):
        labels = [one.label for one in plan.variants if one.tokens == tokens]
        family = [dict(tokens=tokens, first=first, second=second,
                       **compare(results.pairs(first, second)))
                  for first, second in combinations(labels, 2)]
        adjust(family)
        comparisons += family
    return {'plan': plan.describe(),
            'episodes': {'planned': len(plan.jobs()), 'finished': results.finished},
            'variants': variants, 'comparisons': comparisons}


def describe(results: Results, variant: Variant) -> Dict[str, Any]:
    """Success, cost and path of one variant."""
    rows = list(results.of[variant.label].values())
    all_tokens = results.plan.tokens_per_image
    calls = sum(row['calls'] for row in rows)
    reused, runs = sum(row['reused'] for row in rows), sum(row['runs'] for row in rows)
    apart = results.deviations(variant.label)
    stages = sorted({name for row in rows for name in row['ms_stages']})
    pairs = results.pairs(variant.label, UNPRUNED)
    reasons: Dict[str, int] = {}
    for row in rows:
        for name, count in row['reasons'].items():
            reasons[name] = reasons.get(name, 0) + count
    return {
        'label': variant.label, 'method': variant.method, 'pruner': variant.pruner,
        'tokens': variant.tokens or all_tokens,
        'kept_share': (variant.tokens or all_tokens) / all_tokens,
        **success(rows),
        'tasks': {task: success([row for row in rows if row['task'] == task])
                  for task in results.plan.tasks},
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


def success(rows: Sequence[Row]) -> Dict[str, Any]:
    """Episodes, successes, rate and its 95 % Wilson interval."""
    solved = sum(row['success'] for row in rows)
    return {'episodes': len(rows), 'successes': solved,
            'rate': solved / len(rows) if rows else None,
            'interval': list(wilson(solved, len(rows)))}


def compare(pairs: Pairs) -> Dict[str, Any]:
    """Paired comparison of two variants; differences are first minus second."""
    return {'pairs': pairs.episodes, 'both': pairs.both, 'first_only': pairs.first,
            'second_only': pairs.second, 'neither': pairs.neither,
            'difference': pairs.difference, 'interval': list(difference_interval(pairs)),
            'p': mcnemar(pairs)}


def adjust(family: Sequence[Dict[str, Any]]) -> None:
    """Add Holm's adjusted p-values to the comparisons of one family."""
    for one, value in zip(family, holm([one['p'] for one in family])):
        one['p_holm'] = value


def middle(values: Sequence[float]) -> Optional[float]:
    """Median, or None."""
    return float(np.median(values)) if len(values) else None


def average(values: Sequence[Optional[float]]) -> Optional[float]:
    """Mean of those that are not None, or None."""
    known = [one for one in values if one is not None]
    return float(np.mean(known)) if known else None
