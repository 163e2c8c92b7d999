# SPDX-License-Identifier: Apache-2.0
"""The shipped policy's backend: inputs in, chunk out, errors named; with random weights."""
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import save_file
import torch

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends.pocket.pocket_backend import PocketBackend
from vla_pruner_ros.backends.pocket.pocket_files import save_pocket
from vla_pruner_ros.backends.pocket.pocket_model import PocketConfig, PocketVLA
from vla_pruner_ros.backends.shipped_policies import CONFIGURATION, WEIGHTS_FILE
from vla_pruner_ros.core.errors import BackendError, ConfigError, InputError
from vla_pruner_ros.core.flops import layer_flops
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners import make_pruner, REGISTRY
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import Observation

CONFIG = PocketConfig(
    words=('<unk>', 'open', 'the', 'drawer', 'reach', 'ball'),
    instructions={'drawer-open': 'open the drawer', 'reach': 'reach the ball'},
    state_mean=(0.1, 0.6, 0.2, 0.5), state_std=(0.1, 0.1, 0.1, 0.3),
    hidden=24, inner=32, heads=3, layers=4)
M = 196


@pytest.fixture(scope='module')
def backend():
    torch.manual_seed(0)
    return PocketBackend(PocketVLA(CONFIG))


@pytest.fixture
def checkpoint(tmp_path, backend):
    """A checkpoint directory with random weights in the shipped layout."""
    save_pocket(tmp_path, CONFIG, backend.model.state_dict())
    return tmp_path


def observation(instruction='open the drawer', size=(224, 224), **changes):
    random = np.random.default_rng(1)
    values = {'images': {'corner': random.integers(0, 256, (*size, 3), dtype=np.uint8)},
              'state': np.array([0.0, 0.6, 0.2, 1.0]), 'instruction': instruction, 'stamp_ns': 7}
    values.update(changes)
    return Observation(**values)


def keep_all():
    return TokenSelector(None, 0, M)


def test_unpruned_chunk_equals_the_network_with_scaled_actions(backend):
    seen = observation()
    prediction = backend.predict_action_chunk(seen, keep_all())
    image = torch.from_numpy(seen.images['corner']).permute(2, 0, 1)[None] / 255.0
    with torch.no_grad():
        raw = backend.model(image, torch.tensor([[1, 2, 3]]),
                            torch.tensor(seen.state, dtype=torch.float32)[None])[0]
    want = raw.double().numpy() * np.array([0.04, 0.04, 0.04, 1.0])
    assert np.array_equal(prediction.actions, want)
    assert prediction.actions.dtype == np.float64 and prediction.actions.shape == (8, 4)
    assert [one.tolist() for one in prediction.kept] == [list(range(M))]
    assert set(prediction.stages_ms) == {'preprocess', 'vision', 'decoder', 'select', 'head'}
    assert prediction.flops == 4 * layer_flops(1 + M + 1 + 3 + 8, 24, 32)


