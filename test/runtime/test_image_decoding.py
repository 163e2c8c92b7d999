# SPDX-License-Identifier: Apache-2.0
"""Every image encoding a camera driver publishes, checked on pixel values written by hand."""
from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.runtime.image_decoding import to_rgb

cv2 = pytest.importorskip('cv2', reason='OpenCV is needed for YUV, Bayer and compressed images')

RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)
# ITU-R BT.601 limited range: (Y, U, V) of the colour above.
YUV = {RED: (81, 90, 240), GREEN: (145, 54, 34), WHITE: (235, 128, 128), BLACK: (16, 128, 128)}


def message(encoding, width, height, rows, step=0, big=0):
    nested = isinstance(rows, list) and rows and isinstance(rows[0], list)
    data = b''.join(bytes(row) for row in rows) if nested else bytes(rows)
    return SimpleNamespace(encoding=encoding, width=width, height=height, data=data, step=step,
                           is_bigendian=big)


def compressed(data, name='jpeg'):
    return SimpleNamespace(format=name, data=data)


@pytest.mark.parametrize('encoding, row', [
    ('rgb8', [10, 20, 30, 40, 50, 60]),
    ('bgr8', [30, 20, 10, 60, 50, 40]),
    ('rgba8', [10, 20, 30, 99, 40, 50, 60, 99]),
    ('bgra8', [30, 20, 10, 99, 60, 50, 40, 99]),
])
def test_channel_order_of_packed_colour(encoding, row):
    image = to_rgb(message(encoding, 2, 1, row, step=len(row)))
    assert image.tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert image.dtype == np.uint8 and image.flags.c_contiguous


def test_mono8_is_repeated_into_three_channels():
    assert to_rgb(message('mono8', 2, 1, [7, 200])).tolist() == [[[7] * 3, [200] * 3]]


@pytest.mark.parametrize('big, data', [(0, b'\x00\x00\xff\xff\x00\x80'),
                                       (1, b'\x00\x00\xff\xff\x80\x00')])
def test_mono16_keeps_its_high_byte_in_both_byte_orders(big, data):
    image = to_rgb(message('mono16', 3, 1, data, step=6, big=big))
    assert image[0, :, 0].tolist() == [0, 255, 128]


def test_mono16_in_the_wrong_byte_order_differs():
    image = to_rgb(message('mono16', 1, 1, b'\x00\x80', big=1))
    assert image[0, 0, 0] == 0  # 0x0080 of 65535: the control of the test above


def test_row_padding_is_skipped():
    rows = [[1, 2, 3, 4, 5, 6, 77, 77], [7, 8, 9, 10, 11, 12, 77, 77]]
    image = to_rgb(message('rgb8', 2, 2, rows, step=8))
    assert image.reshape(-1).tolist() == list(range(1, 13))


