# SPDX-License-Identifier: Apache-2.0
"""LIBERO pictures against what TensorFlow 2.15 makes of them (digests of its answers)."""
import numpy as np
from parity import cases
import pytest
from skipped import shared_file

from vla_pruner_ros.evaluation.environments.libero.libero_images import (
    jpeg_round_trip,
    lanczos3,
    policy_image,
    upright,
)

#: tf.image.resize(..., 'lanczos3', antialias=True), rounded and clipped, of 256 x 256 pictures.
RESIZED = {160: ('57cdb359b9124eb1', '88db98dc113e2e8e', '82b4f016a4dacf56', '42f04587ac124895'),
           224: ('e123a449f8fc9cd5', 'f7efc2690160e51c', 'b4a86476a90ee10f', 'b2cd3239890f3f15'),
           300: ('ba989b0bbe0f4e09', '7a51b4706308fe55', '4d8c85184fa27014', '5f6cad22302b93e5')}
#: The published chain: [::-1, ::-1], encode_jpeg, decode_image, resize to 224.
PUBLISHED = ('75c28b76a8f9103b', 'c8d1e84f4829afe9', 'a901edfe00a15ea6', 'c44d30ee87fc223c')
#: Frame of a LIBERO rollout -> digests of the frame and of the published chain's answer.
ROLLOUT = {0: ('8d0decf271cfa973', '217e18db1c9778b6'), 40: ('ebcc56e9cafd37f5',
           '870733fe5355f94b'), 119: ('f5f6052360cd7c7b', 'eacce2f0f6569e37')}


@pytest.mark.parametrize('size', RESIZED)
@pytest.mark.parametrize('index', range(4))
def test_the_resize_is_tensorflows_to_the_bit(index, size):
    assert cases.digest(lanczos3(cases.image(index, 256, 256), size)) == RESIZED[size][index]


@pytest.mark.parametrize('index', range(4))
def test_the_whole_chain_is_the_published_one_to_the_bit(index):
    pytest.importorskip('simplejpeg')
    image = cases.image(index, 256, 256)
    assert cases.digest(policy_image(image, 224)) == PUBLISHED[index]
    # Each step counts.
    assert cases.digest(lanczos3(jpeg_round_trip(image), 224)) != PUBLISHED[index]
    assert cases.digest(lanczos3(upright(image), 224)) != PUBLISHED[index]


@pytest.mark.parametrize('frame', ROLLOUT)
def test_real_pictures_are_the_published_ones_to_the_bit(frame):
    pytest.importorskip('simplejpeg')
    from PIL import Image
    film = Image.open(shared_file('libero/starvla_libero.gif'))
    film.seek(frame)
    image = np.asarray(film.convert('RGB'))
    assert cases.digest(image) == ROLLOUT[frame][0]
    assert cases.digest(policy_image(image, 224)) == ROLLOUT[frame][1]


def test_a_picture_is_turned_not_mirrored():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert upright(image)[0, 0].tolist() == image[1, 2].tolist()
    assert upright(image)[0, 2].tolist() == image[1, 0].tolist()
