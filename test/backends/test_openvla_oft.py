# SPDX-License-Identifier: Apache-2.0
"""OpenVLA-OFT: one bidirectional pass, its rows, its head, FiLM files, state and images."""
from decoder_reference import KeepThese, masked_reference
import numpy as np
from openvla_checkpoint import default_rule, Oft, Sizes, statistics, write_checkpoint
import pytest
import torch

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends.openvla.weight_mapping import fold_lora
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import BackendError, ConfigError, InputError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import Observation

SIZES = Sizes(vocab=30080)  # up to the prompt's last character; OFT decodes no tokens
WORDS = 'put the pot on it'


def load(folder, **changes):
    """In float64, so that a comparison can be strict."""
    loaded = load_backend(Parameters().changed({
        'backend': 'openvla_oft', 'checkpoint': str(folder), **changes}))
    modules = [loaded.model, loaded.head]
    modules += [loaded.proprio.projector] if loaded.proprio else []
    for one in modules:
        one.double()
    loaded.dtype = torch.float64
    return loaded


@pytest.fixture(scope='module')
def backend(tmp_path_factory):
    folder = write_checkpoint(tmp_path_factory.mktemp('oft'), SIZES, oft=Oft(),
                              norm_stats={'libero_spatial': statistics()})
    return load(folder, policy_images=2)


def observation(roles=('primary', 'wrist'), state=8, words=WORDS):
    random = np.random.default_rng(5)
    return Observation(
        images={one: random.integers(0, 256, (64, 80, 3), dtype=np.uint8) for one in roles},
        state=np.linspace(-0.5, 0.5, state), instruction=words, stamp_ns=0)


@torch.no_grad()
def by_hand(loaded, seen, kept=None, cut=0):
    """(H, D) normalised actions: sequence, mask, rows and head written out."""
    table = loaded.model.language_model.model.embed_tokens.weight
    ids = loaded.prompt.encode(seen.instruction)
    visual = loaded.model.encode(loaded.pixels(seen), loaded.language(torch.tensor([ids])))[0]
    parts = [table[ids[:1]], visual]
    if loaded.proprio is not None:
        parts.append(loaded.proprio.projector(loaded.state(seen.state)))
    count = loaded.spec.action_horizon * len(loaded.spec.action_names)
    last = sum(len(one) for one in parts) + len(ids) - 2  # row of the empty token
    parts += [table[ids[1:]], torch.zeros(count, table.shape[1]).double(), table[2:3]]
    x = torch.cat(parts)[None]
    rows = torch.arange(x.shape[1])
    if kept is not None:
        images = [torch.tensor(one) + 1 + 256 * index for index, one in enumerate(kept)]
        rows = torch.cat([rows[:1], *images, rows[1 + 256 * len(images):]])
    hidden = masked_reference(loaded.model.decoder, x, rows, cut, causal=False)[0]
    d = len(loaded.spec.action_names)
    steps = [hidden[last + step * d:last + (step + 1) * d].flatten()
             for step in range(loaded.spec.action_horizon)]
    return torch.stack([loaded.head.model(one) for one in steps]).numpy()


def test_a_chunk_equals_the_pass_written_out(backend):
    seen = observation()
    got = backend.predict_action_chunk(seen, TokenSelector(None, 0, 256))
    wanted = backend.units(backend.data.action.spread(by_hand(backend, seen)))
    assert got.actions.shape == (8, 7)
    # The normalised values go through float32, as in the published code.
    assert got.actions == pytest.approx(wanted, rel=1e-5, abs=1e-8)


def test_every_image_is_pruned_by_itself_and_equals_a_masked_run(backend):
    random = np.random.default_rng(2)
    kept = [sorted(random.choice(256, 30, replace=False).tolist()) for _ in range(2)]
    pruner = KeepThese(kept, prune_layer=2)
    seen = observation()
    got = backend.predict_action_chunk(seen, TokenSelector(pruner, 30, 256))
    assert [one.tolist() for one in got.kept] == kept
    wanted = backend.units(backend.data.action.spread(by_hand(backend, seen, kept, cut=2)))
    assert got.actions == pytest.approx(wanted, rel=1e-5, abs=1e-8)
    unpruned = backend.units(backend.data.action.spread(by_hand(backend, seen)))
    assert np.abs(got.actions - unpruned).max() > 1e-5


