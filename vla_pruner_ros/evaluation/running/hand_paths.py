# SPDX-License-Identifier: Apache-2.0
"""End-effector paths: short texts for the journal, and how far two of them are apart."""
import base64
import binascii
from collections.abc import Sequence
import zlib

import numpy as np

RESOLUTION = 1e-4  # metres


def pack(points: Sequence[np.ndarray] | np.ndarray) -> str:
    """(T, 3) metres -> text; rounded to 0.1 mm, about 3 characters per point."""
    steps = np.rint(np.asarray(points, np.float64).reshape(-1, 3) / RESOLUTION).astype('<i4')
    # Differences are small numbers: transposed bytes put their zeros side by side.
    moves = np.diff(steps, axis=0, prepend=np.zeros((1, 3), '<i4')).astype('<i4')
    planes = moves.reshape(-1, 1).view(np.uint8).T
    return base64.b85encode(zlib.compress(planes.tobytes(), 9)).decode('ascii')


def unpack(text: str) -> np.ndarray:
    """Inverse of ``pack``: (T, 3) metres.

    Raises:
        ValueError: the text was not made by ``pack``.
    """
    try:
        planes = np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8)
        moves = np.ascontiguousarray(planes.reshape(4, -1).T).view('<i4').reshape(-1, 3)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(f'not a path: {error}') from error
    return np.cumsum(moves, axis=0) * RESOLUTION


def deviation(path: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Distance of two paths (T, 3), (R, 3) at the same control steps, in metres.

    Only the steps that both have are compared: an episode ends when its task is solved.

    Returns:
        ``mean`` and ``max`` over those steps.
    """
    common = min(len(path), len(reference))
    if not common:
        return {'mean': 0.0, 'max': 0.0}
    apart = np.linalg.norm(path[:common] - reference[:common], axis=1)
    return {'mean': float(apart.mean()), 'max': float(apart.max())}
