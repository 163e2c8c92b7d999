# SPDX-License-Identifier: Apache-2.0
"""The report of the real-time evaluation: ``real_time.json``, ``real_time.md`` and pictures."""
from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from vla_pruner_ros.evaluation.real_time.real_time_plan import LOCK_STEP
from vla_pruner_ros.evaluation.real_time.real_time_plots import plot_curves
from vla_pruner_ros.evaluation.report.text_tables import (
    difference,
    number,
    percent,
    table,
    unfinished,
)
from vla_pruner_ros.runtime.output_files import write_text

READING = (
    'All settings ran the same seeds and waited for the same times. Steps are those of the '
    'commanded hand from one cycle of 4 ms to the next; in brackets those away from the arrival '
    'of a chunk. "By naive" is the largest velocity step of the run by that of naive publishing '
    'with the same controller, delay, tokens and reuse. "No command" is the share of time without '
    'a commanded row ahead. Success counts against lock step on the same seeds, in points with '
    '95 % intervals. A delay with ~ is drawn evenly from half to one and a half times.')


def write(summary: dict[str, Any], rows: Mapping[str, dict[str, Any]], folder: Path,
          pictures: bool = True) -> list[Path]:
    """Write all files; returns them.

    Raises:
        MissingDependencyError: pictures need matplotlib.
        OutputError: a file cannot be written.
    """
    plots = plot_curves(rows.values(), folder) if pictures else []
    data, text = folder / 'real_time.json', folder / 'real_time.md'
    write_text(data, json.dumps({'tool': 'vla-pruner real-time', **summary}, indent=1,
                                allow_nan=False) + '\n')
    write_text(text, markdown(summary, [path.name for path in plots]))
    return [data, text, *plots]


def markdown(summary: dict[str, Any], plots: list[str]) -> str:
    """The report for people."""
    parts = ['# Real time', '', f'Tasks: {", ".join(summary["tasks"])}; seeds '
             f'{summary["seeds"][0]} to {summary["seeds"][1]}; cameras at '
             f'{summary["camera_hz"]:g} Hz.{unfinished(summary["episodes"])}', '', READING, '',
             '## Motion', '', *motion_table(summary), '', '## Success', '',
             *success_table(summary)]
    for name in plots:
        parts += ['', f'![{name}]({name})']
    return '\n'.join(parts) + '\n'


def motion_table(summary: dict[str, Any]) -> list[str]:
    """One line per setting in which the world went on."""
    rows = []
    for one in summary['lines']:
        if one['way'] == LOCK_STEP:
            continue
        near, far = one['commanded']['boundary'], one['commanded']['elsewhere']

        def both(kind: str, digits: int, scale: float = 1.0, near: Any = near,
                 far: Any = far) -> str:
            values = [None if side[kind] is None else scale * side[kind] for side in (near, far)]
            return f'{number(values[0], digits)} ({number(values[1], digits)})'
        rows.append([one['label'], both('position_max', 1, 1e3), both('velocity_max', 2),
                     both('velocity_p99', 2), both('acceleration_max', 0),
                     number(one['by_naive']['largest'], 2), percent(one['uncovered']),
                     number(one['path_m_when_solved'], 2)])
    return table(['setting', 'largest position step, mm', 'velocity step, m/s', '99 %',
                  'acceleration, m/s²', 'by naive', 'no command', 'path, m'], rows)


def success_table(summary: dict[str, Any]) -> list[str]:
    """Solved episodes, overall and per task."""
    tasks = summary['tasks'] if len(summary['tasks']) > 1 else []
    rows = [[one['label'], f'{one["successes"]}/{one["episodes"]}',
             '-' if one['against_lock_step'] is None else difference(one['against_lock_step']),
             number(one['seconds_when_solved'], 2), percent(one['reused_share']),
             *(f'{one["tasks"][task]["successes"]}/{one["tasks"][task]["episodes"]}'
               for task in tasks)] for one in summary['lines']]
    return table(['setting', 'solved', 'against lock step', 'seconds', 'reused', *tasks], rows)
