"""What the simulator knows about a frame and the policy must learn to see (training labels).

The same five arrays for both robots, so that data, losses and training know no scene.
"""
from typing import Any, Dict

import numpy as np

from vla_pruner_ros.sim.geometry import project
from vla_pruner_ros.sim.robot import SimulatedRobot

MOST_OBJECTS = 5
TARGETS, HAND, OBJECTS = slice(0, 2), 2, slice(3, 3 + MOST_OBJECTS)  # rows of ``points``
GOAL_IS_TARGET = ('reach-v3',)  # elsewhere the object is what the hand must find
GOAL_IS_SECOND = ('push-v3',)  # the hand must find the object, then the goal


def frame_labels(robot: Any, image_size: int = 224) -> Dict[str, np.ndarray]:
    """Privileged labels of this instant.

    Args:
        robot: from ``robots.make_robot``.
        image_size: side of the camera images in pixels.

    Returns:
        ``places`` (2, 3): metres, what the hand must find first and second (the same one where
        there is only one).  ``points`` (C, 8, 3): per camera column, row (pixels) and depth
        (metres) of these two, of the hand and of up to five objects, NaN where there is none.
        ``colours``, ``shapes`` (5,): class of each object, -1 where unknown.
    """
    objects = np.full((MOST_OBJECTS, 3), np.nan)
    colours, shapes = np.full(MOST_OBJECTS, -1), np.full(MOST_OBJECTS, -1)
    if isinstance(robot, SimulatedRobot):
        goal, thing = robot.raw[-3:], robot.raw[4:7]
        first = goal if robot.task.name in GOAL_IS_TARGET else thing
        places = np.stack((first, goal if robot.task.name in GOAL_IS_SECOND else first))
        objects[:2] = places
        hand = robot.env.data.body('hand').xpos
    else:
        known = robot.privileged()
        places, count = np.asarray(known.targets), len(known.objects)
        objects[:count] = known.objects
        colours[:count], shapes[:count] = known.colours, known.shapes
        hand = robot.position
    world = np.vstack((places, hand[None], objects))
    views = [project(world, image_size) if isinstance(robot, SimulatedRobot)
             else robot.project(world, camera) for camera in robot.cameras]
    return {'places': places.astype(np.float32), 'points': np.stack(views).astype(np.float32),
            'colours': colours, 'shapes': shapes}
