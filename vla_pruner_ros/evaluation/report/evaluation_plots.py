# SPDX-License-Identifier: Apache-2.0
"""Plots of an evaluation (matplotlib, no display)."""
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_pruner_ros.evaluation.plan.method_variants import UNPRUNED
from vla_pruner_ros.runtime.headless_pyplot import pyplot, save

MARKERS = 'sD^vPX*'  # of methods that ran at a single budget, which get no line
STAGES = ('preprocess', 'vision', 'decoder', 'head')  # ``select`` is part of ``decoder``
Variant = dict[str, Any]


def plot_all(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write every plot that the results allow; returns the files."""
    variants = [one for one in report['variants'] if one['episodes']]
    if not variants:
        return []
    tasks = report['plan']['tasks']
    made = [plot_success(variants, folder / 'success.png')]
    if len(tasks) > 1:
        made.append(plot_tasks(variants, tasks, folder / 'success_tasks.png'))
    made.append(plot_cost(variants, folder / 'cost.png'))
    if any(one['path_deviation_m'] for one in variants):
        made.append(plot_deviation(variants, folder / 'deviation.png'))
    return made


def lines(variants: Sequence[Variant]) -> dict[str, list[Variant]]:
    """Method -> its variants by rising budget, ending at the one that keeps all tokens.

    A method with reuse ends at reuse without pruning, every other at the unpruned policy.
    """
    whole = {one['method']: one for one in variants if one['kept_share'] == 1.0}
    unpruned = next((one for one in variants if one['label'] == UNPRUNED), None)
    found: dict[str, list[Variant]] = {}
    for one in sorted(variants, key=lambda one: float(one['kept_share'])):
        if one['kept_share'] < 1.0:
            found.setdefault(one['method'], []).append(one)
    for method, points in found.items():
        end = whole.get('none+reuse') if method.endswith('+reuse') else unpruned
        if end is not None:
            points.append(end)
    for method, one in whole.items():
        if one is not unpruned and method != 'none+reuse':
            found[method] = [one]
    return found


def style(number: int, points: Sequence[Variant]) -> dict[str, str]:
    """Colour, marker and line of a method; no line where it ran at one budget only."""
    alone = sum(one['label'] != UNPRUNED for one in points) == 1
    return {'color': f'C{number % 10}',
            'marker': MARKERS[number % len(MARKERS)] if alone else 'o',
            'linestyle': 'none' if alone else '-' if number < 10 else '--'}


def plot_success(variants: Sequence[Variant], path: Path) -> Path:
    """Success over budget, one line per method with intervals; faint ones are single policies."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(7.5, 5.0))
    _success_panel(axis, variants, lambda one: one)
    names = list(variants[0]['policies'])
    for name in names if len(names) > 1 else ():
        for number, points in enumerate(lines(variants).values()):
            known = [one for one in points if one['policies'][name]['episodes']]
            axis.plot([100 * one['kept_share'] for one in known],
                      [one['policies'][name]['rate'] for one in known], linewidth=0.7, alpha=0.35,
                      **{**style(number, points), 'marker': None})
    several = f', mean of {len(names)} policies (faint: each)' if len(names) > 1 else ''
    axis.set_title('all tasks' + several, fontsize=10)
    axis.set_ylabel('success rate')
    axis.legend(fontsize=7)
    return _save(figure, path)


def plot_tasks(variants: Sequence[Variant], tasks: Sequence[str], path: Path) -> Path:
    """The same, one panel per task."""
    plt = pyplot()
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = plt.subplots(rows, columns, squeeze=False, sharey=True,
                                figsize=(4.6 * columns, 3.4 * rows + 0.5))
    for axis in axes.flat[len(tasks):]:
        axis.axis('off')
    for axis, task in zip(axes.flat, tasks):
        def value(one: Variant, task: str = task) -> dict[str, Any]:
            found: dict[str, Any] = one['tasks'][task]
            return found
        _success_panel(axis, variants, value)
        axis.set_title(task, fontsize=10)
    for axis in axes[:, 0]:
        axis.set_ylabel('success rate')
    handles, labels = axes[0, 0].get_legend_handles_labels()
    across = 2 * columns
    figure.legend(handles, labels, fontsize=7, ncol=across, loc='lower center')
    # Room below for the legend, which would hide points in any panel: inches.
    return _save(figure, path, 0.2 + 0.17 * -(-len(labels) // across))


def _success_panel(axis: Any, variants: Sequence[Variant],
                   value: Callable[[Variant], dict[str, Any]]) -> None:
    methods = lines(variants)
    for number, (method, points) in enumerate(methods.items()):
        known = [one for one in points if value(one)['episodes']]
        rates = np.array([value(one)['rate'] for one in known], dtype=float)
        ends = np.array([value(one)['interval'] for one in known]).reshape(-1, 2)
        # A little apart, so that intervals at one budget do not hide each other; the end that all
        # methods share has its own mark.
        own = np.array([one['label'] != UNPRUNED for one in known], dtype=bool)
        shift = 1 + 0.012 * (number - (len(methods) - 1) / 2) * own
        kept = np.array([100 * one['kept_share'] for one in known]) * shift
        look = style(number, points)
        axis.plot(kept, rates, linewidth=1.2, **{**look, 'marker': None})
        axis.errorbar(kept[own], rates[own], yerr=[(rates - ends[:, 0])[own],
                                                   (ends[:, 1] - rates)[own]],
                      markersize=4, capsize=3, linewidth=1.2, label=method,
                      **{**look, 'linestyle': 'none'})
    whole = next((one for one in variants if one['label'] == UNPRUNED), None)
    if whole is not None and value(whole)['episodes']:
        middle, (low, high) = value(whole)['rate'], value(whole)['interval']
        axis.axhline(middle, color='black', linewidth=0.8, linestyle=':')
        axis.axhspan(low, high, color='black', alpha=0.06)
        axis.errorbar([100], [middle], yerr=[[middle - low], [high - middle]], fmt='ks',
                      markersize=4, capsize=3, linewidth=1.2, label=UNPRUNED)
    shares = sorted({100 * one['kept_share'] for one in variants})
    axis.set_xscale('log')
    axis.set_xticks(shares, [f'{share:.3g}' for share in shares])
    axis.minorticks_off()
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel('visual tokens kept, %')
    axis.grid(alpha=0.3)


def plot_deviation(variants: Sequence[Variant], path: Path) -> Path:
    """Median distance from the unpruned path over budget."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(6.5, 4.2))
    for number, (method, points) in enumerate(lines(variants).items()):
        known = [one for one in points if one['path_deviation_m']]
        axis.plot([100 * one['kept_share'] for one in known],
                  [1e3 * one['path_deviation_m']['mean_median'] for one in known],
                  markersize=4, label=method, **style(number, points))
    shares = sorted({100 * one['kept_share'] for one in variants})
    axis.set_xscale('log')
    axis.set_xticks(shares, [f'{share:.3g}' for share in shares])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel('visual tokens kept, %')
    axis.set_ylabel('mm from the unpruned path, median episode')
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    return _save(figure, path)


def plot_cost(variants: Sequence[Variant], path: Path) -> Path:
    """Milliseconds per stage, multiply-adds and reuse rate, one bar per variant."""
    plt = pyplot()
    figure, (times, adds, reuse) = plt.subplots(
        1, 3, sharey=True, figsize=(13, 1.4 + 0.3 * len(variants)),
        gridspec_kw={'width_ratios': (3, 2, 1)})
    labels = [one['label'] for one in variants]
    left = np.zeros(len(variants))
    for stage in STAGES:
        width = np.array([one['stages_ms'].get(stage) or 0.0 for one in variants])
        times.barh(labels, width, left=left, label=stage)
        left += width
    adds.barh(labels, [(one['multiply_adds_per_call'] or 0.0) / 1e9 for one in variants],
              color='grey')
    reuse.barh(labels, [100 * (one['reuse_rate'] or 0.0) for one in variants], color='C4')
    times.invert_yaxis()
    times.set_xlabel('ms per model run, median')
    adds.set_xlabel('10^9 multiply-adds per policy call')
    adds.set_xlim(left=0)
    reuse.set_xlim(0, 100)
    reuse.set_xlabel('% of calls reused')
    times.legend(fontsize=7, ncol=4, loc='lower left', bbox_to_anchor=(0, 1))
    return _save(figure, path)


def _save(figure: Any, path: Path, below: float = 0.0) -> Path:
    figure.tight_layout(rect=(0.0, below / figure.get_figheight(), 1.0, 1.0))
    return save(figure, path)
