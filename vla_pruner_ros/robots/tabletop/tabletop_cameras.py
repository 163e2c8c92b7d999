# SPDX-License-Identifier: Apache-2.0
"""The tabletop's cameras: pictures and the projection of world points into them."""
import atexit
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots import offscreen_rendering as graphics

CAMERAS: tuple[str, ...] = ('front', 'wrist')


class Cameras:
    """Renders one model's cameras; the OpenGL context is made by the first picture.

    Args:
        model: the MuJoCo model.
        data: its state; pictures and projections use the poses of the latest forward pass.
        image_size: side of the square pictures in pixels.
    """

    def __init__(self, model: Any, data: Any, image_size: int):
        self.model, self.data, self.image_size = model, data, image_size
        self._renderer: Any = None

    def render(self, camera: str, data: Any = None) -> np.ndarray:
        """Picture (H, W, 3) uint8 RGB of this instant, or of another state of the model."""
        if self._renderer is None:
            self._open()
        self._renderer.update_scene(self.data if data is None else data, camera)
        image: np.ndarray = self._renderer.render()
        return image

    def project(self, points: np.ndarray, camera: str) -> np.ndarray:
        """Pixel coordinates of world points with the camera's present pose.

        Args:
            points: (..., 3) metres.
            camera: a name of ``CAMERAS``.

        Returns:
            (..., 3) column, row (pixels, the picture's corner is (0, 0); may lie outside) and
            distance along the optical axis in metres (negative behind the camera).

        Raises:
            ConfigError: unknown camera.
        """
        if camera not in CAMERAS:
            raise ConfigError(f'camera must be one of {", ".join(CAMERAS)}, got {camera!r}')
        number = self.model.camera(camera).id
        axes = self.data.cam_xmat[number].reshape(3, 3)  # columns: right, up, backward
        seen = (np.asarray(points, dtype=np.float64) - self.data.cam_xpos[number]) @ axes
        half = 0.5 * self.image_size
        focal = half / np.tan(np.radians(self.model.cam_fovy[number]) / 2)
        depth = -seen[..., 2]
        return np.stack((half + focal * seen[..., 0] / depth,
                         half - focal * seen[..., 1] / depth, depth), axis=-1)

    def _open(self) -> None:
        import mujoco
        self._renderer = graphics.open_renderer(self.model, self.image_size)
        atexit.register(self.close)  # a context freed by interpreter shutdown prints EGL errors
        for flag in (mujoco.mjtRndFlag.mjRND_SKYBOX, mujoco.mjtRndFlag.mjRND_HAZE):
            self._renderer.scene.flags[flag] = 0

    def close(self) -> None:
        """Free the OpenGL context; the next picture would make a new one."""
        renderer: Any | None = self._renderer
        self._renderer = None
        if renderer is not None:
            renderer.close()
            atexit.unregister(self.close)
