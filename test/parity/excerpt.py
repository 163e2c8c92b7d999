# SPDX-License-Identifier: Apache-2.0
"""Single functions of official files whose other imports are not at hand."""
import ast
from collections.abc import Sequence
from pathlib import Path
import typing
from typing import Any


def function_of(path: Path, names: Sequence[str], **globals_: Any) -> dict[str, Any]:
    """Compile single functions of an official file whose other imports are not at hand.

    Args:
        path: the file.
        names: functions wanted.
        globals_: what these functions read from their module.
    """
    tree = ast.parse(path.read_text(encoding='utf-8'))
    tree.body = [one for one in tree.body
                 if isinstance(one, ast.FunctionDef) and one.name in names]
    space: dict[str, Any] = {**vars(typing), **globals_}
    exec(compile(tree, str(path), 'exec'), space)  # noqa: S102  (the official code, unchanged)
    return {name: space[name] for name in names}
