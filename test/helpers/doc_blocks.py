# SPDX-License-Identifier: Apache-2.0
"""Code blocks and inline commands of README.md and docs/*.md, as data; nothing is run here."""
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
import re
import shlex

from paths import ROOT

#: ``needs=WORD`` behind the language of a block -> why it is checked, but not run.
NEEDS = {'robot': 'a robot or a ROS installation', 'gpu': 'a GPU', 'download': 'a download',
         'checkpoint': 'a checkpoint', 'recording': 'a recording', 'hours': 'hours'}
LANGUAGES = ('bash', 'python', 'yaml', 'text')
COMMANDS = ('vla-pruner', 'python', 'python3', 'make', 'ros2', 'pip')
OPERATORS = re.compile(r'[&;|]+')


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, what it is, and its ``needs=`` (or '')."""

    page: str
    line: int
    language: str
    needs: str
    text: str

    def __str__(self):
        return f'{self.page}:{self.line}'


@dataclass(frozen=True)
class Command:
    """One command: its words, and the block it stands in (None: in running text)."""

    where: str
    words: tuple[str, ...]
    block: Block | None = None

    def __str__(self):
        return f'{self.where} {" ".join(self.words)}'[:80]


def pages() -> list[Path]:
    return [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def split_page(name: str, text: str) -> tuple[list[Block], str]:
    """The blocks of a page, and the page with empty lines in their place."""
    blocks, rest, block = [], [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r'\s*```(.*)', line)
        if block is None and fence:
            language, _, more = fence.group(1).partition(' ')
            needs = re.match(r'needs=(\S+)$', more)
            block = [number, language, needs.group(1) if needs else more, []]
        elif fence:
            blocks.append(Block(name, block[0], block[1], block[2], '\n'.join(block[3])))
            block = None
        elif block is not None:
            block[3].append(line)
        rest.append('' if fence or block else line)
    if block is not None:
        raise ValueError(f'{name}:{block[0]}: the block has no end')
    return blocks, '\n'.join(rest)


def all_blocks() -> list[Block]:
    return [block for path in pages()
            for block in split_page(str(path.relative_to(ROOT)), path.read_text())[0]]


def shell_commands(text: str) -> Iterator[tuple[str, ...]]:
    """Words of every command of a shell block; its own one-line variables are filled in."""
    text = text.replace('\\\n', ' ')
    for name, value in re.findall(r'^([A-Z]+)="([^"$]*)"$', text, re.M):
        text = re.sub(rf'^{name}=.*$', '', text, flags=re.M).replace(f'${name}', value)
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars='&;|')
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ';']:
            if not OPERATORS.fullmatch(word):
                words.append(word)
                continue
            while words and (words[0] == 'sudo' or re.match(r'\w+=', words[0])):
                words.pop(0)
            if words:
                yield tuple(words)
            words = []


def block_commands() -> list[Command]:
    return [Command(str(block), words, block) for block in all_blocks()
            if block.language == 'bash' for words in shell_commands(block.text)]


def inline_commands() -> list[Command]:
    """Commands in backticks in running text; one with '...' in it is an abbreviation."""
    found = []
    for path in pages():
        name = str(path.relative_to(ROOT))
        _, rest = split_page(name, path.read_text())
        for match in re.finditer(r'`([^`]+)`', rest):
            text = ' '.join(match.group(1).split())
            if text.split()[0] in COMMANDS and ' ' in text and '...' not in text:
                line = rest.count('\n', 0, match.start()) + 1
                found += [Command(f'{name}:{line}', words) for words in shell_commands(text)]
    return found
