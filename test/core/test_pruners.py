# SPDX-License-Identifier: Apache-2.0
"""What holds for every method, from one table, and each method against hand-written values."""
import subprocess
import sys

from core_support import (
    give_signals,
    make_signals,
    make_spec,
    NEEDS,
    ready_pruner,
    SELECTING,
    show,
)
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import torch

from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters, PRUNERS
from vla_pruner_ros.core.pruners import make_pruner, pruner_class, REGISTRY
from vla_pruner_ros.core.pruners.methods.flashvla import contribution, effective_rank


def test_registry_and_parameter_choices_are_the_same_names():
    assert tuple(REGISTRY) == PRUNERS
    assert [pruner_class(name).name for name in PRUNERS] == list(PRUNERS)
    assert all(pruner_class(name).source for name in PRUNERS)


def test_unknown_method_lists_the_known_ones():
    with pytest.raises(ConfigError, match="'topk'; accepted: one of none, random, uniform"):
        pruner_class('topk')


def test_methods_are_imported_only_when_asked_for():
    code = ('import sys, vla_pruner_ros.core.pruners as p; p.pruner_class("fastv"); '
            'print([m for m in sys.modules if m.endswith(("fastv", "flashvla", "divprune"))])')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['vla_pruner_ros.core.pruners.methods.fastv']"


@pytest.mark.parametrize('name', PRUNERS)
def test_signals_asked_for(name):
    assert make_pruner(Parameters(pruner=name), make_spec(), causal=True).needs == NEEDS[name]


@pytest.mark.parametrize('layers, reference_3, reference_2', [
    (2, 1, 1), (4, 1, 1), (8, 1, 1), (16, 2, 1), (24, 2, 2), (32, 3, 2), (40, 4, 2)])
def test_default_layer_scales_with_the_decoder(layers, reference_3, reference_2):
    spec = make_spec(decoder_layers=layers)
    found = {name: make_pruner(Parameters(pruner=name), spec, True).prune_layer
             for name in PRUNERS}
    at_input = {'none', 'random', 'uniform', 'divprune'}
    assert found == {name: 0 if name in at_input else reference_2 if name == 'flashvla'
                     else reference_3 for name in PRUNERS}


@pytest.mark.parametrize('name', PRUNERS)
def test_prune_layer_overrides_the_default(name):
    parameters = Parameters(pruner=name, prune_layer=2)
    assert make_pruner(parameters, make_spec(), True).prune_layer == 2


@pytest.mark.parametrize('name', ['fastv', 'sparsevlm', 'prefill_only', 'score_fusion',
                                  'flashvla', 'vla_pruner'])
def test_methods_that_read_the_decoder_cannot_cut_before_it(name):
    with pytest.raises(ConfigError, match=f"prune_layer is 0, but pruner '{name}' reads signals"):
        make_pruner(Parameters(pruner=name, prune_layer=0), make_spec(), True)


@pytest.mark.parametrize('name', ['random', 'uniform', 'divprune', 'action_only'])
def test_methods_that_do_not_read_the_decoder_may_cut_before_it(name):
    parameters = Parameters(pruner=name, prune_layer=0)
    assert make_pruner(parameters, make_spec(), True).prune_layer == 0


def test_a_layer_behind_the_decoder_is_refused():
    with pytest.raises(ConfigError, match='prune_layer is 4, but the decoder has 4 layers'):
        make_pruner(Parameters(prune_layer=4), make_spec(), True)
    with pytest.raises(ConfigError, match="'vla_pruner' .* only 1 layer"):
        make_pruner(Parameters(), make_spec(decoder_layers=1), True)


def test_an_action_layer_behind_the_decoder_is_refused():
    make_pruner(Parameters(action_layers='layer:3'), make_spec(), True)
    with pytest.raises(ConfigError, match="'layer:4', but the decoder has layers 0 to 3"):
        make_pruner(Parameters(action_layers='layer:4'), make_spec(), True)


