# SPDX-License-Identifier: Apache-2.0
"""Numbers of a replay report, against hand-computed ones."""
from collections import Counter

from fakes import make_parameters, make_spec
import numpy as np
import pytest

from vla_pruner_ros.core.pruners import REGISTRY
from vla_pruner_ros.core.types import StepStats
from vla_pruner_ros.replay.attention_probe import AttentionProbe
from vla_pruner_ros.replay.policy_over_bag import RunResult, StepRecord
from vla_pruner_ros.replay.run_comparison import (
    attention_overlap,
    compare,
    consecutive_overlaps,
    summarize,
)

ALL = tuple(range(16))


def step(stamp, rows, kept=ALL, reused=False, reason='off', decoder=10.0):
    pruned = len(kept) < 16 and not reused
    stats = StepStats({'decoder': decoder, 'total': 2 * decoder},
                      () if reused else (np.array(kept),), 16, len(kept), 'random', pruned,
                      '' if pruned or reused else 'warm_up', reused, reason, 1e9)
    return StepRecord(stamp, np.array(rows, float), stats)


def result(*steps, **changes):
    return RunResult('run', make_parameters(**changes), list(steps), Counter({'': len(steps)}))


def test_deviation_per_value_and_of_the_chunk_ends():
    reference = result(step(1, [[0, 0, 0, 1]] * 2), step(2, [[.1, 0, 0, 1]] * 2),
                       step(3, [[0, 0, 0, 1]] * 2))
    run = result(step(1, [[9, 9, 9, 9]] * 2),  # warm-up: not pruned, so not compared
                 step(2, [[.13, 0, .04, -1], [.13, 0, .04, 1]], kept=(0, 1)),
                 step(3, [[0, 0, .02, 1]], reused=True),  # one row left
                 step(4, [[9, 9, 9, 9]] * 2, kept=(0, 1)))  # unknown to the reference
    numbers = compare(run, reference, make_spec())
    assert numbers['steps_compared'] == 2
    assert numbers['action_deviation']['dx'] == {
        'mean': pytest.approx(0.02), 'max': pytest.approx(0.03),
        'unpruned_mean_size': pytest.approx(0.2 / 3)}
    assert numbers['action_deviation']['gripper']['max'] == 2
    # (.06, 0, .08) is 0.1 long, (0, 0, .02) is 0.02.
    assert numbers['end_deviation'] == {'mean': pytest.approx(0.06), 'max': pytest.approx(0.1)}


def test_joint_chunks_end_where_their_last_row_says():
    spec = make_spec(action_kind='joint_position', action_names=('a', 'b'), gripper_index=None)
    reference = result(step(1, [[0, 0], [1, 1]]))
    run = result(step(1, [[5, 5], [1, 1.5]], kept=(0,)))
    assert compare(run, reference, spec)['end_deviation']['mean'] == pytest.approx(0.5)


def test_overlap_of_consecutive_model_runs_skips_warm_up_and_reuse():
    steps = [step(1, [[0]]), step(2, [[0]], kept=(0, 1)), step(3, [[0]], reused=True),
             step(4, [[0]], kept=(1, 2)), step(5, [[0]], kept=(1, 2))]
    assert consecutive_overlaps(steps) == [0.5, 1.0]


def test_overlap_with_the_tokens_that_the_unpruned_model_attends_to_most():
    scores = np.arange(16.0)
    steps = [step(1, [[0]], kept=(0, 15)), step(2, [[0]], kept=(14, 15)), step(3, [[0]])]
    attention = {1: (scores,), 2: (scores,), 3: (scores,)}
    assert attention_overlap(steps, attention) == (0.75, 0.125)
    assert attention_overlap(steps, {}) == (None, None)


def test_summary_of_a_run():
    run = result(step(1, [[0]], reason='no_history', decoder=30.0),
                 step(2, [[0]], kept=ALL[:8], reason='angle', decoder=10.0),
                 step(3, [[0]], kept=ALL[:8], reason='angle', decoder=14.0),
                 step(4, [[0]], reused=True, reason='reused', decoder=1.0))
    numbers = summarize(run)
    assert (numbers['steps'], numbers['model_runs'], numbers['reuse_rate']) == (4, 3, 0.25)
    assert numbers['kept_share'] == pytest.approx(32 / 48)
    assert numbers['stages_ms'] == {'decoder': 12.0, 'total': 24.0}  # pruned runs only
    assert numbers['reused_ms'] == 2.0
    assert numbers['mean_step_ms'] == pytest.approx((60 + 20 + 28 + 2) / 4)
    assert numbers['reuse_reasons'] == {'no_history': 1, 'angle': 2, 'reused': 1}
    assert numbers['unpruned_reasons'] == {'warm_up': 1}


def test_the_probe_cuts_nothing():
    probe = AttentionProbe(16)
    assert probe.cut_layer is None and probe.needs.action_rows == 'latter_half'
    assert 'random' in REGISTRY  # the other end of the same seam
