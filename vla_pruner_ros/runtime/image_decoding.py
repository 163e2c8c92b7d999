# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs Image / CompressedImage -> (H, W, 3) uint8 RGB, contiguous.

One converter for live messages and bags, so that both give the same pixels on every machine.
cv_bridge does the encodings for which it proves itself where it is installed (see
cv_bridge_probe.py); row padding (``step``), byte order and 4:2:0 layouts are handled here
otherwise.  OpenCV, imported when first needed, converts YUV and Bayer images and decodes JPEG and
PNG.
Messages are read by attribute: rclpy and rosbags objects both work.
"""
from typing import Any, NamedTuple

import numpy as np

from vla_pruner_ros.core.errors import InputError, MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.runtime.cv_bridge_probe import converter

JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG', b'IEND'
TAIL = 64  # bytes searched for the end marker: some drivers pad the buffer


class _Layout(NamedTuple):
    """How one encoding lies in memory: bytes per sample, samples per pixel, what to do then."""

    width: int
    channels: int
    colour: str  # 'rgb', 'bgr', 'grey', or the name of an OpenCV conversion


# OpenCV names a Bayer pattern by its second row and column, ROS by its first two pixels.
_BAYER = {'rggb': 'BayerBG2RGB', 'bggr': 'BayerRG2RGB', 'gbrg': 'BayerGR2RGB',
          'grbg': 'BayerGB2RGB'}
_PACKED: dict[str, _Layout] = {
    'mono8': _Layout(1, 1, 'grey'), '8UC1': _Layout(1, 1, 'grey'), 'mono16': _Layout(2, 1, 'grey'),
    'yuv422': _Layout(1, 2, 'YUV2RGB_UYVY'), 'uyvy': _Layout(1, 2, 'YUV2RGB_UYVY'),
    'yuv422_yuy2': _Layout(1, 2, 'YUV2RGB_YUY2'), 'yuyv': _Layout(1, 2, 'YUV2RGB_YUY2'),
    **{f'{order}{8 * width}': _Layout(width, len(order), order[:3])
       for order in ('rgb', 'bgr', 'rgba', 'bgra') for width in (1, 2)},
    **{f'bayer_{pattern}{8 * width}': _Layout(width, 1, name)
       for pattern, name in _BAYER.items() for width in (1, 2)},
}
_PLANAR = {'nv12': 'YUV2RGB_NV12', 'nv21': 'YUV2RGB_NV21'}
ENCODINGS = tuple(sorted((*_PACKED, *_PLANAR)))


def to_rgb(message: Any) -> np.ndarray:
    """Convert one image message.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, not sharing memory that the message may free.

    Raises:
        InputError: ``empty_image``, ``unknown_encoding``, ``bad_step``, ``odd_size``,
            ``truncated_image`` or ``undecodable_image``.
        MissingDependencyError: OpenCV is needed and not installed.
    """
    data = np.frombuffer(message.data, np.uint8)
    if not hasattr(message, 'encoding'):
        return _decompress(data, str(message.format))
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    if encoding not in _PACKED and encoding not in _PLANAR:
        raise InputError('unknown_encoding', f'image encoding is {encoding!r}; accepted: '
                                             f'{", ".join(ENCODINGS)}')
    if height < 1 or width < 1:
        raise InputError('empty_image', f'image is {width} x {height} pixels; accepted: at least '
                                        '1 x 1')
    if encoding in _PLANAR:
        return _planar(data, encoding, height, width, int(message.step))
    layout = _PACKED[encoding]
    if layout.channels == 2 and width % 2:
        raise InputError('odd_size', f'{encoding} image is {width} pixels wide; accepted: an even '
                                     'number')
    rows = _rows(data, height, width * layout.width * layout.channels, int(message.step), encoding)
    bridge = converter(encoding, _unpack)
    return _unpack(message, rows) if bridge is None else bridge(message)


def _unpack(message: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """Pixels of a packed encoding whose size and length were checked."""
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    layout = _PACKED[encoding]
    if rows is None:
        rows = _rows(np.frombuffer(message.data, np.uint8), height,
                     width * layout.width * layout.channels, int(message.step), encoding)
    if layout.width == 2:
        rows = _to_8_bit(rows, bool(message.is_bigendian))
    pixels = rows.reshape(height, width, layout.channels)
    if layout.colour == 'rgb':
        return np.array(pixels[..., :3], order='C')
    if layout.colour == 'bgr':
        return np.array(pixels[..., 2::-1], order='C')
    if layout.colour == 'grey':
        return np.repeat(pixels, 3, axis=2)
    return _convert(pixels, layout.colour, encoding)


def _rows(data: np.ndarray, height: int, row: int, step: int, encoding: str) -> np.ndarray:
    """Bytes (height, row) without the padding; ``step`` 0 means that there is none."""
    step = step or row
    if step < row:
        raise InputError('bad_step', f'image step is {step} bytes; one row of {encoding} needs '
                                     f'{row}')
    needed = step * (height - 1) + row
    if data.size < needed:
        raise InputError('truncated_image', f'{encoding} image has {data.size} bytes; {needed} '
                                            'are needed')
    return np.lib.stride_tricks.as_strided(data, (height, row), (step, 1), writeable=False)


def _to_8_bit(rows: np.ndarray, big_endian: bool) -> np.ndarray:
    samples = np.ascontiguousarray(rows).view('>u2' if big_endian else '<u2').astype(np.uint32)
    return np.asarray((samples * 255 + 32767) // 65535, np.uint8)


def _planar(data: np.ndarray, encoding: str, height: int, width: int, step: int) -> np.ndarray:
    """4:2:0: a full-size Y plane, then a plane of interleaved U and V at half the size."""
    if height % 2 or width % 2:
        raise InputError('odd_size', f'{encoding} image is {width} x {height} pixels; accepted: '
                                     'even numbers')
    rows = _rows(data, height * 3 // 2, width, step, encoding)
    return _convert(rows, _PLANAR[encoding], encoding)


def _decompress(data: np.ndarray, name: str) -> np.ndarray:
    head, tail = bytes(data[:4]), bytes(data[-TAIL:]).rstrip(b'\0')
    if not head:
        raise InputError('empty_image', f'compressed image ({name!r}) has no data')
    if head.startswith(JPEG_START):
        complete = JPEG_END in tail
    elif head == PNG_START:
        complete = PNG_END in tail
    else:
        raise InputError('unknown_encoding', f'compressed image format is {name!r} and starts '
                                             f'with {head.hex()}; accepted: jpeg, png')
    # OpenCV fills the missing part of a cut-off JPEG with grey and calls that a success.
    if not complete:
        raise InputError('truncated_image', f'compressed image ({name!r}) ends after {data.size} '
                                            'bytes without its end marker')
    cv2 = _opencv()
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise InputError('undecodable_image', f'compressed image ({name!r}, {data.size} bytes) '
                                              'cannot be decoded; accepted: jpeg, png')
    return np.ascontiguousarray(image[..., ::-1])


def _convert(pixels: np.ndarray, conversion: str, encoding: str) -> np.ndarray:
    cv2 = _opencv()
    try:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels),
                                       getattr(cv2, f'COLOR_{conversion}')))
    except cv2.error as error:
        size: tuple[int, ...] = pixels.shape[:2]
        raise InputError('undecodable_image', f'{encoding} image of {size[1]} x {size[0]} cannot '
                                              f'be converted: {error}') from error


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError('OpenCV is needed for compressed, YUV and Bayer images: '
                                     f'{how_to_install("cv2")}') from error
    return cv2
