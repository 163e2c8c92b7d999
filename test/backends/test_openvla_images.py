# SPDX-License-Identifier: Apache-2.0
"""Image steps: Pillow's own answer, arithmetic by hand, and what the configuration must say."""
import json

import numpy as np
from openvla_checkpoint import write_checkpoint
import pytest
from skipped import shared_file

from vla_pruner_ros.backends.openvla.image_preprocessing import (
    bicubic,
    crop_middle,
    lanczos,
    read_transform,
)
from vla_pruner_ros.core.errors import ConfigError


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = write_checkpoint(tmp_path_factory.mktemp('c'))
    return json.loads((folder / 'preprocessor_config.json').read_text())


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('size', [(480, 640), (180, 320), (100, 100), (224, 224)])
def test_resizing_is_pillow_bicubic_to_a_square(config, size):
    from PIL import Image
    image = picture(*size)
    wanted = np.asarray(Image.fromarray(image).resize((224, 224), Image.BICUBIC))
    assert np.array_equal(read_transform(config).square(image), wanted)


def test_six_channels_are_normalised_with_the_stored_numbers(config):
    image = np.full((224, 224, 3), 255, np.uint8)
    image[..., 1] = 0
    channels = read_transform(config)(image)
    assert channels.shape == (6, 224, 224) and channels.dtype == np.float32
    # First tower: the means as stored, rounded to bfloat16; second tower: 0.5 and 0.5.
    wanted = [(1 - 0.484375) / 0.228515625, -0.455078125 / 0.2236328125,
              (1 - 0.40625) / 0.224609375, 1.0, -1.0, 1.0]
    assert channels[:, 7, 9] == pytest.approx(wanted, rel=1e-6)


def test_the_unrounded_means_would_give_other_numbers(config):
    exact = json.loads(json.dumps(config))
    exact['tvf_normalize_params'][0].update(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    image = picture(224, 224)
    difference = np.abs(read_transform(config)(image) - read_transform(exact)(image)).max()
    assert difference > 1e-3


def test_the_centre_crop_keeps_sqrt_of_nine_tenths_per_side():
    # Columns whose grey value is their index: it starts at 223 * (1 - sqrt(0.9)) / 2 = 5.722.
    image = np.repeat(np.arange(224, dtype=np.uint8)[None, :, None], 224, axis=0).repeat(3, axis=2)
    cropped = crop_middle(image)
    side = 0.9 ** 0.5
    first, last = 223 * (1 - side) / 2, 223 * (1 + side) / 2
    assert cropped.shape == image.shape
    assert abs(int(cropped[0, 0, 0]) - first) < 1 and abs(int(cropped[0, -1, 0]) - last) < 1
    # Cropping 0.9 per SIDE would start at 11.15.
    assert cropped[0, 0, 0] < 9
    assert np.array_equal(cropped[0], cropped[100])


def test_the_centre_crop_leaves_a_flat_image_as_it_is(config):
    image = np.full((224, 224, 3), 77, np.uint8)
    assert np.array_equal(crop_middle(image), image)
    transform = read_transform(config, center_crop=True)
    assert np.array_equal(transform.square(image), image)
    assert not np.array_equal(transform.square(picture(224, 224)), picture(224, 224))


def test_lanczos_keeps_flat_images_and_halves_a_checkerboard_to_grey():
    flat = np.full((480, 640, 3), 200, np.uint8)
    assert np.array_equal(lanczos(flat, 224), np.full((224, 224, 3), 200, np.uint8))
    board = (np.indices((448, 448)).sum(axis=0) % 2 * 255).astype(np.uint8)
    grey = lanczos(np.repeat(board[..., None], 3, axis=2), 224)[20:-20, 20:-20]
    assert np.abs(grey.astype(int) - 127).max() <= 2


def test_lanczos_is_within_two_of_pillow(config):
    from PIL import Image
    # Mid greys only: Pillow clips between its two passes, where the kernel overshoots.
    image = picture(360, 480) // 4 + 96
    ours = read_transform(config, resize='lanczos').square(image).astype(int)
    pillow = np.asarray(Image.fromarray(image).resize((224, 224), Image.LANCZOS)).astype(int)
    assert np.abs(ours - pillow).max() <= 2
    assert np.abs(bicubic(image, 224).astype(int) - pillow).max() > 2


@pytest.mark.parametrize('change, said', [
    ({'tvf_resize_params': None}, 'TypeError'), ({'tvf_do_letterbox': True}, 'letterbox'),
    ({'tvf_resize_params': [{'size': [224, 224], 'interpolation': 2}] * 2}, 'interpolations'),
    ({'tvf_resize_params': [{'size': [224, 200], 'interpolation': 3}] * 2}, 'square'),
    ({'tvf_resize_params': [{'size': 224, 'interpolation': 3}] * 2}, 'TypeError'),
    ({'tvf_normalize_params': [{'mean': [0.5] * 3, 'std': [0.0] * 3}] * 2}, 'positive')])
def test_other_image_handling_is_refused(config, change, said):
    with pytest.raises(ConfigError, match=said):
        read_transform({**config, **change})


def test_the_configuration_of_a_released_checkpoint_is_read():
    released = json.loads(shared_file('stats/preprocessor_config.json').read_text())
    transform = read_transform(released)
    assert transform.size == 224
    assert transform.means[0].tolist() == [0.484375, 0.455078125, 0.40625]
