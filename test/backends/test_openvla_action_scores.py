# SPDX-License-Identifier: Apache-2.0
"""Action attention of the current step: captured at the cut, used with or without the history."""
import importlib.util

from decoder_reference import decoder, masked_reference, relative, selector, sequence
import pytest
import torch

from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners import make_pruner
from vla_pruner_ros.core.pruners.interface import Feedback, Needs, Signals
from vla_pruner_ros.core.types import CameraSpec, PolicySpec

KEPT = [[0, 4, 5, 9], [1, 2, 3, 11]]
AT_CUT = Needs(action_at_cut=True)


def spec(causal=False):
    return PolicySpec(
        name='fake', cameras=(CameraSpec('one', 8, 8),), state_names=(), action_names=('dx',),
        action_kind='ee_delta', action_horizon=4, control_dt=0.1, grid_rows=2, grid_cols=3,
        decoder_layers=8, causal=causal)


def pruner(scores, name='action_only', causal=False, **changes):
    parameters = Parameters().changed({'pruner': name, 'action_scores': scores,
                                       'temporal_window': 2, 'temporal_decay': 0.5, **changes})
    return make_pruner(parameters, spec(causal), causal)


def signals(attention):
    return Signals(image=0, grid=(2, 3), features=torch.eye(6),
                   action_attention=torch.tensor(attention))


def remember(one, values):
    one.observe(Feedback(0, torch.arange(6), torch.tensor(values), 6))
    one.end_step()


@torch.no_grad()
def test_the_rows_at_the_cut_equal_those_of_a_full_attention():
    model, layout = decoder(torch.float64), sequence(2, actions=3)
    x = torch.randn(1, layout.length, 32, dtype=torch.float64)
    chooser = selector(KEPT, cut=3, needs=AT_CUT)
    PrunedPass(model, layout, chooser, causal=False).prefill(x)
    weights = []
    masked_reference(model, x, torch.arange(layout.length), 5, causal=False, weights=weights)
    for image, seen in enumerate(chooser._pruner.seen):
        want = weights[2][0].mean(0)[layout.action, layout.image(image)]
        assert seen.action_attention.shape == (3, 12)
        assert relative(seen.action_attention, want) <= 1e-10
        assert seen.prefill_attention is None
        other = weights[1][0].mean(0)[layout.action, layout.image(image)]
        assert relative(seen.action_attention, other) > 1e-3


@pytest.mark.skipif(importlib.util.find_spec('transformers') is None,
                    reason='transformers is not installed')
def test_hooks_in_a_hugging_face_decoder_capture_the_same_rows():
    from hf_models import hugging_face, own_decoder

    from vla_pruner_ros.hf.pruning_hooks import HookedPruning
    model = hugging_face('Qwen2')
    own, layout = own_decoder(model, torch.float64), sequence(2)
    x = torch.randn(1, layout.length, 32, dtype=torch.float64)
    ours, hooked = (selector(KEPT, cut=2, needs=AT_CUT) for _ in range(2))
    PrunedPass(own, layout, ours, causal=False).prefill(x)
    mask = torch.zeros(1, 1, layout.length, layout.length, dtype=torch.float64)
    with torch.no_grad(), HookedPruning(model, layout, hooked):
        model(inputs_embeds=x, attention_mask=mask)
    for mine, theirs in zip(ours._pruner.seen, hooked._pruner.seen):
        assert relative(theirs.action_attention, mine.action_attention) <= 1e-10


def test_nothing_is_captured_before_the_first_layer():
    with pytest.raises(BackendError, match='no attention to read'):
        PrunedPass(decoder(torch.float32), sequence(), selector(KEPT[:1], 0, needs=AT_CUT), False)


def test_the_current_score_is_the_mean_of_the_rows_and_needs_no_warm_up():
    one = pruner('current')
    assert one.hold_reason() == ''
    assert one.needs == AT_CUT
    seen = signals([[0.0, 0.3, 0.1, 0.0, 0.2, 0.0], [0.0, 0.1, 0.1, 0.4, 0.2, 0.0]])
    # Means: 0, 0.2, 0.1, 0.2, 0.2, 0.
    assert one.select(seen, 3).tolist() == [1, 3, 4]


def test_the_history_alone_does_not_look_at_the_current_step():
    one = pruner('history')
    assert not one.needs.action_at_cut and one.hold_reason() == 'warm_up'
    for _ in range(2):
        remember(one, [0.0, 0.0, 0.0, 0.0, 0.1, 0.2])
    assert one.select(signals([[0.9, 0.9, 0.0, 0.0, 0.0, 0.0]]), 2).tolist() == [4, 5]


def test_both_are_averaged_as_equals():
    one = pruner('both')
    assert one.needs == Needs(action_rows='latter_half', action_at_cut=True)
    assert one.hold_reason() == 'warm_up'
    for _ in range(2):
        remember(one, [0.0, 0.03, 0.0, 0.0, 0.0, 0.01])  # shares 0.75 and 0.25
    assert one.hold_reason() == ''
    score = one.score(signals([[0.6, 0.0, 0.0, 0.0, 0.0, 0.2]]))  # shares 0.75 and 0.25
    assert score.tolist() == pytest.approx([0.375, 0.375, 0, 0, 0, 0.25])
    # Without the scaling the larger attention would decide alone: 0.6 against 0.03.


@pytest.mark.parametrize('scores', ['current', 'both'])
def test_a_model_that_decodes_one_after_another_has_no_current_scores(scores):
    with pytest.raises(ConfigError, match='one after another'):
        pruner(scores, causal=True)
    with pytest.raises(ConfigError, match='before layer 0'):
        pruner(scores, prune_layer=0)


def test_a_memory_that_stood_still_is_not_taken_over():
    history, current, again = pruner('history'), pruner('current'), pruner('history')
    for _ in range(2):
        remember(history, [0.1] * 6)
    follower = pruner('both')
    follower.inherit(history)
    assert follower.hold_reason() == ''
    current.inherit(history)
    again.inherit(current)
    assert again.hold_reason() == 'warm_up'


@pytest.mark.parametrize('name', ['vla_pruner', 'score_fusion'])
def test_every_method_with_action_scores_takes_the_parameter(name):
    assert pruner('both', name).needs == Needs(prefill_rows='text', action_rows='latter_half',
                                               action_at_cut=True)