def test_state_and_every_image_change_the_answer(backend):
    seen = observation()
    answer = backend.predict_action_chunk(seen, TokenSelector(None, 0, 256)).actions
    changed = [observation(state=8), observation(), observation()]
    changed[0] = Observation(seen.images, seen.state + 0.1, WORDS, 0)
    for index, role in enumerate(('primary', 'wrist')):
        images = {**seen.images, role: 255 - seen.images[role]}
        changed[index + 1] = Observation(images, seen.state, WORDS, 0)
    for one in changed:
        other = backend.predict_action_chunk(one, TokenSelector(None, 0, 256)).actions
        assert np.abs(other - answer).max() > 1e-6


def test_the_state_is_normalised_with_its_own_statistics(backend):
    block = statistics()['proprio']
    value = 0.25 * block['q99'][0] + 0.75 * block['q01'][0]
    state = np.array([value, *block['q99'][1:]]) + [0, 5, 0, 0, 0, 0, 0, 0]
    normal = backend.state(state)[0]
    assert normal.tolist() == pytest.approx([-0.5] + [1.0] * 7)


@pytest.mark.parametrize('state, said', [(np.zeros(7), 'needs 8 values: x, y, z, rx'),
                                         (np.full(8, np.nan), 'not finite')])
def test_a_state_that_cannot_be_used_is_refused(backend, state, said):
    seen = observation()
    with pytest.raises(InputError, match=said):
        backend.predict_action_chunk(Observation(seen.images, state, WORDS, 0),
                                     TokenSelector(None, 0, 256))


def test_a_missing_wrist_camera_is_named(backend):
    with pytest.raises(InputError, match="'wrist'"):
        backend.predict_action_chunk(observation(roles=('primary',)), TokenSelector(None, 0, 256))


def test_two_arms_give_25_steps_of_14_joints_from_three_images(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', SIZES, oft=Oft(action_dim=14, proprio_dim=14),
                              norm_stats={'aloha_fold': statistics(14, proprio_dim=14)})
    loaded = load(folder, policy_images=3)
    spec = loaded.spec
    assert [one.role for one in spec.cameras] == ['primary', 'left_wrist', 'right_wrist']
    assert (spec.action_kind, spec.action_horizon, spec.gripper_index) == (
        'joint_position', 25, None)
    assert len(spec.state_names) == 14
    assert loaded.data.action.low.tolist() == statistics(14)['action']['min']
    seen = observation([one.role for one in spec.cameras], state=14)
    got = loaded.predict_action_chunk(seen, TokenSelector(KeepThese([[1, 2]] * 3, 1), 2, 256))
    assert got.actions.shape == (25, 14) and len(got.kept) == 3