@pytest.mark.parametrize('asked, causal, rows', [
    ('auto', True, 'last_token'), ('auto', False, 'text'), ('all', True, 'all'),
    ('last_token', False, 'last_token')])
def test_semantic_rows_follow_the_mask_unless_chosen(asked, causal, rows):
    pruner = make_pruner(Parameters(semantic_query=asked), make_spec(), causal)
    assert pruner.needs.prefill_rows == rows


def test_rows_that_define_a_method_are_not_a_parameter():
    parameters = Parameters(semantic_query='all')
    for name, rows in (('fastv', 'last_token'), ('sparsevlm', 'text')):
        pruner = make_pruner(parameters.changed({'pruner': name}), make_spec(), False)
        assert pruner.needs.prefill_rows == rows


# Invariants of every method ---------------------------------------------------------------------

@pytest.mark.parametrize('name', SELECTING)
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 9), cols=st.integers(2, 9), seed=st.integers(0, 1000), data=st.data())
def test_exactly_the_budget_ascending_and_in_range(name, rows, cols, seed, data):
    tokens = rows * cols
    budget = data.draw(st.integers(1, tokens - 1))
    pruner = ready_pruner(name, tokens, seed)
    kept = pruner.select(make_signals(rows, cols, seed=seed, step=3), budget)
    assert kept.dtype == torch.int64
    assert len(kept) == budget
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert 0 <= kept[0] and kept[-1] < tokens


@pytest.mark.parametrize('name', SELECTING)
def test_same_signals_same_tokens(name):
    first, second = (ready_pruner(name, 64).select(make_signals(), 16) for _ in range(2))
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize('name', SELECTING)
def test_equal_tokens_are_all_right(name):
    signals = make_signals()
    flat = {key: torch.ones_like(value) for key, value in vars(signals).items()
            if isinstance(value, torch.Tensor)}
    kept = ready_pruner(name, 64).select(type(signals)(image=0, grid=(8, 8), **flat), 16)
    assert len(kept) == 16 and kept.tolist() == sorted(set(kept.tolist()))


@pytest.mark.parametrize('name', SELECTING)
def test_signals_are_left_as_they_were(name):
    signals, fresh = make_signals(), make_signals()
    ready_pruner(name, 64).select(signals, 16)
    for key, value in vars(signals).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(fresh, key)), key


@pytest.mark.parametrize('name', SELECTING)
def test_every_camera_has_its_own_memory(name):
    pruner, alone = ready_pruner(name, 64), ready_pruner(name, 64)
    for step in range(3):
        show(pruner, [float(i == step) for i in range(64)], image=1)
    signals = make_signals()
    assert pruner.select(signals, 16).tolist() == alone.select(signals, 16).tolist()


@pytest.mark.parametrize('name', [name for name in SELECTING if NEEDS[name] != NEEDS['random']
                                  and name != 'action_only'])
def test_a_missing_signal_is_named(name):
    signals = make_signals()
    bare = type(signals)(image=0, grid=(8, 8), features=signals.features)
    with pytest.raises(BackendError, match=f"'{name}' asked for .* did not capture"):
        ready_pruner(name, 64).select(bare, 16)


@pytest.mark.parametrize('name', ['action_only', 'score_fusion', 'vla_pruner'])
def test_temporal_methods_warm_up_again_after_reset(name):
    pruner = ready_pruner(name, 64)
    pruner.reset()
    assert pruner.hold_reason() == 'warm_up'


# One method each --------------------------------------------------------------------------------

def test_random_depends_on_seed_step_and_image_only():
    def draw(seed=0, budget=16, **signals):
        return ready_pruner('random', 64, seed).select(make_signals(**signals), budget).tolist()
    first = draw(step=4, image=0)
    assert first == draw(step=4, image=0)
    assert first != draw(step=5, image=0)
    assert first != draw(step=4, image=1)
    assert first != draw(step=4, image=0, seed=1)
    assert set(first) < set(draw(step=4, image=0, budget=32))


