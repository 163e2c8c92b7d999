# SPDX-License-Identifier: Apache-2.0
"""Our OpenVLA-OFT gives the published implementation's chunks (golden files; see test/parity)."""
from dataclasses import replace
import json

import numpy as np
from openvla_checkpoint import Oft, oft_shapes
from parity import cases
from parity.frames import bridge_frames
from parity.ours import (
    apart,
    checkpoint,
    FixedPrompt,
    GOLDEN,
    golden,
    largest,
    observation,
    parameters,
    SIZES,
    TOLERANCE,
)
import pytest
from skipped import shared_file
import torch

from vla_pruner_ros.backends.openvla.oft_backend import OftBackend
from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.core.pruners.interface import Pruner
from vla_pruner_ros.core.token_selector import TokenSelector

#: platform -> (cameras, chunk, action and state dimensions, data set)
PLATFORMS = {'libero': (2, 8, 7, 8, 'libero_spatial_no_noops'),
             'aloha': (3, 25, 14, 14, 'aloha_fold_shirt')}
CASES = [*((platform, f'formula{index}') for platform in PLATFORMS for index in range(3)),
         ('libero', 'bridge'), ('libero', 'libero')]


def load(folder, platform, **options):
    """Our backend on a small checkpoint; ``options`` are those of its maker."""
    cameras, _, dims, joints, key = PLATFORMS[platform]
    oft = replace(Oft(action_dim=dims, proprio_dim=joints), **options)
    chosen = parameters('openvla_oft', checkpoint(folder, oft), key, policy_images=cameras)
    backend = OftBackend.from_parameters(chosen, torch.device('cpu'))
    backend.prompt = FixedPrompt()
    return backend


@pytest.fixture(scope='module')
def backends(tmp_path_factory):
    """Loaded backends by (platform, variant), made when first asked for."""
    made = {}
    variants = {'plain': {}, 'without_state': {'proprio_dim': 0}, 'film': {'film': True}}

    def get(platform, variant='plain'):
        if (platform, variant) not in made:
            folder = tmp_path_factory.mktemp('oft')
            made[platform, variant] = load(folder, platform, **variants[variant])
        return made[platform, variant]
    return get


def moment(platform, name):
    """One observation of a golden file and what the official code answered."""
    cameras, _, _, joints, _ = PLATFORMS[platform]
    theirs = {key.partition('/')[2]: value for key, value in golden(f'oft_{platform}').items()
              if key.startswith(name + '/')}
    if name == 'bridge':
        pictures = bridge_frames(shared_file('bridge/bridge_real_1.mp4'), cameras)
        state = cases.proprio(0, joints)
    elif name == 'libero':
        sample = np.load(shared_file('libero/libero_spatial_sample_observation.npz'))
        pictures, state = [sample['full_image'], sample['wrist_image']], sample['state']
    else:
        index = int(name[-1])
        pictures = [cases.image(3 * index + camera) for camera in range(cameras)]
        state = cases.proprio(index, joints)
    same = [cases.digest(one) for one in pictures] == theirs['pictures_digest'].tolist()
    if name == 'bridge' and not same:
        pytest.skip('this video decoder makes other pixels than the one of the golden file')
    return pictures, state, theirs


def observed(backend, pictures, state):
    roles = [camera.role for camera in backend.spec.cameras]
    return observation(dict(zip(roles, pictures)), state if backend.spec.state_names else ())


def chunk(backend, pictures, state):
    """Un-normalised chunk in the units of the data set, as the official code returns it."""
    found = backend.predict_action_chunk(observed(backend, pictures, state),
                                         TokenSelector(None, 0, 256))
    return found.actions / backend.data.scale


@pytest.mark.parametrize('platform', PLATFORMS)
def test_the_checkpoint_maker_writes_exactly_the_published_names_and_shapes(platform):
    _, _, dims, joints, _ = PLATFORMS[platform]
    ours = {f'{stem}.{name}': list(shape) for stem, shapes in oft_shapes(
        SIZES, Oft(action_dim=dims, proprio_dim=joints, film=True)).items()
        for name, shape in shapes.items()}
    assert ours == json.loads((GOLDEN / f'layout_oft_{platform}.json').read_text())


@pytest.mark.parametrize('platform, name', CASES)
def test_inputs_are_the_same(backends, platform, name):
    backend = backends(platform)
    backend.transform = replace(backend.transform, center_crop=name == 'libero')
    pictures, state, theirs = moment(platform, name)
    given = observed(backend, pictures, state)
    assert cases.digest(backend.pixels(given).numpy()) == str(theirs['pixels_digest'])
    # They hand float64 to torch.Tensor, we cast: the same rounding to float32.
    assert largest(backend.state(state).numpy()[0],
                   theirs['state_normalised'].astype(np.float32)) == 0.0


