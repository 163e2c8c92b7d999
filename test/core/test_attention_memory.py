# SPDX-License-Identifier: Apache-2.0
"""Memory of the action attention: weights, warm-up, unseen tokens, refresh."""
from core_support import make_signals, show
from fakes import make_spec
import pytest
import torch

from vla_pruner_ros.core.attention_memory import ActionMemory, smoothing_weights
from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners import make_pruner
from vla_pruner_ros.core.pruners.methods.action_only import ActionOnly


def see(memory, attention, kept=None, tokens=None, image=0, end=True):
    tokens = len(attention) if tokens is None else tokens
    indices = torch.arange(tokens) if kept is None else torch.tensor(kept)
    memory.observe(image, indices, torch.tensor(attention, dtype=torch.float64), tokens)
    if end:
        memory.end_step()


def test_newest_step_weighs_most():
    assert smoothing_weights(3, 0.8) == pytest.approx((0.2623, 0.3279, 0.4098), abs=1e-4)
    assert smoothing_weights(1, 0.8) == (1.0,)
    assert smoothing_weights(2, 1.0) == (0.5, 0.5)


def test_smoothed_score_by_hand():
    memory = ActionMemory(window=3, decay=0.5)
    for score in (8.0, 4.0, 2.0):
        see(memory, [score, 1.0])
    # Weights 1/8, 1/4, 1/2 over 7/8: (8 + 2 * 4 + 4 * 2) / 7.
    assert memory.smoothed(0).tolist() == pytest.approx([24 / 7, 1.0])


def test_reversed_decay_gives_another_score():
    memory = ActionMemory(window=3, decay=0.5, reversed_decay=True)
    for score in (8.0, 4.0, 2.0):
        see(memory, [score, 1.0])
    # Weights the wrong way round, 4, 2, 1 over 7: (4 * 8 + 2 * 4 + 2) / 7.
    assert memory.smoothed(0).tolist() == pytest.approx([42 / 7, 1.0])


def test_the_parameter_reversed_decay_gives_the_oldest_step_the_largest_weight():
    def smoothed(memory):
        for score in (8.0, 4.0, 2.0):
            see(memory, [score])
        return memory.smoothed(0).item()

    def built(**changes):
        chosen = Parameters().changed({'pruner': 'action_only', 'temporal_decay': 0.5, **changes})
        return make_pruner(chosen, make_spec(), causal=True).memory

    expected = (4 * 8 + 2 * 4 + 1 * 2) / 7
    assert smoothed(built(reversed_decay=True)) == pytest.approx(expected)
    assert smoothed(built(reversed_decay=True, preset='paper')) == pytest.approx(expected)
    # Negative control: neither the default nor the paper's preset turns the weights round.
    assert smoothed(built()) == smoothed(built(preset='paper')) == pytest.approx(24 / 7)
    assert built(reversed_decay=True).weights == pytest.approx(
        ActionMemory(3, 0.5, reversed_decay=True).weights, abs=1e-15)


def test_only_the_window_counts():
    memory = ActionMemory(window=2, decay=1.0)
    for score in (1000.0, 1.0, 3.0):
        see(memory, [score])
    assert memory.smoothed(0).tolist() == [2.0]


def test_warm_up_lasts_until_the_window_of_every_image_is_full():
    memory = ActionMemory(window=3)
    for _ in range(3):
        assert memory.hold_reason() == 'warm_up'
        see(memory, [1.0, 2.0], image=0)
    assert memory.hold_reason() == ''
    see(memory, [1.0, 2.0], image=1)
    assert memory.hold_reason() == 'warm_up'


def test_warm_up_starts_again_after_clear():
    memory = ActionMemory(window=1)
    see(memory, [1.0])
    memory.clear()
    assert memory.hold_reason() == 'warm_up'
    with pytest.raises(BackendError, match='image 0 has 0 of 1 action scores'):
        memory.smoothed(0)


def test_a_dropped_token_carries_its_last_score_decayed_per_step():
    memory = ActionMemory(window=1, decay=0.5)
    see(memory, [0.4, 0.2, 0.1])
    see(memory, [0.3, 0.6], kept=[1, 2], tokens=3)
    assert memory.smoothed(0).tolist() == [0.2, 0.3, 0.6]
    see(memory, [0.5, 0.7], kept=[1, 2], tokens=3)
    assert memory.smoothed(0).tolist() == [0.1, 0.5, 0.7]
    see(memory, [0.9, 0.7], kept=[0, 2], tokens=3)
    assert memory.smoothed(0).tolist() == [0.9, 0.25, 0.7]


