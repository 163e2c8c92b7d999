# SPDX-License-Identifier: Apache-2.0
"""Pictures of what was commanded and what the hand did (matplotlib, no display)."""
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_pruner_ros.evaluation.real_time.driven_robot import SECOND
from vla_pruner_ros.evaluation.real_time.motion_row import FINER
from vla_pruner_ros.evaluation.real_time.real_time_plan import LOCK_STEP
from vla_pruner_ros.evaluation.running.hand_paths import unpack
from vla_pruner_ros.robots.controlled_robot import CYCLE_NS
from vla_pruner_ros.runtime.headless_pyplot import pyplot, save

MOST = 4  # settings in one picture
AXES = 'xyz'


def plot_curves(rows: Iterable[dict[str, Any]], folder: Path) -> list[Path]:
    """One picture per task of the episodes that were kept whole; returns the files."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if 'curve' in row:
            tasks.setdefault(row['task'], []).append(row)
    return [_plot(task, _choice(own), folder / f'curves_{task}.png')
            for task, own in tasks.items()]


def _choice(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Settings of the delay, tokens and reuse that most of them share, the first few."""
    def rest(row: dict[str, Any]) -> str:
        return str(row['label']).partition(', ')[2]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if not row['label'].startswith(LOCK_STEP):
            groups.setdefault(rest(row), []).append(row)
    # Of several groups of one size the one with random delays is the more telling.
    return max(groups.values(), key=lambda one: (len(one), '~' in one[0]['label']))[:MOST]


def _plot(task: str, rows: Sequence[dict[str, Any]], path: Path) -> Path:
    plt = pyplot()
    figure, axes = plt.subplots(2, len(rows), squeeze=False, sharex=True, sharey='row',
                                figsize=(4.2 * len(rows), 5.4))
    cycle = CYCLE_NS / SECOND
    for column, row in zip(axes.T, rows):
        places = unpack(row['curve']['commanded']) / FINER
        hand = unpack(row['curve']['measured']) / FINER
        times = cycle * np.arange(len(places))
        for axis, name in enumerate(AXES):
            colour = f'C{axis}'
            column[0].plot(times, 1e3 * (places[:, axis] - places[0, axis]), colour, linewidth=1,
                           label=f'{name} commanded')
            column[0].plot(times, 1e3 * (hand[:, axis] - places[0, axis]), colour, linewidth=0.8,
                           linestyle=':')
            column[1].plot(times[1:], np.diff(places[:, axis]) / cycle, colour, linewidth=0.8)
        for picture in column:
            for when in row['curve']['arrivals_s']:
                picture.axvline(when, color='black', linewidth=0.4, alpha=0.35)
            picture.grid(alpha=0.25)
        column[0].set_title(row['label'] + ('' if row['success'] else ' (not solved)'),
                            fontsize=8)
        column[1].set_xlabel('seconds; lines: a chunk arrives')
    axes[0, 0].set_ylabel('mm (dotted: the hand)')
    axes[1, 0].set_ylabel('m/s')
    axes[0, 0].legend(fontsize=7)
    figure.suptitle(f'{task}, seed {rows[0]["seed"]}', fontsize=9)
    figure.tight_layout()
    return save(figure, path)
