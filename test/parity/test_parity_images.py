# SPDX-License-Identifier: Apache-2.0
"""Our crop and Lanczos resize against TensorFlow's (sampled pixels; see test/parity)."""
import numpy as np
from parity import cases
from parity.ours import golden
import pytest
from skipped import shared_file

from vla_pruner_ros.backends.openvla.image_preprocessing import crop_middle, lanczos

SIZES = dict(enumerate(cases.IMAGE_SIZES))


def difference(ours, theirs):
    """Largest and mean absolute difference in grey levels."""
    apart = np.abs(ours.astype(int) - theirs.astype(int))
    return apart.max(), apart.mean()


@pytest.mark.parametrize('index', SIZES)
def test_centre_crop_is_identical(index):
    ours = crop_middle(cases.image(index, 224, 224))
    assert difference(ours[::3, ::3], golden('images')[f'formula{index}/crop'])[0] == 0


def test_centre_crop_of_a_real_observation_is_identical():
    sample = np.load(shared_file('libero/libero_spatial_sample_observation.npz'))
    for name in ('full_image', 'wrist_image'):
        assert cases.digest(crop_middle(sample[name])) == str(golden('images')[f'libero/{name}'])


@pytest.mark.parametrize('index', SIZES)
def test_lanczos_is_within_a_grey_level_of_tensorflow(index):
    ours = lanczos(cases.image(index, *SIZES[index]), 224)[::5, ::5]
    worst, mean = difference(ours, golden('images')[f'formula{index}/lanczos'])
    assert worst <= 1 and mean < 0.01


def test_a_bilinear_resize_instead_of_lanczos_is_noticed():
    from PIL import Image
    picture = Image.fromarray(cases.image(0, *SIZES[0])).resize((224, 224), Image.BILINEAR)
    worst, mean = difference(np.asarray(picture)[::5, ::5], golden('images')['formula0/lanczos'])
    assert worst > 10 and mean > 0.1
