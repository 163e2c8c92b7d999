# SPDX-License-Identifier: Apache-2.0
"""Recorded data that lies beside the checkout and never in it."""
from pathlib import Path

from paths import SHARED
import pytest


def shared_file(name: str) -> Path:
    """Path of a recorded file or directory, or skip the test where there is none."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f'recorded data is not beside this checkout: {name}')
    return path
