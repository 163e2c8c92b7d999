# SPDX-License-Identifier: Apache-2.0
"""The report's sections on several policies (training seeds) behind one ranking."""
from typing import Any

from vla_pruner_ros.evaluation.report.text_tables import percent, rate, share, table

READING_SEVERAL = (
    'All policies ran the same placements. Rates and differences pool them; methods are compared '
    'within a policy only. Intervals combine those of the policies and are widened by how much '
    'the policies agree on a placement (design effect); p swaps the methods of a whole placement '
    'at once. They speak of these policies: how much another training seed may differ is in the '
    'spread.')


def policies(report: dict[str, Any]) -> list[str]:
    """One line per policy, then every variant's rate per policy; nothing for one policy."""
    runs = report['policies']
    if len(runs) < 2:
        return []
    names = [one['name'] for one in runs]
    head = table(['policy', 'checkpoint', 'plan', 'episodes', 'unpruned'],
                 [[one['name'], f'`{one["checkpoint"]}`', f'`{one["digest"]}`',
                   f'{one["finished"]}/{one["planned"]}', rate(one['unpruned'])] for one in runs])
    rows = [[one['label'], percent(one['kept_share']), spread(one),
             *(share(one['policies'][name]) for name in names)] for one in report['variants']]
    return ['## Policies', '', *head, '',
            *table(['variant', 'kept', 'mean +- sd (lowest to highest)', *names], rows), '']


def spread(one: dict[str, Any]) -> str:
    """``81.0 +- 4.2 (77.0 to 85.4)`` per cent over the policies."""
    over = one['over_policies']
    if over is None:
        return '-'
    return (f'{100 * over["mean"]:.1f} +- {100 * over["sd"]:.1f} '
            f'({100 * over["lowest"]:.1f} to {100 * over["highest"]:.1f})')
