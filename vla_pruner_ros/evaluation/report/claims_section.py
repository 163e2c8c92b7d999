# SPDX-License-Identifier: Apache-2.0
"""The report's section on the published claims."""
from typing import Any

from vla_pruner_ros.evaluation.report.evaluation_summary import PATH
from vla_pruner_ros.evaluation.report.text_tables import (
    difference,
    millimetres,
    number,
    percent,
    table,
)


def claims(report: dict[str, Any]) -> list[str]:
    """Verdicts, or nothing when no claim could be judged."""
    judged = report.get('claims', [])
    if all('difference' not in one for one in judged):
        return []
    several = len(report['policies']) > 1
    rows = [[one['key'], one['claim'], f'**{one["verdict"]}**',
             first_minus_second(one), number(one.get('p'), 4),
             *([agreement(one)] if several else ()), notes(one)] for one in judged]
    return ['## The published claims', '',
            *table(['', 'claim', 'here', 'first - second', 'p',
                    *(['policies that agree'] if several else ()), ''], rows), '',
            '*undecided*: the interval contains the border, the run is too small to tell. '
            '"Matters" holds when the interval excludes zero and does not hold when it stays '
            'within the margin. Lines on the loop itself compare shares of tokens, not success: '
            '`kept again` and `ever kept` of the cost table, episode by episode; the line on the '
            'path compares the mean distance from the unpruned path, in mm.', '']


def scale(one: dict[str, Any]) -> float:
    """Percentage points; a path in millimetres."""
    return 1000 if one['measure'] == PATH else 100


def first_minus_second(one: dict[str, Any]) -> str:
    """Difference and interval, or a dash."""
    if 'difference' not in one:
        return '-'
    return difference(one, scale(one)) + (' mm' if one['measure'] == PATH else '')


def agreement(one: dict[str, Any]) -> str:
    """How many policies have the sign of the whole, and the difference of each."""
    if 'policies' not in one:
        return '-'
    each = ', '.join(f'{scale(one) * value:+.1f}' for value in one['policies'].values())
    return f'{one["same_sign"]} of {len(one["policies"])} ({each})'


def notes(one: dict[str, Any]) -> str:
    """What else is worth knowing: means of shares, reuse rate, tasks, why not."""
    found = []
    if 'means' in one and one['measure'] != 'success':
        found.append(' against '.join(
            f'{millimetres(value)} mm' if one['measure'] == PATH else percent(value)
            for value in one['means']))
    if 'reuse_rate' in one and 'why' not in one:
        found.append(f'{percent(one["reuse_rate"])} of the calls reused')
    if one['tasks'] is not None and 'difference' in one:
        found.append('on ' + ', '.join(one['tasks']))
    return '; '.join([*found, *([one['why']] if 'why' in one else ())])
