# SPDX-License-Identifier: Apache-2.0
"""The control step, with a backend that computes nothing: order, memories, errors, updates."""
from core_support import make_spec, observation, ToyBackend
import numpy as np
import pytest

from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import (
    AnswerError,
    BackendError,
    ConfigError,
    InputError,
    UnsafeActionError,
)
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import CameraSpec


def make_engine(backend=None, **changes):
    values = {'pruner': 'fastv', 'token_budget': 16, 'execution_horizon': 2, **changes}
    return PolicyEngine(backend or ToyBackend(), Parameters().changed(values))


def kept_counts(engine, steps):
    return [len(engine.step(observation())[1].kept[0]) for _ in range(steps)]


def reasons(engine, observations):
    return [engine.step(one)[1].reuse_reason for one in observations]


def test_one_step_by_hand():
    engine = make_engine()
    chunk, stats = engine.step(observation(stamp_ns=77))
    assert chunk.actions.tolist() == [[0.01, 0.01, 0.01, 1.0]] * 8
    assert (chunk.stamp_ns, chunk.control_dt) == (77, 0.05)
    assert [len(one) for one in stats.kept] == [16]
    assert (stats.pruned, stats.unpruned_reason, stats.pruner) == (True, '', 'fastv')
    assert (stats.tokens_per_image, stats.token_budget, stats.flops) == (64, 16, 5.0)
    assert (stats.reused, stats.reuse_reason, stats.revision) == (False, 'off', 0)
    assert stats.stages_ms['decoder'] == 1.0 and stats.stages_ms['total'] > 0.0
    assert engine.steps == 1


def test_every_camera_has_its_own_budget():
    two = make_spec(cameras=(CameraSpec('corner', 32, 32), CameraSpec('wrist', 32, 32)))
    _, stats = make_engine(ToyBackend(two)).step(observation())
    assert [len(one) for one in stats.kept] == [16, 16]


@pytest.mark.parametrize('changes, reason', [
    ({'pruner': 'none'}, 'none'), ({'token_budget': 0}, 'budget_all'),
    ({'token_budget': 64}, 'budget_all'), ({'token_budget': 4096}, 'budget_all'),
    ({'pruner': 'vla_pruner'}, 'warm_up')])
def test_unpruned_steps_say_why(changes, reason):
    _, stats = make_engine(**changes).step(observation())
    assert (stats.pruned, stats.unpruned_reason, len(stats.kept[0])) == (False, reason, 64)


def test_warm_up_steps_and_refreshes_see_everything():
    engine = make_engine(pruner='vla_pruner', temporal_window=3, refresh_period=4)
    assert kept_counts(engine, 11) == [64, 64, 64, 16, 16, 16, 64, 16, 16, 16, 64]


def test_the_step_number_counts_model_runs_since_the_last_reset():
    engine = make_engine()
    kept_counts(engine, 3)
    engine.reset('episode')
    kept_counts(engine, 1)
    assert [one.step for one in engine.backend.selectors] == [0, 1, 2, 0]


def test_the_same_observations_give_the_same_answers():
    first, second = make_engine(pruner='random'), make_engine(pruner='random')
    for _ in range(4):
        one, other = first.step(observation())[1], second.step(observation())[1]
        assert one.kept[0].tolist() == other.kept[0].tolist()


# Live changes -----------------------------------------------------------------------------------

def test_a_new_budget_counts_from_the_next_step_and_keeps_the_memory():
    engine = make_engine(pruner='vla_pruner')
    assert kept_counts(engine, 4) == [64, 64, 64, 16]
    engine.update(engine.parameters.changed({'token_budget': 8}))
    assert engine.parameters.token_budget == 8
    chunk, stats = engine.step(observation())
    assert (len(stats.kept[0]), stats.token_budget, stats.revision) == (8, 8, 1)


@pytest.mark.parametrize('changes', [{'temporal_decay': 0.5}, {'unseen': 'zero'},
                                     {'temporal_window': 2}, {'prune_layer': 2},
                                     {'pruner': 'action_only'}, {'semantic_query': 'all'}])
def test_a_setting_of_the_method_keeps_its_memory(changes):
    engine = make_engine(pruner='vla_pruner')
    kept_counts(engine, 3)
    engine.update(engine.parameters.changed(changes))
    assert kept_counts(engine, 1) == [16]


@pytest.mark.parametrize('changes', [{'temporal_window': 4}, {'action_layers': 'layer:1'}])
def test_a_setting_that_needs_other_memories_warms_up_again(changes):
    engine = make_engine(pruner='vla_pruner')
    kept_counts(engine, 3)
    engine.update(engine.parameters.changed(changes))
    assert kept_counts(engine, 1) == [64]


def test_another_method_starts_without_memory():
    engine = make_engine(pruner='fastv')
    kept_counts(engine, 3)
    engine.update(engine.parameters.changed({'pruner': 'vla_pruner'}))
    assert kept_counts(engine, 4) == [64, 64, 64, 16]


@pytest.mark.parametrize('changes, message', [
    ({'prune_layer': 9}, 'the decoder has 4 layers'),
    ({'max_step': [0.1, 0.2]}, 'max_step has 2')])
