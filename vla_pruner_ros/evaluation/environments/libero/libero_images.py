# SPDX-License-Identifier: Apache-2.0
"""A LIBERO camera image as the published evaluations of OpenVLA and OpenVLA-OFT show it.

Both turn the picture by 180 degrees, send it through a JPEG of quality 95 (the training data were
stored so), and resize it to the policy's size with TensorFlow's ``lanczos3``.  Here that is done
without TensorFlow: Pillow writes the same JPEG to the byte, libjpeg-turbo's fast transform reads
it to the bit, and the resize repeats TensorFlow's float32 arithmetic.  The centre crop that
follows is an option of the policy (``center_crop``), not of the simulator.
"""
import ctypes
import ctypes.util
from functools import lru_cache
import io

import numpy as np

from vla_pruner_ros.core.errors import MissingDependencyError

QUALITY = 95
FOUR_TWO_ZERO = 2  # Pillow's number of the chroma subsampling
LOBES = np.float32(3)
PI = np.float32(3.14159265359)


def policy_image(camera: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) uint8 as LIBERO renders it -> (size, size, 3) uint8 as the policy sees it."""
    return lanczos3(jpeg_round_trip(upright(camera)), size)


def upright(camera: np.ndarray) -> np.ndarray:
    """Turn by 180 degrees, as the training data were."""
    return np.ascontiguousarray(camera[::-1, ::-1])


def jpeg_round_trip(image: np.ndarray) -> np.ndarray:
    """What TensorFlow's ``encode_jpeg`` and ``decode_image`` make of (H, W, 3) uint8.

    Raises:
        MissingDependencyError: Pillow or simplejpeg is not installed.
    """
    try:
        from PIL import Image
        import simplejpeg
    except ImportError as error:
        raise MissingDependencyError('LIBERO images go through a JPEG: pip install pillow '
                                     f'simplejpeg ({error})') from error
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, 'JPEG', quality=QUALITY, subsampling=FOUR_TWO_ZERO)
    return np.asarray(simplejpeg.decode_jpeg(stream.getvalue(), 'RGB', fastdct=True,
                                             fastupsample=False))


def lanczos3(image: np.ndarray, size: int) -> np.ndarray:
    """TensorFlow's antialiased ``lanczos3`` resize of (H, W, 3) uint8, rounded and clipped."""
    rows = _gather(image.astype(np.float32), *_spans(image.shape[0], size))
    columns = _gather(np.ascontiguousarray(rows.transpose(1, 0, 2)),
                      *_spans(image.shape[1], size))
    return np.asarray(np.clip(np.rint(columns.transpose(1, 0, 2)), 0, 255), np.uint8)


def _gather(image: np.ndarray, sources: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of rows: (n, ...), (taps, m), (taps, m) -> (m, ...); float32, tap by tap."""
    total = np.zeros((weights.shape[1],) + image.shape[1:], np.float32)
    for source, weight in zip(sources, weights):
        total += image[source] * weight[:, None, None]
    return total


@lru_cache(maxsize=8)
def _spans(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Source rows and weights, each (taps, size), of every row of a resized image."""
    one, half = np.float32(1), np.float32(0.5)
    step = np.float32(1.0 / float(np.float32(size) / np.float32(length)))
    scale = max(step, one)  # when it shrinks, the kernel is stretched
    centres = (np.arange(size, dtype=np.float32) + half) * step
    first = np.ceil(centres - LOBES * scale - half).clip(0, length - 1).astype(np.intp)
    last = np.floor(centres + LOBES * scale - half).clip(0, length - 1).astype(np.intp)
    sources = first + np.arange((last - first).max() + 1)[:, None]
    where = np.abs((sources.astype(np.float32) + half - centres) * (one / scale))
    weights = np.where((sources <= last) & (where <= LOBES), _kernel(where), np.float32(0))
    total = np.zeros(size, np.float32)
    for tap in weights:  # in this order, because float32 sums depend on it
        total += tap
    return np.minimum(sources, length - 1), weights * (one / total)


def _kernel(where: np.ndarray) -> np.ndarray:
    """Lanczos window in float32."""
    far = np.maximum(where, np.float32(1e-3))
    value = LOBES * _sine(PI * far) * _sine(PI * far / LOBES) / (PI * PI * far * far)
    return np.asarray(np.where(where <= np.float32(1e-3), np.float32(1), value))


def _sine(angles: np.ndarray) -> np.ndarray:
    """The C library's single-precision sine, because numpy's differs from it in the last bit."""
    sine = ctypes.CDLL(ctypes.util.find_library('m')).sinf
    sine.restype, sine.argtypes = ctypes.c_float, [ctypes.c_float]
    return np.array([sine(float(one)) for one in angles.flat], np.float32).reshape(angles.shape)
