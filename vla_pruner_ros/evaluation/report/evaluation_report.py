# SPDX-License-Identifier: Apache-2.0
"""The report of an evaluation: ``report.json``, ``report.md`` and plots."""
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from vla_pruner_ros.evaluation.plan.episode_plan import WARM_UPS
from vla_pruner_ros.evaluation.report.claims_section import claims
from vla_pruner_ros.evaluation.report.evaluation_plots import plot_all
from vla_pruner_ros.evaluation.report.policies_section import policies, READING_SEVERAL
from vla_pruner_ros.evaluation.report.text_tables import (
    difference,
    millimetres,
    number,
    p_value,
    percent,
    rate,
    share,
    table,
    unfinished,
)
from vla_pruner_ros.runtime import terminal_tables
from vla_pruner_ros.runtime.output_files import write_text

STAGES = ('preprocess', 'vision', 'decoder', 'select', 'head')
MOST_INTERVALS = 5  # tasks in a table whose cells have intervals
SMALL_SHARE = 0.6  # of the model runs
REFERENCE = 'vla_pruner'
READING = (
    'Every variant ran the same seeds. Intervals are 95 % (Wilson for rates, Newcombe for paired '
    'differences), p is the exact McNemar test on paired episodes, in brackets after Holm within '
    'its family. Path deviation is the distance from the unpruned end-effector path of the same '
    'seed at the same control step. Times are medians in worker processes that shared the machine '
    'and rank the variants only roughly; `vla-pruner bench` measures them properly.')


def write(report: dict[str, Any], folder: Path, pictures: bool = True) -> list[Path]:
    """Write all files; returns them.

    Raises:
        MissingDependencyError: pictures need matplotlib.
        OutputError: a file cannot be written.
    """
    plots = plot_all(report, folder) if pictures else []
    report = {**report, 'files': [path.name for path in plots]}
    data, text = folder / 'report.json', folder / 'report.md'
    write_text(data, json.dumps(report, indent=1, allow_nan=False) + '\n')
    write_text(text, markdown(report))
    return [data, text, *plots]


def markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    plan = report['plan']
    several = len(report['policies']) > 1
    of = f' x {len(report["policies"])} policies' if several else ''
    digest = '' if several else f', plan `{plan["digest"]}`'
    parts = [
        '# Closed-loop evaluation', '',
        f'{len(plan["tasks"])} task(s) x {plan["episodes_per_task"]} seeds (from '
        f'{plan["first_seed"]}) x {len(plan["variants"])} variants{of} in '
        f'`{plan["environment"]}`, lock step{digest}. Warm-up: '
        f'{WARM_UPS[plan["conditions"]["warm_up"]]}.{unfinished(report["episodes"])}', '',
        READING, '',
        *([READING_SEVERAL, ''] if several else ()),
        '## Success', '', *success_table(report), '', *restricted(report), *policies(report),
        '## Against the unpruned policy', '', *against_table(report), '',
        '## Cost', '', *cost_table(report), '',
        *comparisons(report), *claims(report), *pictures(report),
        '## Conditions', '', *conditions(plan, several)]
    return '\n'.join(parts).rstrip() + '\n'


def success_table(report: dict[str, Any]) -> list[str]:
    """Rate with interval, overall and per task; many tasks without intervals, to be readable."""
    tasks = report['plan']['tasks'] if len(report['plan']['tasks']) > 1 else []
    short = len(tasks) > MOST_INTERVALS
    rows = [[one['label'], percent(one['kept_share']), rate(one),
             *((share if short else rate)(one['tasks'][task]) for task in tasks)]
            for one in report['variants']]
    lines = table(['variant', 'kept', 'success', *tasks], rows)
    return [*lines, '', 'The intervals of single tasks are in the plot.'] if short else lines


def restricted(report: dict[str, Any]) -> list[str]:
    """Say which rates are of fewer tasks."""
    only = report['plan']['only']
    if not only:
        return []
    words = '; '.join(f'`{label}` on {", ".join(tasks)}' for label, tasks in only.items())
    return [f'Run for a claim on some tasks only: {words}. Their rates over all tasks do not '
            'compare with the others; paired differences do.', '']


