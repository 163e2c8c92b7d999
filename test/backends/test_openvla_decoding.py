# SPDX-License-Identifier: Apache-2.0
"""OpenVLA as a policy: greedy tokens against recomputation from scratch, pruned against masked."""
from decoder_reference import KeepThese, masked_reference
import numpy as np
from openvla_checkpoint import default_rule, statistics, write_checkpoint
import pytest
import torch

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import AnswerError, BackendError, InputError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners.interface import Needs
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import Observation

WORDS = 'put the marker in the pot'
KEEP_ALL = TokenSelector(None, 0, 256)


@pytest.fixture(scope='module')
def backend(tmp_path_factory):
    """In float64, so that a comparison can be strict."""
    folder = write_checkpoint(tmp_path_factory.mktemp('openvla'))
    loaded = load_backend(Parameters().changed({'backend': 'openvla', 'checkpoint': str(folder)}))
    loaded.model.double()
    loaded.dtype = torch.float64
    return loaded


def observation(seed=0, words=WORDS, **images):
    picture = np.random.default_rng(seed).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    return Observation(images=images or {'primary': picture}, state=np.zeros(0), instruction=words,
                       stamp_ns=0)


class Watching(KeepThese):
    """Keeps a given set, asks for action attention and remembers it."""

    def observe(self, feedback):
        self.feedback = feedback


def embeddings(backend, seed=0):
    """(1, T, D) of the prompt, made step by step."""
    ids = backend.prompt.encode(WORDS)
    visual = backend.model.encode(backend.pixels(observation(seed)))
    table = backend.model.language_model.model.embed_tokens.weight
    return torch.cat([table[ids[:1]][None], visual, table[ids[1:]][None]], dim=1)


@torch.no_grad()
def recomputed(backend, kept=None, cut=0, seed=0, weights=None):
    """Seven greedy tokens, everything recomputed at each, dropped columns masked."""
    x = embeddings(backend, seed)
    prompt = x.shape[1]
    rows = torch.arange(prompt)
    remaining = rows if kept is None else torch.cat(
        [rows[:1], torch.tensor(kept) + 1, rows[257:]])
    tokens = []
    for _ in range(7):
        if weights is not None:
            weights.clear()
        hidden = masked_reference(backend.model.decoder, x, remaining, cut, causal=True,
                                  prompt=prompt, weights=weights)
        tokens.append(int(backend.model.logits(hidden[:, -1]).argmax()))
        table = backend.model.language_model.model.embed_tokens.weight
        x = torch.cat([x, table[tokens[-1:]][None]], dim=1)
    return tokens


def action(backend, tokens):
    """Un-normalised action by hand from the statistics of the checkpoint."""
    block = statistics()['action']
    edges = np.linspace(-1, 1, 256)
    values = ((edges[1:] + edges[:-1]) / 2)[np.clip(31999 - np.array(tokens), 0, 254)]
    low, high = np.array(block['q01']), np.array(block['q99'])
    return np.where(block['mask'], (values + 1) / 2 * (high - low) + low, values)


def test_seven_tokens_equal_those_of_a_recomputation_without_memory(backend):
    tokens = recomputed(backend)
    assert len(set(tokens)) > 3  # the answer is not one token repeated
    got = backend.predict_action_chunk(observation(), KEEP_ALL)
    assert got.actions.shape == (1, 7)
    assert got.actions[0] == pytest.approx(action(backend, tokens), abs=1e-12)
    assert got.kept[0].tolist() == list(range(256))


def test_a_pruned_run_equals_a_masked_full_length_one(backend):
    kept = sorted(np.random.default_rng(3).choice(256, 40, replace=False).tolist())
    pruner = KeepThese([kept], prune_layer=2)
    got = backend.predict_action_chunk(observation(), TokenSelector(pruner, 40, 256))
    assert got.kept[0].tolist() == kept
    tokens = recomputed(backend, kept, cut=2)
    assert got.actions[0] == pytest.approx(action(backend, tokens), abs=1e-12)
    assert tokens != recomputed(backend)  # pruning changed something, so the test can fail
    assert tokens != recomputed(backend, kept, cut=1)