def test_a_refused_update_changes_nothing(changes, message):
    engine = make_engine()
    with pytest.raises(ConfigError, match=message):
        engine.update(engine.parameters.changed({**changes, 'token_budget': 8}))
    assert engine.parameters.token_budget == 16
    assert kept_counts(engine, 1) == [16]


@pytest.mark.parametrize('changes', [{'prune_layer': 9}, {'max_step': [0.1, 0.2]}])
def test_parameters_that_do_not_fit_are_refused_at_the_start(changes):
    with pytest.raises(ConfigError):
        make_engine(**changes)


def test_two_updates_before_a_step_are_one_change():
    engine = make_engine(pruner='vla_pruner')
    kept_counts(engine, 3)
    engine.update(engine.parameters.changed({'pruner': 'fastv'}))
    engine.update(engine.parameters.changed({'pruner': 'vla_pruner', 'token_budget': 8}))
    _, stats = engine.step(observation())
    assert (len(stats.kept[0]), stats.revision) == (8, 2)


# Resets and errors ------------------------------------------------------------------------------

def test_resets_are_counted_by_reason():
    engine = make_engine(pruner='vla_pruner')
    kept_counts(engine, 4)
    engine.reset('episode')
    engine.reset('episode')
    engine.reset('gap')
    assert dict(engine.resets) == {'episode': 2, 'gap': 1}
    assert engine.backend.resets == 3
    assert kept_counts(engine, 4) == [64, 64, 64, 16]


def test_a_new_instruction_clears_the_memory_once():
    engine = make_engine(pruner='vla_pruner')
    kept_counts(engine, 4)
    counts = [len(engine.step(observation('push'))[1].kept[0]) for _ in range(4)]
    assert counts == [64, 64, 64, 16]
    assert dict(engine.resets) == {'instruction': 1}


@pytest.mark.parametrize('failure', [BackendError('token 7 of 5'), RuntimeError('out of memory'),
                                     IndexError('7')])
def test_a_failing_model_is_a_backend_error_and_clears_the_memory(failure):
    engine = make_engine(pruner='vla_pruner')
    kept_counts(engine, 4)
    engine.backend.fail = failure
    with pytest.raises(BackendError, match=str(failure)):
        engine.step(observation())
    assert dict(engine.resets) == {'backend_error': 1}
    assert kept_counts(engine, 4) == [64, 64, 64, 16]


def test_an_unusable_input_leaves_the_memory_alone():
    engine = make_engine(pruner='vla_pruner')
    kept_counts(engine, 4)
    engine.backend.fail = InputError('state', 'no state')
    with pytest.raises(InputError):
        engine.step(observation())
    assert kept_counts(engine, 1) == [16] and not engine.resets


def test_a_chunk_that_is_not_finite_is_dropped_whole():
    def actions(call):
        chunk = np.zeros((8, 4))
        chunk[5, 1] = np.nan if call == 2 else 0.0
        return chunk
    engine = make_engine(ToyBackend(actions=actions), reuse=True)
    engine.step(observation())
    with pytest.raises(UnsafeActionError, match="row 5, 'dy'"):
        engine.step(observation())
    assert dict(engine.resets) == {'unsafe_action': 1}
    assert reasons(engine, [observation()] * 3) == ['reset', 'no_history', 'reused']


def test_limits_act_on_the_answer_and_are_counted():
    engine = make_engine(max_step=[0.005])
    chunk, stats = engine.step(observation())
    assert chunk.actions.tolist() == [[0.005, 0.005, 0.005, 1.0]] * 8
    assert stats.limited == {'max_step': 24} and dict(engine.limited) == {'max_step': 24}


def test_limits_that_cannot_be_checked_drop_the_answer():
    engine = make_engine(position_low=[-1.0, -1.0, -1.0], position_high=[1.0, 1.0, 1.0])
    with pytest.raises(UnsafeActionError, match='pose'):
        engine.step(observation(pose=None))
    assert dict(engine.resets) == {'unsafe_action': 1}


def test_warm_up_runs_pruned_and_leaves_no_trace():
    engine = make_engine(pruner='vla_pruner', reuse=True)
    engine.warm_up()
    cuts = [one.cut_layer for one in engine.backend.selectors]
    assert cuts == [None, None, None, 1]
    assert not engine.resets and engine.steps == 0
    assert kept_counts(engine, 1) == [64] and engine.backend.selectors[-1].step == 0


def test_warm_up_of_a_method_without_memory_runs_twice():
    engine = make_engine()
    engine.warm_up()
    assert engine.backend.calls == 2


class NonsenseFor(ToyBackend):
    """Answers its first ``runs`` inputs with something that is no action."""

    def __init__(self, runs):
        super().__init__()
        self.runs = runs

    def predict_action_chunk(self, observation, selector):
        if self.calls < self.runs:
            self.fail = AnswerError('token 13 is no action')
        return super().predict_action_chunk(observation, selector)


def test_warm_up_takes_nonsense_as_an_answer_to_noise_and_leaves_no_trace():
    engine = make_engine(NonsenseFor(100), pruner='vla_pruner')
    engine.warm_up()
    assert engine.backend.calls == 2
    assert (engine.steps, dict(engine.resets)) == (0, {})


