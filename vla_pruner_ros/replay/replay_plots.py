# SPDX-License-Identifier: Apache-2.0
"""Plots of a replay (matplotlib, no display): actions, deviation against budget, stage times."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.replay.policy_over_bag import RunResult
from vla_pruner_ros.runtime.headless_pyplot import pyplot, save

STAGES = ('preprocess', 'vision', 'decoder', 'head')  # ``select`` is part of ``decoder``
MOST_LINES = 7


def plot_actions(runs: Sequence[RunResult], spec: PolicySpec, path: Path) -> Path:
    """First action of every chunk over time, one panel per action value."""
    plt = pyplot()
    names = spec.action_names
    figure, axes = plt.subplots(len(names), 1, sharex=True, squeeze=False,
                                figsize=(10, 1.0 + 1.7 * len(names)))
    start = min(one.stamp_ns for run in runs for one in run.steps)
    for number, run in enumerate(runs[:MOST_LINES]):
        times = [(one.stamp_ns - start) / 1e9 for one in run.steps]
        first = np.array([one.actions[0] for one in run.steps])
        for column, axis in enumerate(axes[:, 0]):
            axis.plot(times, first[:, column], label=run.label,
                      color='black' if number == 0 else f'C{number - 1}',
                      linewidth=2.0 if number == 0 else 1.0)
    for name, axis in zip(names, axes[:, 0]):
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[0, 0].set_title(f'First action of every chunk ({spec.name})')
    axes[0, 0].legend(fontsize=7, ncol=3)
    axes[-1, 0].set_xlabel('bag time, s')
    return _save(figure, path)


def plot_deviation(rows: Sequence[dict[str, Any]], spec: PolicySpec, path: Path) -> Path:
    """Distance of the chunk ends from the unpruned run, and token choice, against the budget."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for number, pruner in enumerate(dict.fromkeys(row['pruner'] for row in rows)):
        mine = sorted((row for row in rows if row['pruner'] == pruner),
                      key=lambda row: int(row['token_budget']))
        budgets = [row['token_budget'] or spec.tokens_per_image for row in mine]
        ends = [row['against_unpruned']['end_deviation'] for row in mine]
        left.plot(budgets, [_number(one['mean']) for one in ends], 'o-', color=f'C{number}',
                  label=f'{pruner}, mean')
        left.plot(budgets, [_number(one['max']) for one in ends], 'o:', color=f'C{number}',
                  label=f'{pruner}, max')
        overlaps = [row['against_unpruned'] for row in mine]
        right.plot(budgets, [_number(one['kept_overlap_full_attention']) for one in overlaps],
                   'o-', color=f'C{number}', label=pruner)
    tokens = spec.tokens_per_image
    right.plot([0, tokens], [0, 1], color='grey', linestyle='--', label='chance')
    unit = 'm' if spec.action_kind == 'ee_delta' else 'rad'
    left.set_ylabel(f'distance of the chunk ends, {unit}')
    right.set_ylabel("overlap with the unpruned model's choice")
    for axis in (left, right):
        axis.set_xlabel(f'tokens kept per image (of {tokens})')
        axis.set_xlim(0, tokens * 1.02)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    left.set_ylim(bottom=0)
    return _save(figure, path)


def plot_stages(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Median milliseconds per stage, one bar per run."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(9, 1.2 + 0.45 * len(rows)))
    labels = [row['label'] for row in rows]
    left = np.zeros(len(rows))
    for stage in STAGES:
        values = np.array([row['stages_ms'].get(stage, 0.0) for row in rows])
        axis.barh(labels, values, left=left, label=stage)
        left += values
    for number, total in enumerate(left):
        axis.text(total, number, f' {total:.1f}', va='center', fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel('median ms per model run')
    axis.legend(fontsize=8, ncol=len(STAGES), loc='lower right', bbox_to_anchor=(1, 1))
    return _save(figure, path)


def plot_all(runs: Sequence[RunResult], rows: Sequence[dict[str, Any]], spec: PolicySpec,
             folder: Path) -> list[Path]:
    """Write every plot that the runs allow; returns the files."""
    made = [plot_actions(runs, spec, folder / 'actions.png'),
            plot_stages(rows, folder / 'stages.png')]
    compared = [row for row in rows if 'against_unpruned' in row]
    if compared:
        made.append(plot_deviation(compared, spec, folder / 'deviation.png'))
    return made


def _number(value: Any) -> float:
    return float('nan') if value is None else float(value)


def _save(figure: Any, path: Path) -> Path:
    figure.tight_layout()
    return save(figure, path)