def against_table(report: dict[str, Any]) -> list[str]:
    """Paired differences and path deviations."""
    rows = []
    for one in report['variants']:
        pairs, apart = one['against_unpruned'], one['path_deviation_m']
        if pairs is not None:
            rows.append([one['label'], difference(pairs), str(pairs['second_only']),
                         str(pairs['first_only']), p_value(pairs),
                         *((millimetres(apart[name]) for name in ('mean_median', 'mean_90',
                                                                  'max_median'))
                           if apart else ('-', '-', '-'))])
    return table(['variant', 'difference', 'lost', 'won', 'p (Holm)', 'path mm, median',
                  '90 % below', 'largest, median'], rows)


def cost_table(report: dict[str, Any]) -> list[str]:
    """Milliseconds per stage, multiply-adds, reuse."""
    stages = [name for name in STAGES
              if any(name in one['stages_ms'] for one in report['variants'])]
    whole = next((one['multiply_adds_per_call'] for one in report['variants']), None)
    rows = []
    for one in report['variants']:
        adds = one['multiply_adds_per_call']
        rows.append([one['label'], *(number(one['stages_ms'].get(name), 2) for name in stages),
                     number(one['call_ms'], 2),
                     '-' if adds is None else f'{adds / 1e9:.3f}',
                     '-' if not adds or not whole else percent(adds / whole),
                     percent(one['pruned_share']), percent(one['reuse_rate']),
                     percent(one['kept_again_share']), percent(one['ever_kept_share'])])
    return table(['variant', *(f'{name} ms' for name in stages), 'ms per call',
                  'G multiply-adds per call', 'of unpruned', 'runs pruned', 'calls reused',
                  'kept again', 'ever kept'], rows) + cautions(report['variants']) + [
        '', '`select` is part of `decoder`; stages are of model runs, a call may be a reused '
        'step. `kept again`: share of the kept tokens that the run before kept too; `ever kept`: '
        'share of all tokens that any pruned run of an episode kept.']


def cautions(variants: Sequence[dict[str, Any]]) -> list[str]:
    """Say where little was pruned, because then little was tested."""
    short = [one for one in variants if one['kept_share'] < 1.0 and one['calls_median']
             and one['pruned_share'] < SMALL_SHARE]
    if not short:
        return []
    return ['', f'**Caution:** {len(short)} variant(s) dropped tokens in less than '
                f'{SMALL_SHARE:.0%} of their model runs, because episodes are short (median '
                f'{min(one["calls_median"] for one in short):.0f} calls) and begin unpruned. '
                '`--warm-up settle` or a smaller `execution_horizon` prune more of them.']


def comparisons(report: dict[str, Any]) -> list[str]:
    """The reference method against the others, budget by budget."""
    labels = {one['label']: one['method'] for one in report['variants']}
    methods = list(dict.fromkeys(labels.values()))
    reference = REFERENCE if REFERENCE in methods else methods[-1]
    rows = []
    for one in report['comparisons']:
        sides = labels[one['first']], labels[one['second']]
        if reference in sides and one['pairs']:
            rows.append([one['first'], one['second'], difference(one), str(one['first_only']),
                         str(one['second_only']), p_value(one)])
    if not rows:
        return []
    return [f'## `{reference}` against other methods at the same budget', '',
            *table(['first', 'second', 'first - second', 'first only', 'second only', 'p (Holm)'],
                   rows), '', 'All other pairs are in `report.json`.', '']


def pictures(report: dict[str, Any]) -> list[str]:
    """Links to the plots."""
    return [line for name in report.get('files', ())
            for line in (f'![{Path(name).stem.replace("_", " ")}]({name})', '')]


def conditions(plan: dict[str, Any], several: bool) -> list[str]:
    """What the outcomes depend on; of several policies, what they share."""
    return table(['condition', 'value'],
                 [[f'`{name}`', f'`{value}`'] for name, value in plan['conditions'].items()
                  if not (several and name == 'checkpoint')])


def summary(report: dict[str, Any], width: int | None = None) -> str:
    """A few columns for the terminal, at most ``width`` characters."""
    head = ['variant', 'success', 'lost', 'won', 'p', 'ms/call', 'reused']
    rows = []
    for one in report['variants']:
        pairs = one['against_unpruned'] or {}
        rows.append([one['label'], rate(one), str(pairs.get('second_only', '-')),
                     str(pairs.get('first_only', '-')), number(pairs.get('p'), 4),
                     number(one['call_ms'], 1), percent(one['reuse_rate'])])
    return terminal_tables.table(head, rows, width=width)
