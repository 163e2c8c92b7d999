# SPDX-License-Identifier: Apache-2.0
"""LIBERO itself, where it is installed: the first observation is OpenVLA-OFT's published one."""
import numpy as np
import pytest
from skipped import shared_file

from vla_pruner_ros.evaluation.environments.libero.libero_images import policy_image
from vla_pruner_ros.evaluation.environments.libero.libero_scene import proprioception, Scene


@pytest.mark.slow
def test_the_first_observation_is_the_published_sample():
    pytest.importorskip('libero', reason='LIBERO needs an environment of its own: docs/libero.md')
    pytest.importorskip('simplejpeg')
    sample = np.load(shared_file('libero/libero_spatial_sample_observation.npz'))
    scene = Scene('libero_spatial/0', ['primary', 'wrist'], [])
    try:
        scene.begin(0)
        assert scene.instruction == str(sample['task_description']) and scene.states == 50
        # Ten settling steps of contact physics, to the last digits.
        state = np.array(list(proprioception(scene.seen).values()))
        assert np.abs(state - sample['state']).max() < 1e-9
        for role, name in (('primary', 'full_image'), ('wrist', 'wrist_image')):
            image = policy_image(scene.image(role), 224)
            apart = np.abs(image.astype(int) - sample[name]).mean()
            turned = np.abs(image[::-1, ::-1].astype(int) - sample[name]).mean()
            assert apart < 3 and turned > 40  # another machine drew it
        scene.step([0.5, 0, 0, 0, 0, 0, 1], render=False)
        assert np.abs(np.array(list(proprioception(scene.seen).values())) - state).max() > 1e-3
        scene.begin(0)
        again = np.array(list(proprioception(scene.seen).values()))
        assert np.abs(again - state).max() == 0.0
    finally:
        scene.close()
