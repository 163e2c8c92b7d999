# SPDX-License-Identifier: Apache-2.0
"""Draws which visual tokens were kept over the camera image.

Dropped patches are dimmed and greyed, kept ones stay as they are and get a thin frame, so that one
look says what the policy saw.  Assumes that the policy sees the whole image (resized, not
cropped).
"""
from collections.abc import Sequence

import numpy as np

FRAME = np.array([64, 224, 96], np.uint8)
DIM = 0.35


def kept_mask(kept: Sequence[int], rows: int, cols: int, height: int, width: int) -> np.ndarray:
    """Return the (height, width) bool mask of pixels whose token was kept.

    Args:
        kept: indices in [0, rows * cols), row-major.
        rows: token rows of the image.
        cols: token columns.
        height: pixels.
        width: pixels.
    """
    grid = np.zeros(rows * cols, bool)
    grid[np.asarray(kept, np.int64)] = True
    down = np.arange(height) * rows // height
    across = np.arange(width) * cols // width
    return grid.reshape(rows, cols)[down][:, across]


def draw_overlay(image: np.ndarray, kept: Sequence[int], rows: int, cols: int) -> np.ndarray:
    """Return a copy of an RGB image with its dropped tokens dimmed and kept ones framed.

    Args:
        image: (H, W, 3) uint8.
        kept: indices of kept tokens, row-major in the (rows, cols) grid.
        rows: token rows of the image.
        cols: token columns.

    Returns:
        (H, W, 3) uint8, C-contiguous.
    """
    height, width = image.shape[:2]
    mask = kept_mask(kept, rows, cols, height, width)
    grey = image.mean(axis=2, keepdims=True) * DIM
    result = np.where(mask[..., None], image, grey.astype(np.uint8))
    if mask.all():
        return np.ascontiguousarray(result)
    down = np.arange(height) * rows // height
    across = np.arange(width) * cols // width
    # First pixel row / column of each patch; frames there separate neighbouring kept tokens.
    starts = (np.diff(down, prepend=-1) != 0)[:, None] | (np.diff(across, prepend=-1) != 0)[None]
    result[starts & mask] = FRAME
    return np.ascontiguousarray(result)


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Put RGB images of any heights beside each other, top-aligned on black."""
    height = max(image.shape[0] for image in images)
    sheet = np.zeros((height, sum(image.shape[1] for image in images), 3), np.uint8)
    left = 0
    for image in images:
        sheet[:image.shape[0], left:left + image.shape[1]] = image
        left += image.shape[1]
    return sheet
