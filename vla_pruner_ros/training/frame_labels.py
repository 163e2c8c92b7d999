# SPDX-License-Identifier: Apache-2.0
"""What the simulator knows about a frame and the policy must learn to see (training labels).

The same five arrays for both robots, so that data, losses and training know no scene.
"""

import numpy as np

from vla_pruner_ros.robots.robot_interface import Robot

MOST_OBJECTS = 5
TARGETS, HAND, OBJECTS = slice(0, 2), 2, slice(3, 3 + MOST_OBJECTS)  # rows of ``points``


def frame_labels(robot: Robot) -> dict[str, np.ndarray]:
    """Privileged labels of this instant.

    Args:
        robot: from ``robots.make_robot``.

    Returns:
        ``places`` (2, 3): metres, what the hand must find first and second (the same one where
        there is only one).  ``points`` (C, 8, 3): per camera column, row (pixels) and depth
        (metres) of these two, of the hand and of up to five objects, NaN where there is none.
        ``colours``, ``shapes`` (5,): class of each object, -1 where unknown.
    """
    objects = np.full((MOST_OBJECTS, 3), np.nan)
    colours, shapes = np.full(MOST_OBJECTS, -1), np.full(MOST_OBJECTS, -1)
    known = robot.privileged()
    count = len(known.objects)
    objects[:count] = known.objects
    colours[:count], shapes[:count] = known.colours, known.shapes
    world = np.vstack((known.targets, robot.position[None], objects))
    views = [robot.project(world, camera) for camera in robot.cameras]
    return {'places': known.targets.astype(np.float32),
            'points': np.stack(views).astype(np.float32), 'colours': colours, 'shapes': shapes}