@pytest.mark.parametrize('platform, name', CASES)
def test_visual_tokens_hidden_states_and_chunks_are_the_same(backends, platform, name):
    backend = backends(platform)
    backend.transform = replace(backend.transform, center_crop=name == 'libero')
    pictures, state, theirs = moment(platform, name)
    given = observed(backend, pictures, state)
    with torch.inference_mode():
        visual = backend.model.encode(backend.pixels(given))
        embeds, sequence = backend.assemble(visual, backend.words('move'), backend.state(state))
        run = PrunedPass(backend.model.decoder, sequence, TokenSelector(None, 0, 256),
                         causal=False)
        hidden = run.prefill(embeds).hidden
    assert apart(visual[0, ::16], theirs['visual']) <= TOLERANCE['visual']
    assert apart(hidden[0, ::3], theirs['hidden']) <= TOLERANCE['hidden']
    assert apart(chunk(backend, pictures, state), theirs['actions']) <= TOLERANCE['chunk']


@pytest.mark.parametrize('variant', ['without_state', 'film'])
@pytest.mark.parametrize('platform', PLATFORMS)
def test_chunks_without_state_and_with_film_are_the_same(backends, platform, variant):
    backend = backends(platform, variant)
    for name in ('formula0', 'formula1'):
        pictures, state, theirs = moment(platform, name)
        wanted = 'actions_film' if variant == 'film' else 'actions_without_state'
        assert apart(chunk(backend, pictures, state), theirs[wanted]) <= TOLERANCE['chunk']


class Formula(Pruner):
    """Keeps what ``cases.kept`` says, cutting where the golden file was cut."""

    name = 'formula'

    def select(self, signals, budget):
        return torch.from_numpy(cases.kept(signals.image, budget))


@pytest.mark.parametrize('platform, name', CASES)
@pytest.mark.parametrize('layer', [3, 4])
def test_chunks_after_a_cut_are_the_same(backends, platform, name, layer):
    backend = backends(platform)
    backend.transform = replace(backend.transform, center_crop=name == 'libero')
    pictures, state, theirs = moment(platform, name)
    found = backend.predict_action_chunk(observed(backend, pictures, state),
                                         TokenSelector(Formula(layer), 64, 256))
    assert [len(one) for one in found.kept] == [64] * len(pictures)
    difference = apart(found.actions / backend.data.scale, theirs['actions_cut'])
    if layer == 3:
        assert difference <= TOLERANCE['chunk']
    else:  # negative control: one layer too late
        assert difference > 10 * TOLERANCE['chunk']


@pytest.mark.parametrize('broken', ['causal', 'end', 'rows', 'cameras', 'bounds'])
def test_a_slightly_wrong_policy_is_noticed(backends, monkeypatch, broken):
    """Negative control: each is a mistake that a port really makes."""
    backend = backends('libero')
    backend.transform = replace(backend.transform, center_crop=False)
    pictures, state, theirs = moment('libero', 'formula0')
    assemble, prefill = backend.assemble, PrunedPass.prefill
    if broken == 'causal':
        monkeypatch.setattr(PrunedPass, 'prefill', lambda self, embeds: (
            setattr(self, '_causal', True), prefill(self, embeds))[1])
    elif broken == 'end':  # no end token behind the placeholders
        def shorter(*parts):
            embeds, sequence = assemble(*parts)
            return embeds[:, :-1], replace(sequence, length=sequence.length - 1)
        monkeypatch.setattr(backend, 'assemble', shorter)
    elif broken == 'rows':  # read at the placeholders themselves, one row too late
        def later(*parts):
            embeds, sequence = assemble(*parts)
            rows = slice(sequence.action.start + 1, sequence.action.stop + 1)
            return embeds, replace(sequence, action=rows)
        monkeypatch.setattr(backend, 'assemble', later)
    elif broken == 'cameras':
        pictures = pictures[::-1]
    else:  # statistics of the extremes instead of the quantiles
        action = backend.data.action
        wide = replace(action, low=1.5 * action.low, high=1.5 * action.high)
        monkeypatch.setattr(backend, 'data', replace(backend.data, action=wide))
    wrong = apart(chunk(backend, pictures, state), theirs['actions'])
    assert wrong > 10 * TOLERANCE['chunk']