def test_fastv_keeps_what_the_last_row_attends_to():
    signals = give_signals([[1.0]] * 4, prefill_attention=[[0.1, 0.4, 0.2, 0.3]])
    assert ready_pruner('fastv', 4).select(signals, 2).tolist() == [1, 3]


RATED = dict(
    # Text rows 0 and 1 point where the image points, row 2 points away and shouts for token 3.
    text_states=[[1.0, 0.1], [1.0, 0.0], [-1.0, 0.0]], visual_states=[[2.0, 0.0]] * 4,
    prefill_attention=[[0.4, 0.3, 0.2, 0.1], [0.2, 0.5, 0.2, 0.1], [0.0, 0.0, 0.0, 1.0]])


def test_sparsevlm_asks_only_the_text_rows_that_belong_to_the_image():
    pruner, signals = ready_pruner('sparsevlm', 4), give_signals([[1.0]] * 4, **RATED)
    assert pruner.raters(signals).tolist() == [True, True, False]
    assert pruner.score(signals).tolist() == pytest.approx([0.3, 0.4, 0.2, 0.1])
    assert pruner.select(signals, 2).tolist() == [0, 1]


def test_sparsevlm_without_raters_would_keep_another_token():
    signals = give_signals([[1.0]] * 4, **RATED)
    assert ready_pruner('prefill_only', 4).select(signals, 2).tolist() == [1, 3]


def test_sparsevlm_asks_a_single_text_row_anyway():
    signals = give_signals([[1.0]] * 2, text_states=[[1.0, 0.0]],
                           visual_states=[[0.0, 1.0]] * 2, prefill_attention=[[0.2, 0.6]])
    assert ready_pruner('sparsevlm', 2).select(signals, 1).tolist() == [1]


def test_prefill_only_averages_the_rows():
    signals = give_signals([[1.0]] * 3, prefill_attention=[[0.5, 0.4, 0.1], [0.0, 0.4, 0.6]])
    assert ready_pruner('prefill_only', 3).select(signals, 1).tolist() == [1]


def halves(name, attention, prefill, features=None):
    """A pruner that saw the same action attention three times, and signals with one row."""
    pruner = make_pruner(Parameters(pruner=name), make_spec(), True)
    for _ in range(3):
        show(pruner, attention)
    return pruner, give_signals(features or [[1.0]] * len(attention), prefill_attention=[prefill])


def test_action_only_keeps_what_the_hand_looked_at():
    pruner, signals = halves('action_only', [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1])
    assert pruner.select(signals, 2).tolist() == [2, 3]


def test_score_fusion_gives_both_halves_the_same_say():
    # Action attention has a hundred times the mass; unscaled it would keep token 2.
    pruner, signals = halves('score_fusion', [10.0, 40.0, 50.0], [0.7 / 9, 0.4 / 9, 0.1 / 9])
    assert pruner.score(signals).tolist() == pytest.approx(
        [(7 / 12 + 0.1) / 2, (4 / 12 + 0.4) / 2, (1 / 12 + 0.5) / 2])
    assert pruner.select(signals, 1).tolist() == [1]


# Six tokens in three directions: 0 1 2 alike, 3 4 alike, 5 alone.
FEATURES = [[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [1.0, 0.0, 0.1], [0.0, 1.0, 0.0], [0.0, 1.0, 0.1],
            [0.0, 0.0, 1.0]]


def test_vla_pruner_combines_two_pools_then_thins_them_by_diversity():
    pruner, signals = halves('vla_pruner', [0.0, 0.1, 0.2, 0.3, 0.4, 0.0],
                             [0.5, 0.4, 0.1, 0.0, 0.0, 0.0], FEATURES)
    semantic, action = pruner.pools(signals, 2)
    assert (semantic.tolist(), action.tolist()) == ([0, 1], [3, 4])
    # 0 1 look alike and 3 4 look alike: one of each pair stays, however high both score.  All four
    # are equally far from their nearest, so 0 comes first; 3 and 4 are at right angles to it.
    assert pruner.select(signals, 2).tolist() == [0, 3]


def test_vla_pruner_never_keeps_a_token_of_neither_pool():
    pruner, signals = halves('vla_pruner', [0.0, 0.1, 0.2, 0.3, 0.4, 0.0],
                             [0.5, 0.4, 0.1, 0.0, 0.0, 0.0], FEATURES)
    assert 5 not in pruner.select(signals, 2).tolist()  # the most isolated token of the image


def test_vla_pruner_keeps_the_pool_where_both_agree():
    pruner, signals = halves('vla_pruner', [0.4, 0.3, 0.2, 0.0, 0.0, 0.0],
                             [0.3, 0.4, 0.2, 0.0, 0.0, 0.1], FEATURES)
    assert pruner.select(signals, 3).tolist() == [0, 1, 2]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 63))
