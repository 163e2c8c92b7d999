"""Recorded data that lies beside the checkout and never in it."""
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / 'shared' / 'data'


def shared_file(name: str) -> Path:
    """Path of a recorded file or directory, or skip the test where there is none."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f'recorded data is not beside this checkout: {name}')
    return path
