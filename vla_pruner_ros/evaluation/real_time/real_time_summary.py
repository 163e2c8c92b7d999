# SPDX-License-Identifier: Apache-2.0
"""Rows of the journal -> one line per setting, as plain data (JSON types)."""
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vla_pruner_ros.evaluation.real_time.real_time_plan import (
    LOCK_STEP,
    NAIVE,
    RealTimeJob,
    RealTimePlan,
    Setting,
)
from vla_pruner_ros.statistics.intervals import difference_interval, Pairs, wilson

Row = dict[str, Any]
KINDS = ('position', 'velocity', 'acceleration')


def summarize(plan: RealTimePlan, rows: Mapping[str, Row]) -> dict[str, Any]:
    """Conditions and lines of a run; settings without a finished episode are left out."""
    found = {one.label: _of(plan, rows, one) for one in plan.settings}
    lines = [_line(one, found, plan) for one in plan.settings if found[one.label]]
    return {'tasks': list(plan.tasks), 'seeds': [plan.seeds[0], plan.seeds[-1]],
            'episodes': {'planned': len(plan.jobs()),
                         'finished': sum(len(one) for one in found.values())},
            'camera_hz': plan.camera_hz, 'conditions': plan.conditions(), 'lines': lines}


def _of(plan: RealTimePlan, rows: Mapping[str, Row], setting: Setting) -> list[Row]:
    names = [RealTimeJob(task, seed, setting).name for seed in plan.seeds for task in plan.tasks]
    return [rows[name] for name in names if name in rows]


def _line(setting: Setting, found: Mapping[str, Sequence[Row]],
          plan: RealTimePlan) -> dict[str, Any]:
    rows = found[setting.label]
    solved = sum(row['success'] for row in rows)
    tasks = {task: [row for row in rows if row['task'] == task] for task in plan.tasks}
    reference = Setting(LOCK_STEP, tokens=setting.tokens, reuse=setting.reuse)
    line: dict[str, Any] = {
        'label': setting.label, 'way': setting.way, 'delay': setting.delay.name,
        'controller': setting.controller, 'tokens': setting.tokens, 'reuse': setting.reuse,
        'changes': {name: value for name, value in setting.changes},
        'episodes': len(rows), 'successes': solved, 'interval': list(wilson(solved, len(rows))),
        'tasks': {task: {'episodes': len(own), 'successes': sum(row['success'] for row in own)}
                  for task, own in tasks.items()},
        'seconds_when_solved': _mean(row['seconds_to_end'] for row in rows if row['success']),
        'reused_share': _mean(row['reused'] / row['calls'] for row in rows if row['calls']),
        'against_lock_step': _against(rows, found.get(reference.label, ()))}
    if setting.way == LOCK_STEP:
        return line
    naive = Setting(NAIVE, setting.delay, setting.tokens, setting.reuse, setting.controller)
    line.update({
        'uncovered': _mean(row['uncovered'] for row in rows),
        'path_m_when_solved': _mean(row['path_m'] for row in rows if row['success']),
        'chunks': _mean(row['chunks'] for row in rows),
        'refused': sum(sum(row['refused'].values()) for row in rows),
        'restarts': sum(row.get('restarts', 0) for row in rows),
        'timing': sorted({row['timing'] for row in rows if 'timing' in row}),
        **{source: _steps(rows, source) for source in ('commanded', 'measured')}})
    line['by_naive'] = _ratio(rows, found.get(naive.label, ()))
    return line


def _steps(rows: Sequence[Row], source: str) -> dict[str, dict[str, float | None]]:
    """Per place (boundary, elsewhere): largest of all episodes, and their median 99 %."""
    result: dict[str, dict[str, float | None]] = {}
    for where in ('boundary', 'elsewhere'):
        sizes = [row[source][where] for row in rows]
        result[where] = {}
        for kind in KINDS:
            tops = [one[f'{kind}_max'] for one in sizes if one[f'{kind}_max'] is not None]
            usual = [one[f'{kind}_p99'] for one in sizes if one[f'{kind}_p99'] is not None]
            result[where][f'{kind}_max'] = max(tops) if tops else None
            result[where][f'{kind}_median_max'] = float(np.median(tops)) if tops else None
            result[where][f'{kind}_p99'] = float(np.median(usual)) if usual else None
    return result


def _ratio(rows: Sequence[Row], naive: Sequence[Row]) -> dict[str, float | None]:
    """Velocity steps by those of naive publishing on the same episodes."""
    pairs = _pairs(rows, naive)
    if not pairs:
        return {'largest': None, 'median': None}
    tops = [[_top(row) for row in side] for side in zip(*pairs)]
    ratios = [own / other for own, other in zip(*tops) if other > 0]
    return {'largest': max(tops[0]) / max(tops[1]) if max(tops[1]) > 0 else None,
            'median': float(np.median(ratios)) if ratios else None}


def _top(row: Row) -> float:
    """Largest velocity step of an episode, wherever it was."""
    return max(row['commanded'][where]['velocity_max'] or 0.0
               for where in ('boundary', 'elsewhere'))


def _against(rows: Sequence[Row], reference: Sequence[Row]) -> dict[str, Any] | None:
    """Success minus that of lock step on the same episodes."""
    pairs = Pairs.count((row['success'], other['success'])
                        for row, other in _pairs(rows, reference))
    if not pairs.episodes:
        return None
    return {**asdict(pairs), 'difference': pairs.difference,
            'interval': list(difference_interval(pairs))}


def _pairs(rows: Sequence[Row], others: Sequence[Row]) -> list[tuple[Row, Row]]:
    known = {(row['task'], row['seed']): row for row in others}
    return [(row, known[row['task'], row['seed']]) for row in rows
            if (row['task'], row['seed']) in known]


def _mean(values: Any) -> float | None:
    known = list(values)
    return float(np.mean(known)) if known else None