def test_warm_up_goes_on_after_one_unusable_answer():
    engine = make_engine(NonsenseFor(1), pruner='vla_pruner', temporal_window=3)
    engine.warm_up()
    assert engine.backend.selectors[-1].unpruned_reason == ''  # it has run pruned


def test_a_step_still_refuses_an_answer_that_is_no_action():
    engine = make_engine(NonsenseFor(1))
    with pytest.raises(AnswerError, match='token 13'):
        engine.step(observation())
    assert engine.resets['backend_error'] == 1
    engine.step(observation())
    assert engine.steps == 1


def test_warm_up_shows_a_broken_policy():
    engine = make_engine()
    engine.backend.fail = RuntimeError('no kernel')
    with pytest.raises(BackendError, match='no kernel'):
        engine.warm_up()


# Action reuse -----------------------------------------------------------------------------------

def numbered(call):
    """Call number in dx (tiny), row number in dz (tinier): always the same direction."""
    actions = np.tile([0.02, 0.0, 0.0, 1.0], (8, 1))
    actions[:, 1] = call * 1e-6
    actions[:, 2] = np.arange(8) * 1e-6
    return actions


def test_a_reused_step_runs_no_model_and_continues_the_chunk():
    engine = make_engine(ToyBackend(actions=numbered), reuse=True)
    for _ in range(2):
        engine.step(observation())
    chunk, stats = engine.step(observation(stamp_ns=5))
    assert engine.backend.calls == 2
    assert (stats.reused, stats.reuse_reason, stats.kept, stats.flops) == (True, 'reused', (), 0.0)
    assert chunk.stamp_ns == 100_000_000 and chunk.actions.shape == (6, 4)  # row 2 is at 0.1 s
    assert chunk.actions[:, 1].tolist() == [2e-6] * 6
    assert chunk.actions[:, 2].tolist() == pytest.approx([i * 1e-6 for i in range(2, 8)])


def test_a_late_step_skips_the_rows_that_have_passed():
    engine = make_engine(ToyBackend(actions=numbered), reuse=True)
    late = [engine.step(observation(stamp_ns=stamp))[0].actions
            for stamp in (0, 100_000_000, 350_000_000)]  # 5 rows of 50 ms instead of 2
    assert late[2][:, 2].tolist() == pytest.approx([5e-6, 6e-6, 7e-6])


def test_in_lock_step_time_does_not_matter():
    engine = make_engine(ToyBackend(actions=numbered), reuse=True, lock_step=True)
    late = [engine.step(observation(stamp_ns=stamp))[0].actions
            for stamp in (0, 100_000_000, 350_000_000)]
    assert late[2][0, 2] == pytest.approx(2e-6)


def test_limits_also_hold_for_reused_actions():
    engine = make_engine(reuse=True, max_step=[0.005])
    chunks = [engine.step(observation())[0] for _ in range(3)]
    assert chunks[2].actions.tolist() == [[0.005, 0.005, 0.005, 1.0]] * 6


def test_images_of_now_are_compared_with_those_the_model_saw():
    engine = make_engine(reuse=True)
    assert reasons(engine, [observation(grey=100)] * 2 + [observation(grey=110)]) == [
        'no_history', 'no_history', 'image_change']
    assert reasons(engine, [observation(grey=112)]) == ['reused']


def test_given_thumbnails_are_preferred_to_the_images():
    engine = make_engine(reuse=True)
    still = {'corner': np.zeros((32, 32), dtype=np.float32)}
    seen = [observation(grey=grey, thumbnails=still) for grey in (100, 100, 250)]
    assert reasons(engine, seen)[2] == 'reused'


def test_the_paper_preset_does_not_look_at_images():
    engine = make_engine(reuse=True, preset='paper')
    seen = [observation(grey=100), observation(grey=100), observation(grey=250)]
    assert reasons(engine, seen)[2] == 'reused'


def test_the_paper_preset_fills_with_zero_and_never_refreshes():
    engine = make_engine(pruner='vla_pruner', preset='paper', unseen='carry', refresh_period=2)
    assert kept_counts(engine, 8) == [64, 64, 64, 16, 16, 16, 16, 16]
    assert engine._pruner.memory.carry is False


def test_a_new_instruction_vetoes_reuse():
    engine = make_engine(reuse=True)
    seen = [observation(), observation(), observation('push'), observation('push'),
            observation('push')]
    assert reasons(engine, seen) == ['no_history', 'no_history', 'instruction', 'no_history',
                                     'reused']


@pytest.mark.parametrize('changes, reason', [
    ({'token_budget': 8}, 'reused'), ({'reuse_angle': 0.2}, 'reused'), ({'reuse': False}, 'off'),
    ({'execution_horizon': 3}, 'reset'), ({'pruner': 'uniform'}, 'reset')])
def test_live_changes_and_the_reuse_memory(changes, reason):
    engine = make_engine(reuse=True)
    reasons(engine, [observation()] * 2)
    engine.update(engine.parameters.changed(changes))
    assert reasons(engine, [observation()]) == [reason]
