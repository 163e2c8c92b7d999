# SPDX-License-Identifier: Apache-2.0
"""Absolute targets for the Meta-World hand, which otherwise is moved by differences.

The hand hangs on a soft weld to a body without mass that goes where it is put.  By itself it hangs
a little below that body and follows late, so one that is sent where it was measured would sink
with every chunk.  A robot's own controller removes both, and so does this: the body is put where
the hand comes to be at the target.
"""
from typing import Any

import numpy as np

from vla_pruner_ros.robots.robot_interface import ACTION_SCALE
from vla_pruner_ros.robots.tasks import CONTROL_DT

#: Metres from the body to the hand at rest, with the fingers open.
SAG = np.array([0.0, 0.0002, -0.0038])
#: Seconds that the hand is behind a body that moves along each axis.
LAG = np.array([0.047, 0.057, 0.072])
#: Metres per second and axis: what an action of 1 moves the body by.
FASTEST = ACTION_SCALE / CONTROL_DT
#: Where the body may be, in all tasks used here, and so the hand.
BODY_LOW, BODY_HIGH = np.array([-0.5, 0.4, 0.05]), np.array([0.5, 1.0, 0.5])
WORKSPACE_LOW, WORKSPACE_HIGH = BODY_LOW + SAG, BODY_HIGH + SAG
#: Metres and radians that the hand may be off while all is well: what is in its way holds it back
#: and tilts it.
TOLERANCE = (0.15, 0.15, 0.15, 3.2, 3.2, 3.2)


class HandTracking:
    """Puts the body that the hand hangs on.

    Args:
        env: of Meta-World.
    """

    def __init__(self, env: Any):
        self._env = env

    def move(self, target: np.ndarray, velocity: np.ndarray, ahead: float,
             seconds: float) -> None:
        """Bring the body nearer to where the hand is at its target, no faster than an action can.

        Args:
            target: (3,) metres, where the hand shall be some time from now.
            velocity: (3,) m/s, how the target moves.
            ahead: seconds until then, with the opposite sign.
            seconds: until the next call.
        """
        env = self._env
        here = env.data.mocap_pos[0]
        wanted = target - SAG + (LAG + ahead) * np.clip(velocity, -FASTEST, FASTEST)
        wanted = np.clip(wanted, BODY_LOW, BODY_HIGH)
        env.data.mocap_pos[0] = here + np.clip(wanted - here, -FASTEST * seconds,
                                               FASTEST * seconds)
        env.data.mocap_quat[:] = (1, 0, 1, 0)
