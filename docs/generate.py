# SPDX-License-Identifier: Apache-2.0
"""Writes what the documentation says by itself: ``make docs``, or ``python docs/generate.py``.

From the table of parameters: ``config/pruned_policy.yaml`` and the tables in docs/parameters.md.
From the first sentence of every module: the file tree in docs/structures.md, the rooms in
README.md.  In Markdown only what stands between ``<!-- generated NAME -->`` and
``<!-- end of NAME -->`` is replaced.  A test holds that nothing here is out of date.
"""
import ast
from collections.abc import Iterator
from pathlib import Path
import sys

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'vla_pruner_ros'
#: The rooms as they build on each other; one that is not named here comes last.
ORDER = ('core', 'backends', 'hf', 'runtime', 'robots', 'ros', 'replay', 'training', 'statistics',
         'evaluation', 'bench', 'check', 'demo', 'cli')
WIDTH = 36  # columns of the names in the file tree


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, '' where there is none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    return text.split('\n\n')[0].replace('\n', ' ').split('. ')[0].rstrip('.:')


def folders(path: Path) -> list[Path]:
    """Packages inside a package, in order."""
    rank = {name: number for number, name in enumerate(ORDER)}
    return sorted((one.parent for one in path.glob('*/__init__.py')),
                  key=lambda one: (rank.get(one.name, len(rank)), one.name))


def tree(path: Path = PACKAGE, depth: int = 0) -> Iterator[str]:
    """One line per package and module: files first, then folders."""
    yield line(f'{path.name}/', first_sentence(path / '__init__.py'), depth)
    for one in sorted(path.glob('*.py')):
        if one.name != '__init__.py':
            yield line(one.name, first_sentence(one), depth + 1)
    for folder in folders(path):
        yield from tree(folder, depth + 1)


def line(name: str, words: str, depth: int) -> str:
    """A name, indented, and what it is."""
    return f'{"  " * depth + name:{WIDTH}} {words}'.rstrip()


def rooms() -> Iterator[str]:
    """One line per top folder of the package."""
    for folder in folders(PACKAGE):
        yield f'  {folder.name + "/":13} {first_sentence(folder / "__init__.py")}'.rstrip()


def between(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between the two markers called ``name``.

    Raises:
        ValueError: the markers are not there, or not once.
    """
    begin, end = f'<!-- generated {name} -->\n', f'<!-- end of {name} -->'
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f'the markers {begin.strip()!r} and {end!r} must be there once each')
    head, rest = text.split(begin)
    return head + begin + content.strip('\n') + '\n' + end + rest.split(end)[1]


def pages() -> Iterator[tuple[Path, str]]:
    """Every file that is made here, with what it must hold."""
    from vla_pruner_ros.runtime.parameter_files import markdown, render

    def page(name: str, region: str, content: str) -> tuple[Path, str]:
        path = ROOT / name
        return path, between(path.read_text(encoding='utf-8'), region, content)

    yield ROOT / 'config' / 'pruned_policy.yaml', render()
    yield page('docs/parameters.md', 'parameters', markdown())
    yield page('docs/structures.md', 'files', '```text\n' + '\n'.join(tree()) + '\n```')
    yield page('README.md', 'rooms', '```text\nvla_pruner_ros/\n' + '\n'.join(rooms()) + '\n```')


def main() -> int:
    """Write what has changed, and name it."""
    for path, text in pages():
        if not path.is_file() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')
            print(f'written: {path.relative_to(ROOT)}')
    return 0


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
