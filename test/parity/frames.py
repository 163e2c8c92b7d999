# SPDX-License-Identifier: Apache-2.0
"""Frames of the recorded robot video that some golden files were made from."""
from pathlib import Path

import numpy as np


def bridge_frames(video: Path, count: int) -> list[np.ndarray]:
    """First ``count`` frames, (H, W, 3) uint8 RGB.

    Raises:
        OSError: the video has fewer readable frames.
    """
    import cv2
    capture, frames = cv2.VideoCapture(str(video)), []
    try:
        while len(frames) < count:
            good, frame = capture.read()
            if not good:
                raise OSError(f'{video} has {len(frames)} readable frames, {count} are needed')
            frames.append(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        capture.release()
    return frames