def test_a_policy_without_projector_reads_no_state(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', SIZES, oft=Oft(proprio_dim=0))
    loaded = load(folder)
    assert loaded.spec.state_names == () and loaded.spec.action_horizon == 5  # Bridge
    seen = observation(['primary'], state=0)
    got = loaded.predict_action_chunk(seen, TokenSelector(None, 0, 256))
    wanted = loaded.units(loaded.data.action.spread(by_hand(loaded, seen)))
    assert got.actions == pytest.approx(wanted, rel=1e-5, abs=1e-8)


def film(tmp_path, rank, words=WORDS):
    """Answer of a FiLM checkpoint whose vision file has low-rank factors of this rank, or none."""
    folder = write_checkpoint(tmp_path / f'film{rank}', SIZES, film_rule,
                              oft=Oft(film=True, film_lora_rank=rank))
    loaded = load(folder)
    seen = observation(['primary'], words=words)
    return loaded.predict_action_chunk(seen, TokenSelector(None, 0, 256)).actions


def film_rule(name, shape):
    """Base weights that do not depend on whether factors lie beside them."""
    if 'lora_B' in name:
        return torch.zeros(shape)
    return default_rule(name.replace('.base_layer.', '.'), shape)


def test_adapters_without_effect_change_nothing_in_a_film_checkpoint(tmp_path):
    plain, adapted = film(tmp_path, 0), film(tmp_path, 4)
    assert plain == pytest.approx(adapted, rel=1e-9)
    assert np.abs(film(tmp_path, 0, words='stop') - plain).max() > 1e-6


def test_low_rank_factors_are_scaled_by_sixteen_over_the_rank():
    base, down, up = torch.eye(3), torch.ones(32, 3), torch.ones(3, 32)
    stored = {'x.base_layer.weight': base, 'x.lora_A.default.weight': down,
              'x.lora_B.default.weight': up, 'y.bias': torch.zeros(2)}
    folded = fold_lora(stored)
    assert set(folded) == {'x.weight', 'y.bias'}
    # B A is 32 everywhere, and the factor of rank 32 is 16 / 32.
    torch.testing.assert_close(folded['x.weight'].read(), base + 16.0)
    small = fold_lora({**stored, 'x.lora_A.default.weight': down[:8],
                       'x.lora_B.default.weight': up[:, :8]})
    torch.testing.assert_close(small['x.weight'].read(), base + 8.0)  # rank 8: factor 1


def test_half_a_pair_of_factors_is_named():
    with pytest.raises(BackendError, match='without their partner: x.weight'):
        fold_lora({'x.base_layer.weight': torch.eye(2),
                   'x.lora_A.default.weight': torch.ones(1, 2)})


def edit_component(folder, stem, change):
    [path] = folder.glob(f'{stem}--*')
    tensors = torch.load(path, weights_only=True)
    change(tensors)
    torch.save(tensors, path)


@pytest.mark.parametrize('stem, change, said', [
    ('action_head', lambda t: t.pop('module.model.fc1.bias'), 'missing: model.fc1.bias'),
    ('action_head', lambda t: t.pop('module.model.fc2.weight'), 'not an L1 regression head'),
    ('action_head', lambda t: t.update({'module.extra': torch.zeros(1)}), 'unexpected: extra'),
    ('proprio_projector', lambda t: t.update({'module.fc2.bias': torch.zeros(3)}),
     r'fc2.bias is \(3,\)'),
    ('proprio_projector', lambda t: t.update({'module.fc1.weight': torch.zeros(64, 7)}),
     'reads 7 values'),
    ('vision_backbone', lambda t: t.pop('vision_backbone.featurizer.blocks.1.scale.weight'),
     'missing: vision_backbone.featurizer.blocks.1.scale.weight')])
def test_component_files_that_do_not_fit_are_named(tmp_path, stem, change, said):
    folder = write_checkpoint(tmp_path / 'c', SIZES, oft=Oft(film=stem == 'vision_backbone'))
    edit_component(folder, stem, change)
    with pytest.raises((BackendError, ConfigError), match=said):
        load(folder)


def test_a_component_that_holds_code_is_refused(tmp_path):
    import pickle
    folder = write_checkpoint(tmp_path / 'c', SIZES, oft=Oft())
    [path] = folder.glob('action_head--*')
    path.write_bytes(pickle.dumps({'fc': print}))
    with pytest.raises(BackendError, match='action_head--150000_checkpoint.pt is not a readable'
                       ) as caught:
        load(folder)
    # Not torch's advice to read such a file with weights_only switched off.
    assert str(caught.value).count('weights_only') == 1 and '\n' not in str(caught.value)


def test_an_openvla_checkpoint_has_no_action_head(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', SIZES)
    with pytest.raises(ConfigError, match=r"no action_head--\*_checkpoint.pt.*to 'openvla'"):
        load(folder)


def test_two_files_of_one_component_are_refused(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', SIZES, oft=Oft())
    [path] = folder.glob('action_head--*')
    (folder / 'action_head--50000_checkpoint.pt').write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match='keep one'):
        load(folder)


def test_current_action_scores_prune_from_the_first_step_on(backend):
    parameters = Parameters().changed({
        'pruner': 'vla_pruner', 'token_budget': 32, 'action_scores': 'current'})
    engine = PolicyEngine(backend, parameters)
    _, stats = engine.step(observation())
    assert stats.pruned and [len(one) for one in stats.kept] == [32, 32]
    _, held = PolicyEngine(backend, parameters.changed({'action_scores': 'both'})).step(
        observation())
    assert held.unpruned_reason == 'warm_up'
