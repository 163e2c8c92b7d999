# SPDX-License-Identifier: Apache-2.0
"""cv_bridge is used where it gives the right pixels, and only there."""
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from vla_pruner_ros.runtime import cv_bridge_probe as bridge
from vla_pruner_ros.runtime.image_decoding import to_rgb

BGR = SimpleNamespace(encoding='bgr8', width=2, height=1, step=8, is_bigendian=0,
                      data=bytes([3, 2, 1, 6, 5, 4, 99, 99]))
RIGHT = [[[1, 2, 3], [4, 5, 6]]]


class GoodBridge:
    """Converts bgr8 as the real one does, and counts."""

    calls = 0

    def imgmsg_to_cv2(self, message, desired_encoding):
        GoodBridge.calls += 1
        assert desired_encoding == 'rgb8'
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        pixels = rows[:, :message.width * 3].reshape(message.height, message.width, 3)
        return pixels[..., ::-1]


class PaddingBlind:
    """Forgets that rows may be padded."""

    def imgmsg_to_cv2(self, message, desired_encoding):
        size = message.height * message.width * 3
        pixels = np.frombuffer(message.data, np.uint8)[:size]
        return pixels.reshape(message.height, message.width, 3)[..., ::-1]


class BrokenByOpenCV5:
    """What cv_bridge does with an OpenCV it was not built for."""

    def __init__(self):
        raise KeyError(16)


class FailsOnUse:
    """Imports, then fails."""

    def imgmsg_to_cv2(self, message, desired_encoding):
        raise SystemError('built for another NumPy')


@pytest.fixture
def install(monkeypatch):
    def put(kind):
        module = ModuleType('cv_bridge')
        module.CvBridge = kind
        monkeypatch.setitem(sys.modules, 'cv_bridge', module)
        bridge.cv_bridge.cache_clear()
        bridge.converter.cache_clear()
    yield put
    bridge.cv_bridge.cache_clear()
    bridge.converter.cache_clear()


def test_a_working_cv_bridge_converts_the_image(install):
    install(GoodBridge)
    GoodBridge.calls = 0
    assert to_rgb(BGR).tolist() == RIGHT
    assert GoodBridge.calls == 2  # the trial and the image
    assert to_rgb(BGR).flags.c_contiguous
    assert GoodBridge.calls == 3  # no second trial


@pytest.mark.parametrize('kind', [PaddingBlind, BrokenByOpenCV5, FailsOnUse])
def test_a_cv_bridge_that_fails_its_trial_is_not_used(install, kind):
    install(kind)
    assert to_rgb(BGR).tolist() == RIGHT
    assert bridge.converter('bgr8', lambda message: np.zeros(0)) is None


def test_encodings_that_cv_bridge_handles_differently_stay_ours(install):
    install(GoodBridge)
    GoodBridge.calls = 0
    grey = SimpleNamespace(encoding='mono16', width=1, height=1, step=2, is_bigendian=1,
                           data=b'\xff\xff')
    assert to_rgb(grey).tolist() == [[[255, 255, 255]]]
    assert GoodBridge.calls == 0
