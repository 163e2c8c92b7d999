# SPDX-License-Identifier: Apache-2.0
"""``report.json`` of a replay, and the table printed at its end."""
from collections.abc import Sequence
import dataclasses
import hashlib
from importlib import metadata
import json
from pathlib import Path
import platform
from typing import Any

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.replay.bag_reader import Bag
from vla_pruner_ros.replay.policy_over_bag import RunResult
from vla_pruner_ros.replay.run_comparison import compare, summarize
from vla_pruner_ros.runtime.output_files import write_text
from vla_pruner_ros.runtime.terminal_tables import table

PACKAGES = ('vla_pruner_ros', 'torch', 'numpy', 'rosbags', 'opencv-python-headless', 'matplotlib')
STEPPING = ('all messages of one instant, then one tick; computing takes no time; a step is due '
            'when the executed part of the last chunk is over (lock_step: with every image)')


def build_report(bag: Bag, spec: PolicySpec, parameters: Parameters,
                 results: Sequence[RunResult], clock: str) -> dict[str, Any]:
    """Everything about a replay as plain data; ``results[0]`` is the unpruned run."""
    runs: list[dict[str, Any]] = []
    for number, result in enumerate(results):
        runs.append(summarize(result))
        if number:
            runs[-1]['against_unpruned'] = compare(result, results[0], spec)
    begin, end = bag.span_ns
    return {
        'tool': 'vla-pruner replay',
        'bag': {'name': bag.path.name, 'seconds': (end - begin) / 1e9, 'messages': bag.count,
                'topics': {one.name: {'type': one.type_name, 'messages': one.count}
                           for one in bag.topics.values()}},
        'clock': clock, 'stepping': STEPPING,
        'policy': dataclasses.asdict(spec),
        'parameters': dataclasses.asdict(parameters),
        'versions': {'python': platform.python_version(), 'machine': platform.machine(),
                     **{name: _version(name) for name in PACKAGES}},
        'runs': runs,
        # One digest for the whole replay: that of the digests of its runs, in order.
        'chunks_sha256': hashlib.sha256(
            ''.join(one.chunks_sha256 for one in results).encode()).hexdigest(),
    }


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write the report.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, json.dumps(report, indent=2, allow_nan=False) + '\n')


def summary_table(report: dict[str, Any], width: int | None = None) -> str:
    """One line per run, at most ``width`` columns."""
    unit = 'm' if report['policy']['action_kind'] == 'ee_delta' else 'rad'
    head = ('run', 'steps', 'kept', 'reused', 'decoder ms', 'total ms', f'end dev. {unit}',
            'overlap')
    rows = []
    for run in report['runs']:
        against = run.get('against_unpruned', {})
        rows.append((
            run['label'], str(run['steps']), _percent(run['kept_share']),
            _percent(run['reuse_rate']), _fixed(run['stages_ms'].get('decoder'), 1),
            _fixed(run['stages_ms'].get('total'), 1),
            _fixed(against.get('end_deviation', {}).get('mean'), 4),
            _percent(against.get('kept_overlap_full_attention'))))
    return table(head, rows, width=width)


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.0f} %'


def _fixed(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return 'not installed'
