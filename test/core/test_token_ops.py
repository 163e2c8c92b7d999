# SPDX-License-Identifier: Apache-2.0
"""Operations shared by the pruners, against hand-written values and slow references."""
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.core.pruners.shared import token_ops as ops


def slow_max_min(features, candidates, k):
    """Greedy max-min over cosine distance, one scalar at a time."""
    rows = {i: features[i] / max(np.linalg.norm(features[i]), 1e-300) for i in candidates}
    distance = {(i, j): 1.0 - float(rows[i] @ rows[j]) for i in rows for j in rows if i != j}

    def farthest(options, others):
        best = None
        for i in sorted(options):
            near = min(distance[i, j] for j in others if j != i)
            if best is None or near > best[0] + 1e-12:
                best = (near, i)
        return best[1]

    chosen = [farthest(candidates, candidates)]
    while len(chosen) < k:
        chosen.append(farthest(set(candidates) - set(chosen), chosen))
    return sorted(chosen)


class HostRead(Exception):
    """A value had to be known on the host."""


class NoHostReads(TorchDispatchMode):
    """Raises where a GPU would have to be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            raise HostRead(str(func))
        if func.overloadpacket is torch.ops.aten.index and any(
                one is not None and one.dtype == torch.bool for one in args[1]):
            raise HostRead(str(func))
        return func(*args, **(kwargs or {}))


def at_angles(*degrees):
    radians = np.radians(degrees)
    return torch.tensor(np.stack([np.cos(radians), np.sin(radians)], axis=1))


@pytest.mark.parametrize('tokens, ratio, kept', [
    (256, 0.5, 128), (256, 0.75, 64), (256, 0.875, 32), (196, 0.75, 49), (196, 0.0, 196),
    (256, 0.997, 1)])
def test_budget_is_the_rounded_kept_fraction(tokens, ratio, kept):
    assert ops.token_budget(tokens, ratio) == kept


@pytest.mark.parametrize('ratio', [1.0, -0.1, float('nan'), 0.96])
def test_budget_refuses_ratios_that_keep_nothing_or_are_none(ratio):
    with pytest.raises(ConfigError, match='accepted: a number from 0'):
        ops.token_budget(10, ratio)


def test_top_k_prefers_the_lower_index_among_equals():
    score = torch.tensor([0.1, 0.5, 0.5, 0.9, 0.5])
    assert ops.top_k(score, 3).tolist() == [1, 2, 3]
    assert ops.top_k(score, 0).tolist() == []
    assert ops.top_k(score, 5).tolist() == [0, 1, 2, 3, 4]
    assert ops.top_k(score, 3).dtype == torch.int64


def test_top_k_names_a_nan_instead_of_ordering_it():
    for top_k in (ops.top_k, ops._top_k_numpy, ops._top_k_torch):
        with pytest.raises(BackendError, match='NaN in 1 of 3'):
            top_k(torch.tensor([0.1, float('nan'), 0.2]), 2)


@pytest.mark.parametrize('shape, k', [((3,), 4), ((3,), -1), ((3, 2), 1)])
def test_top_k_refuses_what_it_cannot_take(shape, k):
    with pytest.raises(BackendError, match='cannot take the top'):
        ops.top_k(torch.zeros(shape), k)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, -3.0, 7.5]), min_size=1, max_size=40),
       st.data())
def test_top_k_equals_sorting_pairs_on_both_paths(values, data):
    k = data.draw(st.integers(0, len(values)))
    expected = sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:k])
    assert ops._top_k_numpy(torch.tensor(values), k).tolist() == expected
    assert ops._top_k_torch(torch.tensor(values), k).tolist() == expected


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_all_float_types_are_taken(dtype):
    assert ops.top_k(torch.tensor([1.0, 3.0, 2.0], dtype=dtype), 2).tolist() == [1, 2]
    assert ops.max_min_diversity(at_angles(0, 10, 90, 180).to(dtype), None, 2).tolist() == [0, 3]


def test_union_is_ascending_without_repeats():
    assert ops.union(torch.tensor([1, 5]), torch.tensor([0, 5]), 6).tolist() == [0, 1, 5]


def test_diversity_starts_with_the_most_isolated_and_goes_on_with_the_farthest():
    features = at_angles(0, 10, 90, 180)
    # Nearest others are 10, 10, 80 and 90 degrees away: 180 comes first, then 0, then 90.
    assert ops.max_min_diversity(features, None, 1).tolist() == [3]
    assert ops.max_min_diversity(features, None, 2).tolist() == [0, 3]
    assert ops.max_min_diversity(features, None, 3).tolist() == [0, 2, 3]


def test_diversity_looks_at_direction_not_at_length():
    features = at_angles(0, 10, 90, 180) * torch.tensor([[100.0], [1.0], [0.01], [3.0]])
    assert ops.max_min_diversity(features, None, 3).tolist() == [0, 2, 3]


def test_diversity_stays_among_the_candidates_in_any_order():
    features = at_angles(0, 10, 90, 180)
    assert ops.max_min_diversity(features, torch.tensor([2, 0, 1]), 2).tolist() == [0, 2]
    assert ops.max_min_diversity(features, torch.tensor([1, 2, 0]), 2).tolist() == [0, 2]


def test_diversity_with_few_candidates_returns_them_all():
    features = at_angles(0, 10, 90, 180)
    assert ops.max_min_diversity(features, torch.tensor([3, 1]), 2).tolist() == [1, 3]
    assert ops.max_min_diversity(features, torch.tensor([3, 1]), 9).tolist() == [1, 3]


def test_diversity_takes_one_of_each_before_any_copy():
    features = torch.eye(3).repeat(4, 1)
    assert ops.max_min_diversity(features, None, 3).tolist() == [0, 1, 2]


def test_diversity_gives_an_empty_patch_distance_one_to_all():
    features = torch.cat([at_angles(0, 10), torch.zeros(1, 2, dtype=torch.float64)])
    assert ops.max_min_diversity(features, None, 1).tolist() == [2]


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_diversity_names_embeddings_that_are_not_finite(value):
    features = at_angles(0, 10, 90)
    features[1, 0] = value
    with pytest.raises(BackendError, match='1 of 3 token embeddings are not finite'):
        ops.max_min_diversity(features, None, 2)


def test_device_path_names_embeddings_that_are_not_finite():
    with pytest.raises(BackendError, match='1 of 2 token embeddings are not finite'):
        ops._cosine_torch(torch.tensor([[1.0, 0.0], [0.0, float('nan')]]))


def test_cosine_by_hand_on_both_paths():
    features = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    wanted = [[1.0, 0.5 ** 0.5, 0.0], [0.5 ** 0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]
    product = features @ features.T
    assert torch.allclose(ops._cosine_torch(product.clone()), torch.tensor(wanted))
    assert np.allclose(ops._cosine_numpy(product.numpy().copy()), wanted)


def test_diversity_does_not_change_its_input():
    features = at_angles(0, 10, 90, 180)
    ops.max_min_diversity(features, None, 2)
    assert torch.equal(features, at_angles(0, 10, 90, 180))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(2, 6), st.data())
def test_diversity_equals_the_slow_reference(seed, count, width, data):
    k = data.draw(st.integers(1, count - 1))
    features = np.random.default_rng(seed).normal(size=(count + 5, width))
    candidates = sorted(np.random.default_rng(seed + 1).permutation(count + 5)[:count].tolist())
    fast = ops.max_min_diversity(torch.tensor(features), torch.tensor(candidates), k)
    assert fast.tolist() == slow_max_min(features, candidates, k)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.booleans(), st.data())
def test_host_and_device_greedy_pick_in_the_same_order(seed, count, copies, data):
    k = data.draw(st.integers(1, count))
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 4, generator=random)
    if copies:  # ties, which only the index can break
        features = features.sign()
    product = features @ features.T
    on_device = ops._greedy_torch(ops._cosine_torch(product.clone()), k).tolist()
    on_host = ops._greedy_numpy(ops._cosine_numpy(product.numpy().copy()), k).tolist()
    assert on_host == on_device


def test_device_greedy_never_waits_for_a_value():
    similarity = torch.rand(20, 20)
    with NoHostReads():
        assert ops._greedy_torch(similarity, 5).shape == (5,)
        for read in (lambda: int(similarity.argmin()), lambda: similarity[similarity > 0.5]):
            with pytest.raises(HostRead):
                read()


def test_grid_of_four_by_hand():
    assert ops.uniform_grid(4, 4, 4).tolist() == [5, 7, 13, 15]
    assert ops.uniform_grid(2, 4, 2).tolist() == [5, 7]
    assert ops.uniform_grid(4, 4, 0).tolist() == []


def test_grid_puts_as_many_tokens_into_every_block():
    kept = ops.uniform_grid(16, 16, 64)
    blocks = (kept // 16 // 4) * 4 + kept % 16 // 4
    assert torch.bincount(blocks).tolist() == [4] * 16


@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_grid_has_exactly_the_asked_number(rows, cols, data):
    k = data.draw(st.integers(0, rows * cols))
    kept = ops.uniform_grid(rows, cols, k).tolist()
    assert len(kept) == k and kept == sorted(set(kept))
    assert all(0 <= one < rows * cols for one in kept)


def test_grid_refuses_more_tokens_than_it_has():
    with pytest.raises(BackendError, match='cannot spread 5 tokens over a 2 x 2 grid'):
        ops.uniform_grid(2, 2, 5)
