# SPDX-License-Identifier: Apache-2.0
"""Instruction -> token ids, exactly as the model was trained.

The question is fixed, the instruction is put in lower case, and the prompt must end with token
29871, the Llama tokenizer's lone word start: the first action token followed it in training.
The tokenizer is read from ``tokenizer.json`` with the ``tokenizers`` library; ``transformers``
is not needed.
"""
from pathlib import Path

from vla_pruner_ros.core.errors import ConfigError, InputError, MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install

EMPTY_TOKEN = 29871
#: Question of the released models, and of the first preview (v01), whose name says so.
QUESTION = 'In: What action should the robot take to {}?\nOut:'
V01_QUESTION = ('A chat between a curious user and an artificial intelligence assistant. The '
                "assistant gives helpful, detailed, and polite answers to the user's questions. "
                'USER: What action should the robot take to {}? ASSISTANT:')


class Prompt:
    """Turns instructions into token ids.

    Args:
        path: ``tokenizer.json``.
        question: with one ``{}`` for the instruction.
        max_tokens: longest prompt.

    Raises:
        ConfigError: no such file, or not a tokenizer.
        MissingDependencyError: the ``tokenizers`` library is not installed.
    """

    def __init__(self, path: Path, question: str = QUESTION, max_tokens: int = 512):
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingDependencyError("reading a checkpoint's tokenizer needs the tokenizers "
                                         f'library: {how_to_install("tokenizers")}') from error
        if not path.is_file():
            raise ConfigError(f'no {path.name} in {path.parent}; a checkpoint that only has '
                              'tokenizer.model must be saved once with a fast tokenizer')
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ConfigError(f'{path} is not a tokenizer: {error}') from error
        self._question, self.max_tokens = question, max_tokens
        self._special = frozenset(
            number for number, one in self._tokenizer.get_added_tokens_decoder().items()
            if one.special)

    def encode(self, instruction: str) -> list[int]:
        """Token ids of the prompt, from BOS to the empty token.

        Raises:
            InputError: an empty or too long instruction, or one with control tokens in it.
        """
        if not instruction.strip():
            raise InputError('instruction', 'the instruction is empty')
        ids: list[int] = self._tokenizer.encode(self._question.format(instruction.lower())).ids
        if self._special.intersection(ids[1:]):
            raise InputError('instruction', f'the instruction {instruction[:60]!r} holds a '
                                            'control token of the tokenizer')
        if ids[-1] != EMPTY_TOKEN:
            ids = [*ids, EMPTY_TOKEN]
        if len(ids) > self.max_tokens:
            raise InputError('instruction', f'the prompt has {len(ids)} tokens, the policy reads '
                                            f'at most {self.max_tokens}')
        return ids
