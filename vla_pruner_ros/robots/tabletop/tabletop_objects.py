# SPDX-License-Identifier: Apache-2.0
"""What lies on the table: shapes, colours, sizes and the point that counts as touching.

Only facts about single objects; where they lie in an episode is decided by ``episodes``.
"""

import numpy as np

SHAPES: tuple[str, ...] = ('cube', 'ball', 'post', 'bowl')
CUBE, BALL, POST, BOWL = range(4)
COLOURS: tuple[str, ...] = ('red', 'green', 'blue', 'yellow', 'lamp')
LAMP = 4  # the colour of a cube that has been touched
NAMED_COLOURS = 4  # the first so many may be named in an instruction

RGB: dict[int, tuple[float, float, float]] = {
    0: (0.85, 0.10, 0.10), 1: (0.10, 0.65, 0.15), 2: (0.10, 0.25, 0.90), 3: (0.95, 0.80, 0.05),
    LAMP: (0.92, 0.92, 0.92)}

HALF_WIDTH: dict[int, float] = {CUBE: 0.025, BALL: 0.025, POST: 0.015, BOWL: 0.048}  # metres
HALF_HEIGHT: dict[int, float] = {CUBE: 0.025, BALL: 0.025, POST: 0.045, BOWL: 0.015}  # metres
BOWL_WALL = 0.003  # metres, half the thickness of a bowl's wall and floor
WALL_HALF_SIZE = (0.006, 0.215, 0.08)  # metres, the wall that hides objects from the front
TOUCH_HEIGHT = 0.01  # metres above the middle of an object's top
TOUCH_RADIUS = 0.025  # metres around the touch point


def touch_points(centres: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The points (..., 3) that the hand must reach to touch objects with these centres."""
    points = np.array(centres, dtype=np.float64)
    points[..., 2] += np.array([HALF_HEIGHT[i] for i in range(len(SHAPES))])[shapes]
    points[..., 2] += TOUCH_HEIGHT
    return points
