# SPDX-License-Identifier: Apache-2.0
"""The selector between backend and pruner: when it cuts, what it asks for, what it refuses."""
from core_support import make_signals, NEEDS, ready_pruner
import pytest
import torch

from vla_pruner_ros.core.errors import BackendError
from vla_pruner_ros.core.pruners.interface import Needs, Pruner
from vla_pruner_ros.core.token_selector import TokenSelector


class Answers(Pruner):
    """Keeps whatever it was told to."""

    name = 'answers'

    def __init__(self, kept):
        super().__init__(1)
        self.kept = torch.tensor(kept)

    def select(self, signals, budget):
        return self.kept


def test_no_pruner_keeps_everything():
    selector = TokenSelector(None, 16, 64)
    assert (selector.cut_layer, selector.unpruned_reason) == (None, 'none')
    assert selector.needs == Needs()
    selector.feedback([])
    with pytest.raises(BackendError, match='without a pruner'):
        selector.choose([make_signals()])


@pytest.mark.parametrize('budget, used', [(16, 16), (0, 64), (64, 64), (100, 64)])
def test_a_budget_of_all_or_more_does_not_cut(budget, used):
    selector = TokenSelector(ready_pruner('fastv', 64), budget, 64)
    assert selector.budget == used
    assert selector.cut_layer == (3 if used == 16 else None)


def test_an_unpruned_step_captures_only_what_memories_need():
    warm = ready_pruner('vla_pruner', 64)
    assert TokenSelector(warm, 16, 64).needs == NEEDS['vla_pruner']
    warm.reset()
    assert TokenSelector(warm, 16, 64).needs == Needs(action_rows='latter_half')
    assert TokenSelector(ready_pruner('fastv', 64), 64, 64).needs == Needs()


def test_images_are_chosen_one_by_one_and_timed():
    selector = TokenSelector(ready_pruner('prefill_only', 64), 16, 64)
    kept = selector.choose([make_signals(seed=1, image=0), make_signals(seed=2, image=1)])
    assert [len(one) for one in kept] == [16, 16]
    assert kept[0].tolist() != kept[1].tolist()
    assert selector.select_ms > 0.0


@pytest.mark.parametrize('kept, message', [
    ([0, 1, 2], 'kept 3 visual tokens, the budget is 4'), ([0, 1, 2, 2], 'not ascending'),
    ([3, 2, 1, 0], 'not ascending'), ([-1, 0, 1, 2], 'not ascending within 0 .. 63'),
    ([0, 1, 2, 64], 'not ascending within 0 .. 63')])
def test_answers_that_would_gather_wrong_rows_are_refused(kept, message):
    with pytest.raises(BackendError, match=f"'answers' .*{message}"):
        TokenSelector(Answers(kept), 4, 64).choose([make_signals()])
