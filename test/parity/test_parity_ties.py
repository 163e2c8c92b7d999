# SPDX-License-Identifier: Apache-2.0
"""What may differ between two right answers, and what may not (test/parity/ties.py)."""
import numpy as np
from parity.ties import cosines, is_max_min, is_top_k, top_k_bounds
import pytest
import torch

from vla_pruner_ros.core.pruners.shared.token_ops import max_min_diversity, top_k

SCORES = np.array([0.9, 0.5, 0.1, 0.4, 0.41])


@pytest.mark.parametrize('tolerance, sure, possible', [
    (0.0, [0, 1, 4], [0, 1, 4]),  # three of five, exactly known
    (0.004, [0, 1, 4], [0, 1, 4]),  # 0.41 and 0.40 are still apart
    (0.006, [0, 1], [0, 1, 3, 4]),  # now they are not
    (0.06, [0], [0, 1, 3, 4])])  # nor is 0.5; 0.1 is never among them
def test_the_tokens_near_the_edge_are_possible_and_not_sure(tolerance, sure, possible):
    got = top_k_bounds(SCORES - tolerance, SCORES + tolerance, 3)
    assert [one.nonzero()[0].tolist() for one in got] == [sure, possible]


def test_equal_scores_may_fall_either_way():
    tied = np.array([2.0, 1.0, 1.0, 0.0])
    assert is_top_k(np.array([0, 1]), tied, tied) and is_top_k(np.array([0, 2]), tied, tied)
    assert not is_top_k(np.array([1, 2]), tied, tied)
    assert not is_top_k(np.array([0, 3]), tied, tied)


def angles(*degrees):
    """(M, 2) unit vectors."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], 1)


def test_diversity_accepts_the_other_one_of_two_equally_far_tokens_only():
    # 0 is farthest from its nearest and comes first, then 121 or 239, which are equally far.
    everyone = np.ones(5, bool)
    similarity = cosines(angles(0, 120, 121, 239, 240))

    def accepted(*kept):
        return is_max_min(np.array(kept), similarity, everyone, everyone, 1e-5)
    assert accepted(0, 2) and accepted(3, 0)
    assert not accepted(0, 1) and not accepted(0, 4)  # a degree nearer
    assert not accepted(2, 3)  # without the first


def test_a_candidate_that_is_only_possible_need_not_be_taken_and_may_be():
    similarity = cosines(angles(0, 40, 90, 180))
    sure, possible = np.array([1, 1, 1, 0], bool), np.ones(4, bool)
    assert is_max_min(np.array([0, 2]), similarity, sure, possible, 1e-6)
    assert is_max_min(np.array([2, 3]), similarity, sure, possible, 1e-6)
    assert not is_max_min(np.array([2, 3]), similarity, sure, sure, 1e-6)
    assert not is_max_min(np.array([1, 2]), similarity, sure, possible, 1e-6)


@pytest.mark.parametrize('seed', range(3))
def test_our_own_choice_is_accepted_and_with_one_other_token_it_is_not(seed):
    random = np.random.default_rng(seed)
    scores = random.random(60).astype(np.float32)
    features = random.normal(size=(60, 5)).astype(np.float32)
    pool = top_k(torch.from_numpy(scores), 24).numpy()
    assert is_top_k(pool, scores, scores)
    outside = np.setdiff1d(np.arange(60), pool)
    assert not any(is_top_k(np.append(pool[1:], one), scores, scores) for one in outside)
    member = np.isin(np.arange(60), pool)
    kept = max_min_diversity(torch.from_numpy(features), torch.from_numpy(pool), 9).numpy()
    similarity = cosines(features)
    assert is_max_min(kept, similarity, member, member, 1e-6)
    for one in np.setdiff1d(pool, kept):
        for place in range(9):
            other = np.append(np.delete(kept, place), one)
            assert not is_max_min(other, similarity, member, member, 1e-6)