def test_the_reported_rows_are_the_last_prompt_row_and_six_decoded_ones(backend):
    pruner = Watching([list(range(10, 50))], prune_layer=1, needs=Needs(action_rows='layer:2'))
    backend.predict_action_chunk(observation(), TokenSelector(pruner, 40, 256))
    weights = []
    recomputed(backend, list(range(10, 50)), cut=1, weights=weights)
    # The last recomputation held prompt and six tokens; rows before the last seven are no actions.
    rows = weights[2][0].mean(0)[-7:, 1 + torch.arange(10, 50)]
    torch.testing.assert_close(pruner.feedback.action_attention.double(), rows.mean(0), rtol=1e-9,
                               atol=1e-12)


def test_text_and_last_token_rows_end_at_the_empty_token(backend):
    words = backend.words(WORDS)
    embeds, sequence = backend.assemble(backend.model.encode(backend.pixels(observation())), words)
    assert embeds.shape[1] == 256 + words.shape[1]
    assert (sequence.text.start, sequence.text.stop) == (257, embeds.shape[1])
    assert sequence.semantic('last_token') == sequence.action
    assert torch.equal(embeds[0, -1], backend.model.embed(torch.tensor([29871]))[0])


def test_a_token_outside_the_actions_stops_at_once(backend, monkeypatch):
    calls = []

    def logits(hidden):
        calls.append(hidden)
        scores = torch.zeros(*hidden.shape[:-1], 32064)
        scores[..., 31800 if len(calls) < 3 else 13] = 1.0
        return scores

    monkeypatch.setattr(backend.model, 'logits', logits)
    with pytest.raises(BackendError, match=r'token 13, .*31744 to 31999'):
        backend.predict_action_chunk(observation(), KEEP_ALL)
    assert len(calls) == 3


def test_a_model_that_speaks_can_be_configured_but_moves_nothing(tmp_path):
    def talkative(name, shape):
        return default_rule(name, shape).roll(-9000, 0) if 'lm_head' in name else default_rule(
            name, shape)

    parameters = Parameters().changed({'backend': 'openvla', 'checkpoint': str(
        write_checkpoint(tmp_path / 'c', rule=talkative))})
    engine = PolicyEngine(load_backend(parameters), parameters)
    engine.warm_up()
    with pytest.raises(AnswerError, match='is not an action'):
        engine.step(observation())
    assert engine.steps == 0


@pytest.mark.parametrize('change, said', [
    ({'side': np.zeros((8, 8, 3), np.uint8)}, "camera 'primary'"),
    ({'primary': np.zeros((8, 8), np.uint8)}, r'\(H, W, 3\)'),
    ({'primary': np.zeros((8, 8, 3), np.float32)}, 'float32'),
    ({'primary': np.zeros((0, 8, 3), np.uint8)}, r'\(0, 8, 3\)')])
def test_images_that_cannot_be_used_are_refused(backend, change, said):
    with pytest.raises(InputError, match=said):
        backend.predict_action_chunk(observation(**change), KEEP_ALL)


@pytest.mark.parametrize('words, said', [('', 'empty'), ('go ' * 3400, '3400 words'),
                                         ('x' * 10000, 'tokens')])
def test_instructions_that_cannot_be_used_are_refused(backend, words, said):
    with pytest.raises(InputError, match=said):
        backend.predict_action_chunk(observation(words=words), KEEP_ALL)


def test_the_specification_follows_the_data_set(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', norm_stats={'libero_goal': statistics()})
    loaded = load_backend(Parameters().changed({
        'backend': 'openvla', 'checkpoint': str(folder), 'gripper_convention': 'open_is_zero'}))
    spec = loaded.spec
    assert [one.role for one in spec.cameras] == ['primary'] and not spec.state_names
    assert (spec.control_dt, spec.action_horizon, spec.causal) == (0.05, 1, True)
    assert (spec.gripper_open, spec.gripper_closed, spec.gripper_index) == (0.0, 1.0, 6)
    # LIBERO's full scale is 5 cm and 0.5 rad; the gripper stays as it is.
    assert loaded.units(np.ones((1, 7)))[0] == pytest.approx([0.05] * 3 + [0.5] * 3 + [1])


def test_bfloat16_answers_with_the_same_shape(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', dtype=torch.bfloat16)
    loaded = load_backend(Parameters().changed({'backend': 'openvla', 'checkpoint': str(folder)}))
    pruner = KeepThese([list(range(64))], prune_layer=1)
    got = loaded.predict_action_chunk(observation(), TokenSelector(pruner, 64, 256))
    assert np.isfinite(got.actions).all() and len(got.kept[0]) == 64
    assert set(got.stages_ms) == {'preprocess', 'vision', 'decoder', 'head', 'select'}
