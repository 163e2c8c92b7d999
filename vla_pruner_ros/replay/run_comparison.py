# SPDX-License-Identifier: Apache-2.0
"""Numbers of one replay run, alone and against the unpruned run on the same bag.

Steps are matched by their stamps: both runs saw the same image at that time.  Only steps that were
pruned or reused are compared (warm-up steps are the unpruned policy itself and would flatter the
mean), over the rows that both chunks have (a reused one has fewer).
"""
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from vla_pruner_ros.core.action_limits import motion_columns
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.replay.policy_over_bag import RunResult, StepRecord


def summarize(run: RunResult) -> dict[str, Any]:
    """What happened in one run, as plain data."""
    steps = run.steps
    runs = [one for one in steps if not one.stats.reused]
    pruned = [one for one in runs if one.stats.pruned] or runs
    reused = [one for one in steps if one.stats.reused]
    tokens = sum(len(image) for one in runs for image in one.stats.kept)
    whole = sum(one.stats.tokens_per_image * len(one.stats.kept) for one in runs)
    return {
        'label': run.label, 'pruner': run.parameters.pruner,
        'token_budget': run.parameters.token_budget, 'reuse': run.parameters.reuse,
        'chunks_sha256': run.chunks_sha256, 'steps': len(steps), 'model_runs': len(runs),
        'kept_share': tokens / whole if whole else None,
        'stages_ms': _stages(pruned), 'reused_ms': _stages(reused).get('total'),
        'mean_step_ms': _mean([one.stats.stages_ms['total'] for one in steps]),
        'decoder_gflops': _mean([one.stats.flops / 1e9 for one in pruned]),
        'reuse_rate': len(reused) / len(steps) if steps else None,
        'reuse_reasons': dict(Counter(one.stats.reuse_reason for one in steps)),
        'unpruned_reasons': dict(Counter(one.stats.unpruned_reason for one in runs
                                         if one.stats.unpruned_reason)),
        'kept_overlap_consecutive': _mean(consecutive_overlaps(steps)),
        'ticks': {name or 'answered': count for name, count in sorted(run.ticks.items())},
        'drops': run.diagnostics.get('drops', {}), 'resets': run.diagnostics.get('resets', {}),
        'failures': run.diagnostics.get('failures', {}),
        'limited': run.diagnostics.get('limited', {}),
        'warnings': run.diagnostics.get('warnings', {}),
        'cameras': run.diagnostics.get('cameras', {}),
    }


def compare(run: RunResult, reference: RunResult, spec: PolicySpec) -> dict[str, Any]:
    """Deviation of a run from the unpruned one on the same bag.

    Returns:
        ``action_deviation``: per action name the mean and the largest absolute difference, beside
        the mean size of the unpruned action (its unit is that of the policy);
        ``end_deviation``: distance of the chunk ends (metres for end-effector deltas, radians for
        joints);
        ``kept_overlap_full_attention``: share of the kept tokens that are also among the tokens
        which the unpruned model's actions attend to most; ``chance_overlap`` is what random
        tokens would score.
    """
    before = {one.stamp_ns: one for one in reference.steps}
    pairs = [(one, before[one.stamp_ns]) for one in run.steps
             if one.stamp_ns in before and (one.stats.pruned or one.stats.reused)]
    columns = motion_columns(spec)
    differences: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    ends: list[float] = []
    for ours, theirs in pairs:
        rows = min(len(ours.actions), len(theirs.actions))
        here, there = ours.actions[:rows], theirs.actions[:rows]
        differences.append(np.abs(here - there))
        sizes.append(np.abs(there))
        ends.append(end_distance(here[:, columns], there[:, columns], spec.action_kind))
    result: dict[str, Any] = {
        'steps_compared': len(pairs), 'action_deviation': {},
        'end_deviation': {'mean': _mean(ends), 'max': max(ends, default=None)}}
    if differences:
        all_rows, all_sizes = np.concatenate(differences), np.concatenate(sizes)
        result['action_deviation'] = {
            name: {'mean': float(all_rows[:, i].mean()), 'max': float(all_rows[:, i].max()),
                   'unpruned_mean_size': float(all_sizes[:, i].mean())}
            for i, name in enumerate(spec.action_names)}
    overlaps, chance = attention_overlap(run.steps, reference.attention)
    result['kept_overlap_full_attention'] = overlaps
    result['chance_overlap'] = chance
    ours_ms, theirs_ms = _stages_of(run), _stages_of(reference)
    result['speedup'] = {name: theirs_ms[name] / ours_ms[name] for name in ('decoder', 'total')
                         if ours_ms.get(name) and theirs_ms.get(name)}
    return result


def end_distance(ours: np.ndarray, theirs: np.ndarray, kind: str) -> float:
    """Distance of two chunk ends: summed translations (columns 0..2), or last joint rows."""
    if kind == 'ee_delta':
        return float(np.linalg.norm((ours[:, :3] - theirs[:, :3]).sum(axis=0)))
    return float(np.linalg.norm(ours[-1] - theirs[-1]))


def consecutive_overlaps(steps: Sequence[StepRecord]) -> list[float]:
    """Share of a step's kept tokens that the model run before it also kept; pruned runs only."""
    runs = [one for one in steps if not one.stats.reused]
    return [overlap(after.stats.kept, before.stats.kept) for before, after in zip(runs, runs[1:])
            if before.stats.pruned and after.stats.pruned]


def overlap(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Share of ``ours`` that is also in ``theirs``, over all images."""
    shared = sum(len(np.intersect1d(one, two)) for one, two in zip(ours, theirs))
    return shared / max(1, sum(len(one) for one in ours))


def attention_overlap(steps: Sequence[StepRecord], attention: dict[int, tuple[np.ndarray, ...]]
                      ) -> tuple[float | None, float | None]:
    """(mean overlap with the unpruned model's most attended tokens, overlap of random ones)."""
    overlaps: list[float] = []
    chances: list[float] = []
    for one in steps:
        scores = attention.get(one.stamp_ns)
        if not one.stats.pruned or not scores:
            continue
        best = [np.argsort(-score, kind='stable')[:len(kept)]
                for score, kept in zip(scores, one.stats.kept)]
        overlaps.append(overlap(one.stats.kept, best))
        chances.append(fmean(len(kept) / one.stats.tokens_per_image for kept in one.stats.kept))
    return _mean(overlaps), _mean(chances)


def _stages_of(run: RunResult) -> dict[str, float]:
    stages: dict[str, float] = summarize(run)['stages_ms']
    return stages


def _stages(steps: Sequence[StepRecord]) -> dict[str, float]:
    """Median milliseconds per stage."""
    names = dict.fromkeys(name for one in steps for name in one.stats.stages_ms)
    return {name: median(one.stats.stages_ms[name] for one in steps
                         if name in one.stats.stages_ms) for name in names}


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
