# SPDX-License-Identifier: Apache-2.0
"""Numbers and tables as text."""
from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown table."""
    return ['| ' + ' | '.join(cell.replace('|', r'\|') for cell in row) + ' |'
            for row in (head, ['---'] * len(head), *rows)]


def rate(one: dict[str, Any]) -> str:
    """``90.0 % (78.6-95.7) 45/50``."""
    if one['rate'] is None:
        return '-'
    low, high = one['interval']
    return (f'{100 * one["rate"]:.1f} % ({100 * low:.1f}-{100 * high:.1f}) '
            f'{one["successes"]}/{one["episodes"]}')


def share(one: dict[str, Any]) -> str:
    """``81.0 % 81/100``."""
    return ('-' if one['rate'] is None else
            f'{100 * one["rate"]:.1f} % {one["successes"]}/{one["episodes"]}')


def difference(one: dict[str, Any], scale: float = 100) -> str:
    """``-4.0 (-12.1 to +3.9)``; percentage points with the usual scale."""
    low, high = one['interval']
    return f'{scale * one["difference"]:+.1f} ({scale * low:+.1f} to {scale * high:+.1f})'


def p_value(one: dict[str, Any]) -> str:
    """Raw and adjusted."""
    return f'{one["p"]:.4f} ({one["p_holm"]:.4f})'


def percent(value: float | None) -> str:
    """Whole per cent up from 10, one digit below."""
    return '-' if value is None else f'{100 * value:.{0 if value >= 0.1 else 1}f} %'


def number(value: float | None, digits: int) -> str:
    """Fixed digits."""
    return '-' if value is None else f'{value:.{digits}f}'


def millimetres(value: float | None) -> str:
    """Metres -> millimetres."""
    return '-' if value is None else f'{1e3 * value:.1f}'


def unfinished(episodes: dict[str, Any]) -> str:
    """What to add to a heading while episodes are missing."""
    return '' if episodes['finished'] == episodes['planned'] else (
        f' **Unfinished: {episodes["finished"]} of {episodes["planned"]} episodes.**')
