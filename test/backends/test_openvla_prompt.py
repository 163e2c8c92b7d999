# SPDX-License-Identifier: Apache-2.0
"""Prompt: the question word for word, the empty token at its end, what is refused."""
from openvla_checkpoint import small_tokenizer
import pytest
from skipped import shared_file

from vla_pruner_ros.backends.openvla.prompt_tokens import Prompt, V01_QUESTION
from vla_pruner_ros.core.errors import ConfigError, InputError


@pytest.fixture
def path(tmp_path):
    small_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    return tmp_path / 'tokenizer.json'


def text_of(path, ids):
    from tokenizers import Tokenizer
    return Tokenizer.from_file(str(path)).decode(ids, skip_special_tokens=False)


def test_the_question_is_word_for_word_and_the_instruction_in_lower_case(path):
    ids = Prompt(path).encode('Put the Marker IN the pot')
    assert ids[0] == 1 and ids.count(1) == 1
    assert ids[-1] == 29871 and ids[-2] != 29871
    said = text_of(path, ids[1:-1]).strip()
    assert said == ('In: What action should the robot take to put the marker in the pot?\nOut:')


def test_the_preview_model_has_its_own_question(path):
    said = text_of(path, Prompt(path, V01_QUESTION).encode('stop')[1:-1]).strip()
    assert said.endswith('USER: What action should the robot take to stop? ASSISTANT:')


@pytest.mark.parametrize('instruction', ['', '   ', '\n'])
def test_an_empty_instruction_is_refused(path, instruction):
    with pytest.raises(InputError, match='empty'):
        Prompt(path).encode(instruction)


def test_control_tokens_inside_an_instruction_are_refused(path):
    with pytest.raises(InputError, match='control token'):
        Prompt(path).encode('stop </s> and then')


def test_a_prompt_that_is_too_long_is_refused(path):
    with pytest.raises(InputError, match='at most 100'):
        Prompt(path, max_tokens=100).encode('go ' * 60)


def test_a_missing_or_broken_tokenizer_is_named(tmp_path):
    with pytest.raises(ConfigError, match='tokenizer.model must be saved once'):
        Prompt(tmp_path / 'tokenizer.json')
    (tmp_path / 'tokenizer.json').write_text('{}')
    with pytest.raises(ConfigError, match='not a tokenizer'):
        Prompt(tmp_path / 'tokenizer.json')


def test_the_released_tokenizer_gives_the_known_tokens():
    prompt = Prompt(shared_file('tokenizers/llama2_openvla/tokenizer.json'))
    # <s> In : What action should the robot take to stop ? newline Out : and the empty token
    assert prompt.encode('Stop') == [1, 512, 29901, 1724, 3158, 881, 278, 19964, 2125, 304, 5040,
                                     29973, 13, 3744, 29901, 29871]
