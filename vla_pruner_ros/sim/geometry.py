"""Where a point of the world appears in the camera image (privileged labels for training)."""
import numpy as np

from vla_pruner_ros.sim.robot import (
    CAMERA_AZIMUTH,
    CAMERA_DISTANCE,
    CAMERA_ELEVATION,
    CAMERA_LOOKAT,
)

FOVY = 45.0  # degrees, MuJoCo's default of a free camera


def project(points: np.ndarray, image_size: int = 224) -> np.ndarray:
    """Pixel coordinates of world points.

    Args:
        points: (..., 3) metres.
        image_size: side of the square image in pixels.

    Returns:
        (..., 3) column, row (pixels, may lie outside the image) and distance along the optical
        axis (metres).
    """
    azimuth, elevation = np.radians(CAMERA_AZIMUTH), np.radians(CAMERA_ELEVATION)
    forward = np.array([np.cos(azimuth) * np.cos(elevation),
                        np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    eye = np.asarray(CAMERA_LOOKAT) - CAMERA_DISTANCE * forward
    relative = np.asarray(points) - eye
    depth = relative @ forward
    focal = 0.5 * image_size / np.tan(np.radians(FOVY) / 2)
    half = 0.5 * image_size
    return np.stack((half + focal * (relative @ right) / depth,
                     half + focal * (relative @ down) / depth, depth), axis=-1)
