# SPDX-License-Identifier: Apache-2.0
"""Matplotlib without a display, for reports."""
from typing import Any

from vla_pruner_ros.core.errors import MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install


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
