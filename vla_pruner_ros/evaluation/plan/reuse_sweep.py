# SPDX-License-Identifier: Apache-2.0
"""Thresholds of action reuse that reuse about a third of the steps, found by a small run.

The published rule (no image veto) with FlashVLA's own token selection, as in the claim on reuse.
The episodes have seeds of their own, so that what the sweep chose is judged on others.
"""
from collections.abc import Sequence
from itertools import product
from typing import Any

from vla_pruner_ros.evaluation.plan.episode_plan import FIRST_SEED as EVALUATION_SEED
from vla_pruner_ros.evaluation.plan.method_variants import REUSE
from vla_pruner_ros.evaluation.plan.published_claims import A_THIRD, BLIND_REUSE

BUDGET = BLIND_REUSE[1]
FIRST_SEED = EVALUATION_SEED + 1_000_000
ANGLES = (0.05, 0.1, 0.2, 0.4)  # rad
OVERLAPS = (0.6, 0.9)
SETTINGS = tuple(f'reuse_angle={angle}/reuse_overlap={overlap}'
                 for overlap, angle in product(OVERLAPS, ANGLES))
METHODS = tuple(f'{BLIND_REUSE[0][:-len(REUSE)]}/{one}{REUSE}' for one in SETTINGS)


def suggestion(variants: Sequence[dict[str, Any]]) -> str:
    """What to pass to ``--reuse-settings``.

    Args:
        variants: of the report; those that reuse with changed thresholds are considered.
    """
    low, high = A_THIRD
    known = [one for one in variants if one['method'].endswith(REUSE) and one['reuse_rate']]
    if not known:
        return 'no setting reused a step; try a larger reuse_angle or a smaller reuse_overlap'
    best = min(known, key=lambda one: float(abs(one['reuse_rate'] - 1 / 3)))
    settings = ','.join(part for part in best['method'][:-len(REUSE)].split('/')[1:]
                        if not part.startswith('reuse_image_change'))
    text = (f'nearest to a third: --reuse-settings {settings} ({best["reuse_rate"]:.0%} of the '
            'calls reused)')
    if not low <= best['reuse_rate'] <= high:
        text += f'; the claim speaks of {low:.0%} to {high:.0%}, so this is not enough for it'
    return text
