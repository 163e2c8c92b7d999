# SPDX-License-Identifier: Apache-2.0
"""Camera image -> the six channels that the two towers see.

The steps and their numbers come from the checkpoint's ``preprocessor_config.json`` (the
published means were rounded to bfloat16 when it was saved, so they must be read, not known).
Resizing is Pillow's bicubic to a square, aspect ratio not kept, bit for bit what the published
processor does; its float arithmetic is repeated in float32.

Checkpoints that were fine-tuned with random crops want ``center_crop``: the middle 0.9 of the
AREA (sqrt(0.9) per side), stretched back bilinearly.  ``lanczos`` resizes as the training
pipeline did, for cameras that do not deliver the policy's size.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install

PILLOW_BICUBIC = 3
CROP_AREA = 0.9
LANCZOS_LOBES = 3.0


@dataclass(frozen=True)
class ImageTransform:
    """Resize, optional crop, normalise.

    Attributes:
        size: pixels per side.
        means, stds: (2, 3) float32, one row per tower.
        center_crop: see the module docstring.
        resize: ``'bicubic'`` (the published processor) or ``'lanczos'``.
    """

    size: int
    means: np.ndarray
    stds: np.ndarray
    center_crop: bool = False
    resize: str = 'bicubic'

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Map (H, W, 3) uint8 to (6, size, size) float32."""
        pixels = self.square(image).astype(np.float32) / np.float32(255)
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (3, size, size)
        return np.concatenate([(pixels - mean[:, None, None]) / std[:, None, None]
                               for mean, std in zip(self.means, self.stds)])

    def square(self, image: np.ndarray) -> np.ndarray:
        """(size, size, 3) uint8, before normalisation."""
        if image.shape[:2] != (self.size, self.size):
            resize = lanczos if self.resize == 'lanczos' else bicubic
            image = resize(image, self.size)
        return crop_middle(image) if self.center_crop else image


def read_transform(config: Mapping[str, Any], center_crop: bool = False,
                   resize: str = 'bicubic') -> ImageTransform:
    """Make the transform of a ``preprocessor_config.json``.

    Raises:
        ConfigError: a field is missing, or asks for something else than a bicubic square resize.
    """
    try:
        sizes = [tuple(one['size']) for one in config['tvf_resize_params']]
        crops = [tuple(one['output_size']) for one in config['tvf_crop_params']]
        methods = [one['interpolation'] for one in config['tvf_resize_params']]
        means = np.array([one['mean'] for one in config['tvf_normalize_params']], np.float32)
        stds = np.array([one['std'] for one in config['tvf_normalize_params']], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError('preprocessor_config.json cannot be read: '
                          f'{type(error).__name__} {error}') from error
    side = sizes[0][0] if sizes and sizes[0] else 0
    if len(sizes) != 2 or sizes != crops or set(sizes) != {(side, side)}:
        raise ConfigError(f'preprocessor_config.json resizes to {sizes} and crops to {crops}; one '
                          'square for both towers is needed')
    if set(methods) != {PILLOW_BICUBIC} or config.get('tvf_do_letterbox'):
        raise ConfigError(f'preprocessor_config.json has interpolations {methods} and letterbox '
                          f'{config.get("tvf_do_letterbox")!r}; this backend resizes bicubically '
                          f'({PILLOW_BICUBIC}) without letterbox')
    if means.shape != (2, 3) or stds.shape != (2, 3) or not (stds > 0).all():
        raise ConfigError('preprocessor_config.json must have three means and three positive '
                          'deviations for each of two towers')
    return ImageTransform(int(side), means, stds, center_crop, resize)


def bicubic(image: np.ndarray, size: int) -> np.ndarray:
    """Resize (H, W, 3) uint8 with Pillow.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError('OpenVLA resizes images with Pillow, bit for bit as it was '
                                     f'trained: {how_to_install("PIL")}') from error
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((size, size), PILLOW_BICUBIC))


def crop_middle(image: np.ndarray) -> np.ndarray:
    """Middle ``CROP_AREA`` of a square (S, S, 3) uint8 image, stretched back bilinearly.

    Sample points are those of TensorFlow's ``crop_and_resize`` in float32 (corner pixels on
    corners, no smoothing), because the checkpoints were made with it.
    """
    size = image.shape[0]
    side = np.sqrt(np.float32(CROP_AREA))
    begin = (np.float32(1) - side) / np.float32(2)
    step = ((begin + side) - begin) * np.float32(size - 1) / np.float32(size - 1)
    where = begin * np.float32(size - 1) + np.arange(size, dtype=np.float32) * step
    low = np.floor(where).astype(np.intp)
    high = np.ceil(where).astype(np.intp)
    share = where - low.astype(np.float32)
    pixels = image.astype(np.float32) * np.float32(1 / 255)
    across = _mix(pixels[:, low], pixels[:, high], share[None, :, None])
    mixed = _mix(across[low], across[high], share[:, None, None])
    return (np.clip(mixed, 0, 1) * np.float32(255.5)).astype(np.uint8)


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + (second - first) * share


def lanczos(image: np.ndarray, size: int) -> np.ndarray:
    """Resize (H, W, 3) uint8 with a three-lobed Lanczos kernel, smoothed where it shrinks."""
    down, across = (_lanczos_weights(length, size) for length in image.shape[:2])
    columns = np.einsum('xw,hwc->hxc', across, image.astype(np.float32), optimize=True)
    mixed = np.einsum('yh,hxc->yxc', down, columns, optimize=True)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _lanczos_weights(length: int, size: int) -> np.ndarray:
    """(size, length) float32; every row sums to one."""
    scale = length / size
    width = max(scale, 1.0)
    centers = (np.arange(size) + 0.5) * scale
    distance = (np.arange(length)[None, :] + 0.5 - centers[:, None]) / width
    inside = np.abs(distance) < LANCZOS_LOBES
    weights = np.where(inside, np.sinc(distance) * np.sinc(distance / LANCZOS_LOBES), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
