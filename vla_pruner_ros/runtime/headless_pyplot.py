# SPDX-License-Identifier: Apache-2.0
"""Matplotlib without a display, for reports."""
from pathlib import Path
from typing import Any

from vla_pruner_ros.core.errors import MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.runtime.output_files import written_aside


def pyplot(otherwise: str = '') -> Any:
    """Import ``matplotlib.pyplot``.

    Args:
        otherwise: what else the user can do where it is missing.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        hint = f' ({otherwise})' if otherwise else ''
        raise MissingDependencyError(
            f'plots need matplotlib{hint}: {how_to_install("matplotlib")}') from error
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    return plt


def save(figure: Any, path: Path) -> Path:
    """Write a picture, whole or not at all, and forget the figure; returns ``path``.

    Raises:
        OutputError: it cannot be written.
    """
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=110)
    pyplot().close(figure)
    return path