def test_vla_pruner_pools_hold_between_one_and_two_budgets(seed, budget):
    pruner, signals = ready_pruner('vla_pruner', 64, seed), make_signals(seed=seed)
    semantic, action = pruner.pools(signals, budget)
    union = set(semantic.tolist()) | set(action.tolist())
    assert budget <= len(union) <= 2 * budget
    assert set(pruner.select(signals, budget).tolist()) <= union


def svd_contribution(x):
    """The definition, through a plain SVD."""
    u, s, _ = torch.linalg.svd(x.double(), full_matrices=False)
    share = s / s.sum()
    entropy = -sum(float(p) * float(torch.log(p)) for p in share if p > 0)
    rank = int(torch.tensor(entropy).exp().mul(1 - 1e-9).ceil())
    return (u[:, :rank] * s[:rank]).abs().sum(dim=1)


@pytest.mark.parametrize('shape', [(20, 50), (50, 20), (16, 16)])
@pytest.mark.parametrize('decay', [0.0, 0.3])
def test_flashvla_equals_a_plain_svd(shape, decay):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x * torch.exp(-decay * torch.arange(shape[1]))
    assert torch.allclose(contribution(x), svd_contribution(x), rtol=1e-8, atol=1e-10)
    assert contribution(x.float()).tolist() == pytest.approx(svd_contribution(x).tolist(),
                                                             rel=1e-4)


def test_flashvla_on_orthogonal_rows_by_hand():
    # Singular values 4, 2, 1 and one row each; H = 0.9557 nats, exp(H) = 2.6: two is too few.
    x = torch.tensor([[0.0, 2.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert contribution(x).tolist() == pytest.approx([2.0, 4.0, 1.0])


@pytest.mark.parametrize('values, rank', [
    ([1.0, 1.0, 1.0], 3), ([5.0, 0.0, 0.0], 1), ([4.0, 2.0, 1.0], 3), ([100.0, 1.0, 1.0], 2),
    ([0.0, 0.0], 0)])
def test_effective_rank_is_the_exponential_of_the_entropy_rounded_up(values, rank):
    assert int(effective_rank(torch.tensor(values, dtype=torch.float64))) == rank


def test_flashvla_leaves_out_directions_beyond_the_effective_rank():
    # exp(H) of (100, 1, 1) is 1.11, so r = 2: the third direction, and with it row 2, counts zero.
    x = torch.diag(torch.tensor([100.0, 1.001, 1.0]))
    assert contribution(x).tolist() == pytest.approx([100.0, 1.001, 0.0], abs=1e-6)


def test_flashvla_on_nothing_is_zero():
    assert contribution(torch.zeros(4, 8)).tolist() == [0.0] * 4


# The file to copy for a new method --------------------------------------------------------------

def test_the_template_is_a_method_that_runs():
    from vla_pruner_ros.core.pruners.methods._template_to_copy import TemplatePruner
    features = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 6.0], [2.0, 2.0]])  # lengths 5 1 6 2.8
    assert TemplatePruner().select(give_signals(features), 2).tolist() == [0, 2]
    assert TemplatePruner.name not in REGISTRY