def test_uniform_cut_before_the_first_layer_equals_the_networks_own_keep(backend):
    seen = observation()
    pruner = make_pruner(Parameters(pruner='uniform'), backend.spec, False)
    prediction = backend.predict_action_chunk(seen, TokenSelector(pruner, 49, M))
    image = torch.from_numpy(seen.images['corner']).permute(2, 0, 1)[None] / 255.0
    with torch.no_grad():
        raw = backend.model(image, torch.tensor([[1, 2, 3]]),
                            torch.tensor(seen.state, dtype=torch.float32)[None],
                            keep=torch.from_numpy(prediction.kept[0]))[0]
    want = raw.double().numpy() * np.array([0.04, 0.04, 0.04, 1.0])
    assert len(prediction.kept[0]) == 49
    assert np.allclose(prediction.actions, want, rtol=0, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize('name', sorted(REGISTRY))
def test_every_pruner_runs_past_its_warm_up_and_keeps_its_budget(backend, name):
    pruner = make_pruner(Parameters(pruner=name), backend.spec, False)
    for step in range(5):
        selector = TokenSelector(pruner, 49, M, step)
        prediction = backend.predict_action_chunk(observation(), selector)
        assert np.isfinite(prediction.actions).all()
    kept = prediction.kept[0]
    assert len(kept) == (M if name == 'none' else 49)
    assert (np.diff(kept) > 0).all() and kept[0] >= 0 and kept[-1] < M


def test_flops_of_a_cut_follow_the_formula(backend):
    pruner = make_pruner(Parameters(pruner='fastv', prune_layer=2), backend.spec, False)
    prediction = backend.predict_action_chunk(observation(), TokenSelector(pruner, 49, M))
    full, short = 1 + M + 1 + 3 + 8, 1 + 49 + 1 + 3 + 8
    assert prediction.flops == 2 * layer_flops(full, 24, 32) + 2 * layer_flops(short, 24, 32)


def test_spec_follows_the_configuration(backend):
    spec = backend.spec
    assert [(one.role, one.height, one.width) for one in spec.cameras] == [('corner', 224, 224)]
    assert (spec.action_kind, spec.control_dt, spec.action_horizon) == ('ee_delta', 0.05, 8)
    assert (spec.grid_rows, spec.grid_cols, spec.decoder_layers) == (14, 14, 4)
    assert spec.action_names[spec.gripper_index] == 'gripper'
    assert (spec.gripper_open, spec.gripper_closed) == (-1.0, 1.0)
    assert spec.causal is False


def test_example_observation_is_accepted(backend):
    backend.predict_action_chunk(backend.example_observation(), keep_all())


def test_two_cameras_are_both_needed_and_stand_in_the_order_of_the_spec():
    torch.manual_seed(0)
    backend = PocketBackend(PocketVLA(replace(CONFIG, cameras=('front', 'wrist'))))
    assert [one.role for one in backend.spec.cameras] == ['front', 'wrist']
    front, wrist = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    seen = observation(images={'wrist': wrist, 'front': front})
    prediction = backend.predict_action_chunk(seen, keep_all())
    images = torch.from_numpy(np.stack((front, wrist))).permute(0, 3, 1, 2)[None] / 255.0
    with torch.no_grad():
        raw = backend.model(images, torch.tensor([[1, 2, 3]]),
                            torch.tensor(seen.state, dtype=torch.float32)[None])[0]
    want = raw.double().numpy() * np.array([0.04, 0.04, 0.04, 1.0])
    assert np.abs(prediction.actions - want).max() < 1e-6
    pruner = make_pruner(Parameters(pruner='uniform'), backend.spec, False)
    pruned = backend.predict_action_chunk(seen, TokenSelector(pruner, 49, M))
    assert [len(one) for one in pruned.kept] == [49, 49]
    keep = torch.cat([torch.from_numpy(one) + M * i for i, one in enumerate(pruned.kept)])
    with torch.no_grad():
        raw = backend.model(images, torch.tensor([[1, 2, 3]]),
                            torch.tensor(seen.state, dtype=torch.float32)[None], keep=keep)[0]
    want = raw.double().numpy() * np.array([0.04, 0.04, 0.04, 1.0])
    assert np.abs(pruned.actions - want).max() < 1e-6
    with pytest.raises(InputError, match='wrist'):
        backend.predict_action_chunk(observation(images={'front': front}), keep_all())


@pytest.mark.parametrize('size', [(480, 640), (96, 96), (300, 100)])
def test_other_image_sizes_are_resized(backend, size):
    pytest.importorskip('cv2')
    flat = {'corner': np.full((*size, 3), 90, dtype=np.uint8)}
    same = {'corner': np.full((224, 224, 3), 90, dtype=np.uint8)}
    got = backend.predict_action_chunk(observation(images=flat), keep_all())
    want = backend.predict_action_chunk(observation(images=same), keep_all())
    assert np.array_equal(got.actions, want.actions)


def test_an_image_that_numpy_flipped_is_accepted(backend):
    image = observation().images['corner']
    flipped = {'corner': image[::-1, ::-1]}
    copied = {'corner': np.ascontiguousarray(image[::-1, ::-1])}
    got = backend.predict_action_chunk(observation(images=flipped), keep_all())
    assert np.array_equal(
        got.actions, backend.predict_action_chunk(observation(images=copied), keep_all()).actions)


def test_unknown_words_are_read_as_unk_and_change_the_answer(backend):
    known = backend.predict_action_chunk(observation('open the drawer'), keep_all())
    partly = backend.predict_action_chunk(observation('Open that drawer!'), keep_all())
    other = backend.predict_action_chunk(observation('open xyz drawer'), keep_all())
    assert not np.array_equal(known.actions, partly.actions)
    assert np.array_equal(partly.actions, other.actions)


@pytest.mark.parametrize('instruction, message', [
    ('', "'open the drawer'; 'reach the ball'"),
    ('   ...', 'no known word'),
    ('faire du café', 'no known word'),
    ('open the drawer ' * 6, '18 words'),
    ('open ' * 2000, '2000 words'),
    ('x' * 10000, 'no known word'),
])
def test_instructions_that_say_nothing_or_too_much_are_refused(backend, instruction, message):
    with pytest.raises(InputError, match=message) as caught:
        backend.predict_action_chunk(observation(instruction), keep_all())
    assert caught.value.reason == 'instruction'
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize('changes, reason, message', [
    ({'images': {}}, 'camera', "needs camera 'corner'"),
    ({'images': {'corner': np.zeros((224, 224), np.uint8)}}, 'camera', 'uint8'),
    ({'images': {'corner': np.zeros((224, 224, 3), np.float32)}}, 'camera', 'float32'),
    ({'images': {'corner': np.zeros((0, 224, 3), np.uint8)}}, 'camera', 'uint8'),
    ({'state': np.zeros(3)}, 'state', 'needs 4 values'),
    ({'state': np.array([0, 0, np.nan, 0])}, 'state', 'not finite'),
])
def test_unusable_images_and_states_are_refused(backend, changes, reason, message):
    with pytest.raises(InputError, match=message) as caught:
        backend.predict_action_chunk(observation(**changes), keep_all())
    assert caught.value.reason == reason


def test_a_checkpoint_directory_loads_and_predicts_the_same(backend, checkpoint):
    loaded = load_backend(Parameters(checkpoint=str(checkpoint)))
    got = loaded.predict_action_chunk(observation(), keep_all())
    assert np.array_equal(got.actions,
                          backend.predict_action_chunk(observation(), keep_all()).actions)


def test_half_precision_files_are_widened(backend, checkpoint):
    save_file({name: one.half() for name, one in backend.model.state_dict().items()},
              checkpoint / WEIGHTS_FILE)
    loaded = load_backend(Parameters(checkpoint=str(checkpoint)))
    assert {one.dtype for one in loaded.model.parameters()} == {torch.float32}


@pytest.mark.parametrize('break_it, message', [
    (lambda t: t.pop('action.bias'), 'missing: action.bias'),
    (lambda t: t.update({'begin': torch.zeros(1, 1, 5)}),
     r'misshaped: begin is \(1, 1, 5\) instead of \(1, 1, 24\)'),
    (lambda t: t.update({'extra.weight': torch.zeros(2)}), 'unexpected: extra.weight'),
    (lambda t: t.update({'begin': torch.full((1, 1, 24), float('nan'))}), 'not finite; .*begin'),
])
def test_weights_that_do_not_fit_are_named(backend, checkpoint, break_it, message):
    tensors = {name: one.clone() for name, one in backend.model.state_dict().items()}
    break_it(tensors)
    save_file(tensors, checkpoint / WEIGHTS_FILE)
    with pytest.raises(BackendError, match=message):
        load_backend(Parameters(checkpoint=str(checkpoint)))


def test_all_mismatches_are_named_at_once(backend, checkpoint):
    tensors = dict(backend.model.state_dict())
    for name in list(tensors):
        if name.startswith('decoder'):
            del tensors[name]
    tensors['extra'] = torch.zeros(1)
    save_file(tensors, checkpoint / WEIGHTS_FILE)
    with pytest.raises(BackendError, match=r'missing: .* and 29 more; unexpected: extra'):
        load_backend(Parameters(checkpoint=str(checkpoint)))


@pytest.mark.parametrize('content', [b'', b'not tensors at all', b'\xff' * 64])
def test_a_file_that_is_not_safetensors_is_refused(checkpoint, content):
    (checkpoint / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(BackendError, match='not a readable safetensors file'):
        load_backend(Parameters(checkpoint=str(checkpoint)))


def test_a_truncated_weights_file_is_refused(checkpoint):
    whole = (checkpoint / WEIGHTS_FILE).read_bytes()
    (checkpoint / WEIGHTS_FILE).write_bytes(whole[:len(whole) // 2])
    with pytest.raises(BackendError, match='not a readable safetensors file'):
        load_backend(Parameters(checkpoint=str(checkpoint)))


@pytest.mark.parametrize('name, content, message', [
    (WEIGHTS_FILE, None, 'no weights at'),
    (CONFIGURATION, None, 'no policy configuration at'),
    (CONFIGURATION, '{', 'not valid JSON'),
    (CONFIGURATION, '[1]', 'JSON object'),
    (CONFIGURATION, '{"words": ["<unk>"], "colour": 3}', 'colour'),
])
def test_missing_and_broken_checkpoint_files_are_named(checkpoint, name, content, message):
    (checkpoint / name).unlink()
    if content is not None:
        (checkpoint / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_backend(Parameters(checkpoint=str(checkpoint)))


def test_unknown_backends_directories_and_devices_are_named(tmp_path):
    with pytest.raises(ConfigError, match='accepted: one of pocket'):
        load_backend(Parameters(backend='openvla9000'))
    with pytest.raises(ConfigError, match='not a directory'):
        load_backend(Parameters(checkpoint=str(tmp_path / 'nowhere')))
    for device in ('cuda:99', 'tpu', 'meta', 'cuda:x'):
        with pytest.raises(ConfigError, match='device is'):
            load_backend(Parameters(device=device))
