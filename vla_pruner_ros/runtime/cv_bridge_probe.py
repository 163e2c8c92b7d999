# SPDX-License-Identifier: Apache-2.0
"""cv_bridge where it is installed and proves itself; nobody is needed to configure it.

cv_bridge exists only in ROS installations, and some combinations with OpenCV 5, NumPy 2 or
big-endian images are broken.  So each encoding is tried once on a tiny padded image and handed to
cv_bridge only if every pixel comes out as ``image_decoding.py`` has it: images on a robot and in a
replay elsewhere stay the same.  Knows nothing about compressed images.
"""
from collections.abc import Callable
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

#: Encodings that cv_bridge is asked about.
CANDIDATES = ('rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8')
_PADDING = 3  # bytes after each row of the trial image


@lru_cache(maxsize=1)
def cv_bridge() -> Any | None:
    """Return a ``CvBridge``, or None where it is missing or cannot be imported."""
    try:
        from cv_bridge import CvBridge
        return CvBridge()
    except Exception:  # built for another NumPy or OpenCV: whatever it raises, it is no use
        return None


@cache
def converter(encoding: str, reference: Callable[[Any], np.ndarray]
              ) -> Callable[[Any], np.ndarray] | None:
    """Return cv_bridge's conversion of ``encoding`` to (H, W, 3) RGB, or None if it is no use.

    Args:
        encoding: of ``sensor_msgs/Image``.
        reference: our own conversion, which the trial has to equal.
    """
    bridge = cv_bridge() if encoding in CANDIDATES else None
    if bridge is None:
        return None

    def convert(message: Any) -> np.ndarray:
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, desired_encoding='rgb8'))

    trial = _trial(encoding)
    try:
        works = np.array_equal(convert(trial), reference(trial))
    except Exception:
        works = False
    return convert if works else None


def _trial(encoding: str) -> Any:
    """A 3 x 2 image with row padding and a different value in every byte."""
    channels = 1 if encoding.startswith('mono') else len(encoding.rstrip('8'))
    step = 3 * channels + _PADDING
    return SimpleNamespace(encoding=encoding, width=3, height=2, step=step, is_bigendian=0,
                           data=bytes((7 * i) % 256 for i in range(2 * step)))
