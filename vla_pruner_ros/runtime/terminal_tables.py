# SPDX-License-Identifier: Apache-2.0
"""Tables and lines that fit the terminal; in a file or a pipe they stay whole."""
from collections.abc import Sequence
import shutil
import sys
import textwrap
from typing import TextIO

GAP = 2  # spaces between columns


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal that a stream writes to; None where it is none.

    Args:
        stream: None = standard output.
    """
    stream = stream or sys.stdout
    return shutil.get_terminal_size().columns if stream.isatty() else None


def table(head: Sequence[str], rows: Sequence[Sequence[str]], keys: int = 1, rule: bool = False,
          width: int | None = None) -> str:
    """Aligned columns; where they do not fit, several tables below one another.

    Args:
        head: names of the columns.
        rows: cells, as many as names.
        keys: so many columns tell the rows apart; left-aligned, and repeated in every part.
        rule: a line of dashes below the names.
        width: columns of the terminal; None = no limit.
    """
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, *([['-' * one for one in widths]] if rule else ()), *rows]
    parts = []
    for chosen in split(widths, keys, width):
        columns = [*range(keys), *chosen]
        parts.append('\n'.join((' ' * GAP).join(
            line[one].ljust(widths[one]) if one < keys else line[one].rjust(widths[one])
            for one in columns).rstrip() for line in lines))
    return '\n\n'.join(parts)


def split(widths: Sequence[int], keys: int, width: int | None) -> list[list[int]]:
    """Columns after the keys, in groups that fit beside the keys; at least one each."""
    start = sum(widths[:keys]) + GAP * keys - GAP
    groups: list[list[int]] = [[]]
    used = start
    for column in range(keys, len(widths)):
        used += GAP + widths[column]
        if width is not None and used > width and groups[-1]:
            groups.append([])
            used = start + GAP + widths[column]
        groups[-1].append(column)
    return groups


def wrapped(text: str, width: int | None = None, indent: str = '  ') -> str:
    """Every line broken at spaces where it is too long; what follows is indented."""
    if width is None:
        return text
    return '\n'.join('\n'.join(textwrap.wrap(
        line, max(width, 20), subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False, replace_whitespace=False, drop_whitespace=True)) or line
        for line in text.split('\n'))