def test_last_row_may_lack_its_padding():
    image = to_rgb(message('mono8', 2, 2, [1, 2, 77, 77, 3, 4], step=4))
    assert image[..., 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize('encoding, order', [
    ('yuv422', (1, 0, 2, 0)), ('uyvy', (1, 0, 2, 0)),
    ('yuv422_yuy2', (0, 1, 0, 2)), ('yuyv', (0, 1, 0, 2))])
def test_yuv422_layouts(encoding, order):
    row = [YUV[colour][index] for colour in (RED, GREEN) for index in order]
    image = to_rgb(message(encoding, 4, 1, row))
    np.testing.assert_allclose(image[0], [RED, RED, GREEN, GREEN], atol=2)


def test_yuv422_has_padding_too():
    row = [YUV[WHITE][index] for index in (1, 0, 2, 0)]
    image = to_rgb(message('yuv422', 2, 2, [row + [0, 0], row + [0, 0]], step=6))
    np.testing.assert_allclose(image, np.full((2, 2, 3), 255), atol=2)


@pytest.mark.parametrize('encoding, order', [('nv12', (1, 2)), ('nv21', (2, 1))])
@pytest.mark.parametrize('padding', [0, 3])
def test_420_layouts(encoding, order, padding):
    pad = [77] * padding
    luma = [YUV[RED][0]] * 2 + [YUV[GREEN][0]] * 2 + pad
    chroma = [YUV[colour][index] for colour in (RED, GREEN) for index in order] + pad
    image = to_rgb(message(encoding, 4, 2, [luma, luma, chroma], step=4 + padding))
    np.testing.assert_allclose(image, [[RED, RED, GREEN, GREEN]] * 2, atol=2)


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns(pattern):
    value = {'r': 200, 'g': 100, 'b': 50}
    tile = [[value[pattern[0]], value[pattern[1]]], [value[pattern[2]], value[pattern[3]]]]
    rows = np.tile(np.array(tile, np.uint8), (3, 3)).tobytes()
    image = to_rgb(message(f'bayer_{pattern}8', 6, 6, rows, step=6))
    assert (image == (200, 100, 50)).all()
    wrong = to_rgb(message('bayer_bggr8' if pattern == 'rggb' else 'bayer_rggb8', 6, 6, rows))
    assert not (wrong == (200, 100, 50)).all()


@pytest.mark.parametrize('extension, name, tolerance',
                         [('.png', 'rgb8; png compressed bgr8', 0), ('.jpg', 'jpeg', 6)])
def test_compressed_images_come_out_as_rgb(extension, name, tolerance):
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:, :8] = RED
    data = cv2.imencode(extension, picture[..., ::-1])[1].tobytes()
    image = to_rgb(compressed(data, name))
    assert image.flags.c_contiguous
    np.testing.assert_allclose(image[8, 2], RED, atol=tolerance)
    np.testing.assert_allclose(image[8, 13], BLACK, atol=tolerance)


@pytest.mark.parametrize('data', [array('B', [1, 2, 3]), np.array([1, 2, 3], np.uint8), b'\1\2\3'])
def test_any_buffer_type_works(data):
    raw = SimpleNamespace(encoding='rgb8', width=1, height=1, data=data, step=3, is_bigendian=0)
    assert to_rgb(raw).tolist() == [[[1, 2, 3]]]


def broken_jpeg(share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode('.jpg', noise)[1].tobytes()
    return data[:int(len(data) * share)]


@pytest.mark.parametrize('bad, reason, words', [
    (message('rgb9', 1, 1, [0]), 'unknown_encoding', "'rgb9'; accepted: "),
    (message('rgb8', 0, 4, []), 'empty_image', '0 x 4'),
    (message('rgb8', 2, 2, [0] * 11), 'truncated_image', '11 bytes; 12'),
    (message('nv12', 4, 4, [0] * 16), 'truncated_image', '16 bytes; 24'),
    (message('rgb8', 2, 1, [0] * 6, step=5), 'bad_step', '5 bytes'),
    (message('yuv422', 3, 1, [0] * 6), 'odd_size', '3 pixels'),
    (message('nv21', 4, 3, [0] * 18), 'odd_size', '4 x 3'),
    (compressed(b''), 'empty_image', 'no data'),
    (compressed(b'GIF89a', 'gif'), 'unknown_encoding', "'gif'"),
    (compressed(broken_jpeg(0.5)), 'truncated_image', 'without its end marker'),
    (compressed(broken_jpeg(0.01)), 'truncated_image', 'without its end marker'),
    (compressed(b'\xff\xd8garbage\xff\xd9'), 'undecodable_image', 'cannot be decoded'),
])
def test_unusable_images_are_refused_with_a_named_reason(bad, reason, words):
    with pytest.raises(InputError, match=words) as caught:
        to_rgb(bad)
    assert caught.value.reason == reason


def test_a_padded_jpeg_is_complete():
    assert to_rgb(compressed(broken_jpeg(1.0) + bytes(30))).shape == (64, 64, 3)
