# SPDX-License-Identifier: Apache-2.0
"""Resize and crop with the TensorFlow code of OpenVLA-OFT; keep samples of the pixels.

Needs TensorFlow and Pillow only.  With ``--observation`` the centre-cropped pictures of that
sample are also written as PNG files to ``--pictures``, for ``make_golden_oft.py --libero``.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from parity import cases
from parity.excerpt import function_of
from PIL import Image

FUNCTIONS = ('crop_and_resize', 'center_crop_image', 'resize_image_for_policy')


def main() -> None:
    """Write one archive of arrays."""
    import tensorflow as tf
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--source', type=Path, required=True,
                        help='official OpenVLA-OFT repository')
    parser.add_argument('--observation', type=Path,
                        help='libero_spatial_sample_observation.npz')
    parser.add_argument('--pictures', type=Path, help='folder for the cropped pictures')
    parser.add_argument('--output', type=Path, required=True)
    arguments = parser.parse_args()
    functions = function_of(
        arguments.source / 'experiments' / 'robot' / 'openvla_utils.py', FUNCTIONS,
        tf=tf, np=np, Image=Image, OPENVLA_IMAGE_SIZE=224)
    crop, resize = functions['center_crop_image'], functions['resize_image_for_policy']
    arrays = {'versions': np.array(json.dumps({'tensorflow': tf.__version__}))}
    for index, (height, width) in enumerate(cases.IMAGE_SIZES):
        picture = cases.image(index, height, width)
        plain = tf.image.resize(picture, (224, 224), method='lanczos3', antialias=True)
        plain = tf.cast(tf.clip_by_value(tf.round(plain), 0, 255), tf.uint8).numpy()
        arrays[f'formula{index}/lanczos'] = plain[::5, ::5]
        # With the JPEG round trip that the official code puts in front.
        arrays[f'formula{index}/resize_for_policy'] = resize(picture, 224)[::5, ::5]
        arrays[f'formula{index}/crop'] = np.asarray(
            crop(Image.fromarray(cases.image(index, 224, 224))))[::3, ::3]
    if arguments.observation:
        observation = np.load(arguments.observation)
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        for name in ('full_image', 'wrist_image'):
            picture = observation[name]
            if picture.shape != (224, 224, 3):
                raise SystemExit(f'{name} is {picture.shape}: the official code would resize it')
            cropped = crop(Image.fromarray(picture))
            cropped.save(arguments.pictures / f'{name}.png')
            arrays[f'libero/{name}'] = np.array(cases.digest(np.asarray(cropped)))
        np.save(arguments.pictures / 'state.npy', observation['state'])
    np.savez_compressed(arguments.output, **arrays)
    print(arguments.output, arguments.output.stat().st_size, 'bytes')


if __name__ == '__main__':
    main()
