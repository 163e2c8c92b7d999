# SPDX-License-Identifier: Apache-2.0
"""Numbers in text that a person wrote: digits 0 to 9 and nothing else."""

DIGITS = 9  # int() itself refuses thousands of them with an error of its own


def whole_number(text: str) -> int | None:
    """The number that ``text`` is written as; ``None`` where it is none.

    ``str.isdigit`` alone accepts characters that ``int`` refuses (``²``), ``int`` alone accepts
    signs, spaces, underscores and digits of other scripts.
    """
    plain = text.isascii() and text.isdigit() and len(text) <= DIGITS
    return int(text) if plain else None


def layer_number(text: str) -> int | None:
    """N of ``layer:N``; ``None`` where ``text`` has another form."""
    head, _, number = text.partition(':')
    return whole_number(number) if head == 'layer' else None
