# SPDX-License-Identifier: Apache-2.0
"""Our free camera of the Meta-World robot, and where a point of the world appears in its image.

It stands in front of the robot, because from there the hand never hides the target and the unknown
depth along a viewing ray changes the target position least.
"""
import numpy as np

CAMERA = 'corner'  # its name
CAMERA_LOOKAT = (0.0, 0.75, 0.13)  # metres, middle of the work space
CAMERA_DISTANCE = 1.0  # metres
CAMERA_AZIMUTH = -65.0  # degrees
CAMERA_ELEVATION = -35.0  # degrees
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
