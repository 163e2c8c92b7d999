# SPDX-License-Identifier: Apache-2.0
"""Our OpenVLA gives the published implementation's answers (golden files; see test/parity)."""
import json

import numpy as np
from openvla_checkpoint import tensor_shapes
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

from vla_pruner_ros.backends.openvla.openvla_backend import OpenVlaBackend
from vla_pruner_ros.backends.openvla.prompt_tokens import Prompt
from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.core.token_selector import TokenSelector

PICTURES = {f'formula{index}': size for index, size in enumerate(cases.IMAGE_SIZES)}


@pytest.fixture(scope='module')
def backend(tmp_path_factory):
    folder = checkpoint(tmp_path_factory.mktemp('openvla'))
    loaded = OpenVlaBackend.from_parameters(parameters('openvla', folder, 'bridge_orig'),
                                            torch.device('cpu'))
    loaded.prompt = FixedPrompt()
    return loaded


@pytest.fixture(params=[*PICTURES, 'bridge'])
def case(request):
    """(name, picture, their answers) of one image."""
    found = {key.partition('/')[2]: value for key, value in golden('openvla').items()
             if key.startswith(request.param + '/')}
    if request.param == 'bridge':
        picture = bridge_frames(shared_file('bridge/bridge_real_1.mp4'), 1)[0]
        if cases.digest(picture) != found['picture_digest']:
            pytest.skip('this video decoder makes other pixels than the one of the golden file')
    else:
        picture = cases.image(int(request.param[-1]), *PICTURES[request.param])
    return request.param, picture, found


def answers(backend, picture):
    """Visual tokens, logits of the seven steps and tokens, through our own parts."""
    with torch.inference_mode():
        visual = backend.model.encode(backend.pixels(observation({'primary': picture})))
        embeds, sequence = backend.assemble(visual, backend.words('move'))
        run = PrunedPass(backend.model.decoder, sequence, TokenSelector(None, 0, 256), causal=True,
                         decode_room=6)
        hidden = run.prefill(embeds).hidden[:, -1:]
        logits = [backend.model.logits(hidden)[0, -1]]
        while len(logits) < 7:
            hidden = run.decode(backend.model.embed(logits[-1].argmax().view(1, 1)))
            logits.append(backend.model.logits(hidden)[0, -1])
    logits = torch.stack(logits)
    return visual[0].numpy(), logits.numpy(), logits.argmax(1).numpy()


def test_the_checkpoint_maker_writes_exactly_the_published_names_and_shapes():
    official = json.loads((GOLDEN / 'layout_openvla.json').read_text())
    assert {name: list(shape) for name, shape in tensor_shapes(SIZES).items()} == official


def test_the_formula_makes_the_pictures_of_the_golden_file(case):
    _, picture, theirs = case
    assert cases.digest(picture) == str(theirs['picture_digest'])


def test_preprocessed_pixels_are_bit_identical(backend, case):
    _, picture, theirs = case
    pixels = backend.pixels(observation({'primary': picture})).numpy()
    np.testing.assert_array_equal(pixels.flatten()[::997], theirs['pixels'])
    assert cases.digest(pixels) == str(theirs['pixels_digest'])


def test_visual_tokens_logits_and_tokens_are_the_same(backend, case):
    _, picture, theirs = case
    visual, logits, tokens = answers(backend, picture)
    step = 256 // len(theirs['visual'])
    assert apart(visual[::step], theirs['visual']) <= TOLERANCE['visual']
    assert apart(logits[:, 31744:32000], theirs['action_logits']) <= TOLERANCE['logits']
    assert apart(logits[:, ::167], theirs['other_logits']) <= TOLERANCE['logits']
    assert tokens.tolist() == theirs['tokens'].tolist()


def test_the_whole_backend_gives_the_same_action(backend, case):
    _, picture, theirs = case
    found = backend.predict_action_chunk(observation({'primary': picture}),
                                         TokenSelector(None, 0, 256))
    assert found.actions.shape == (1, 7)
    assert largest(found.actions[0], theirs['action']) <= 1e-12
    # The comparison means something: no step was decided by less than the arithmetic allows.
    assert theirs['margin'] > 10 * TOLERANCE['logits'] * np.abs(theirs['action_logits']).max()


@pytest.mark.parametrize('broken', ['gelu', 'order', 'positions'])
def test_a_slightly_wrong_model_is_noticed(backend, monkeypatch, broken):
    """Negative control: each is a mistake that a port really makes."""
    theirs = golden('openvla')
    if broken == 'gelu':  # the tanh approximation, as in other SigLIP implementations
        exact = torch.nn.functional.gelu
        monkeypatch.setattr('vla_pruner_ros.backends.openvla.vision_towers.F.gelu',
                            lambda x: exact(x, approximate='tanh'))
    elif broken == 'order':  # the towers' channels swapped
        encode = backend.pixels
        monkeypatch.setattr(backend, 'pixels', lambda one: encode(one).roll(3, dims=1))
    else:  # decoded rows continue one position too late
        decode = PrunedPass.decode
        monkeypatch.setattr(PrunedPass, 'decode', lambda self, embeds: (
            setattr(self, '_next', self._next + (self._next == 280)), decode(self, embeds))[1])
    visual, logits, _ = answers(backend, cases.image(0, *PICTURES['formula0']))
    wrong = max(
        apart(visual, theirs['formula0/visual']) / TOLERANCE['visual'],
        apart(logits[:, 31744:32000], theirs['formula0/action_logits']) / TOLERANCE['logits'])
    assert wrong > 10


@pytest.mark.parametrize('index', range(len(cases.INSTRUCTIONS)))
def test_prompt_is_tokenised_as_the_published_tokenizer_does(index):
    prompt = Prompt(shared_file('tokenizers/llama2_openvla/tokenizer.json'))
    theirs = golden('openvla')[f'prompt{index}'].tolist()
    if theirs[-1] != 29871:
        theirs.append(29871)
    assert prompt.encode(cases.INSTRUCTIONS[index]) == theirs