def test_a_dropped_token_scores_zero_as_in_the_reference():
    memory = ActionMemory(window=1, decay=0.5, carry=False)
    see(memory, [0.4, 0.2, 0.1])
    see(memory, [0.3, 0.6], kept=[1, 2], tokens=3)
    assert memory.smoothed(0).tolist() == [0.0, 0.3, 0.6]


def test_observing_does_not_change_older_scores():
    memory = ActionMemory(window=2, decay=1.0)
    see(memory, [4.0, 2.0])
    see(memory, [8.0], kept=[1], tokens=2)
    assert memory.smoothed(0).tolist() == [4.0, 5.0]


@pytest.mark.parametrize('period, expected', [
    (0, '........'), (1, 'rrrrrrrr'), (2, '.r.r.r.r'), (4, '...r...r')])
def test_one_run_of_every_period_sees_everything(period, expected):
    memory = ActionMemory(window=1, refresh_period=period)
    see(memory, [1.0, 1.0])
    pattern = ''
    for _ in expected:
        refresh = memory.hold_reason() == 'refresh'
        pattern += 'r' if refresh else '.'
        see(memory, [1.0, 1.0] if refresh else [1.0], kept=[0, 1] if refresh else [1], tokens=2)
    assert pattern == expected


def test_a_pruned_image_makes_the_run_a_pruned_one():
    memory = ActionMemory(window=1, refresh_period=2)
    see(memory, [1.0, 1.0], image=0, end=False)
    see(memory, [1.0], kept=[1], tokens=2, image=1)
    assert memory.hold_reason() == 'refresh'


def test_attention_must_fit_the_visible_tokens():
    with pytest.raises(BackendError, match=r'shape \(3,\) for \(2,\) visible tokens'):
        ActionMemory().observe(0, torch.tensor([0, 1]), torch.zeros(3), 4)


def test_another_number_of_tokens_starts_the_window_again():
    memory = ActionMemory(window=2)
    see(memory, [1.0, 1.0])
    see(memory, [1.0, 1.0])
    see(memory, [1.0, 1.0, 1.0])
    assert memory.hold_reason() == 'warm_up'


def test_adopting_keeps_the_newest_scores_and_warms_up_for_what_is_missing():
    memory = ActionMemory(window=3, decay=1.0)
    for score in (1.0, 2.0, 6.0):
        see(memory, [score])
    shorter, longer = ActionMemory(window=2, decay=1.0), ActionMemory(window=4, decay=1.0)
    shorter.adopt(memory)
    longer.adopt(memory)
    assert shorter.smoothed(0).tolist() == [4.0]
    assert longer.hold_reason() == 'warm_up'
    see(longer, [3.0])
    assert longer.smoothed(0).tolist() == [3.0]
    assert memory.smoothed(0).tolist() == [3.0]  # (1 + 2 + 6) / 3: the original is untouched


# The world of the next tests: the hand looks at tokens 0 and 1, then for good at token 4.
EARLY = [0.5, 0.4, 0.02, 0.02, 0.03, 0.03]
LATE = [0.01, 0.01, 0.0, 0.0, 0.6, 0.0]


def run_until_found(memory, steps=30):
    """Steps until token 4 is kept (2 of 6 tokens are); None if it never is."""
    pruner = ActionOnly(1, memory=memory)
    for _ in range(3):
        show(pruner, EARLY)
    signals = make_signals(2, 3)
    for step in range(steps):
        kept = list(range(6)) if pruner.hold_reason() else pruner.select(signals, 2).tolist()
        if 4 in kept:
            return step
        show(pruner, [LATE[i] for i in kept], kept=kept, tokens=6)
    return None


def test_zero_fill_confirms_itself_for_ever():
    assert run_until_found(ActionMemory(carry=False)) is None


def test_carried_scores_break_the_loop():
    found = run_until_found(ActionMemory(carry=True))
    assert found is not None and found < 10


def test_a_refresh_breaks_the_loop_with_zero_fill():
    assert run_until_found(ActionMemory(carry=False, refresh_period=8)) == 7
