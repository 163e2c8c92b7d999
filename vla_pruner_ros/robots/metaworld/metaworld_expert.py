# SPDX-License-Identifier: Apache-2.0
"""Scripted experts: Meta-World's own policies, asked at 80 Hz, labelled at 20 Hz.

The expert sees privileged state (object and goal positions), never pixels.  One control step is
four Meta-World steps; the robot's ``demonstrate`` asks the expert before each of the four, and the
label of the control step is the mean of the four clipped answers.  That mean moves the hand target
exactly as far as the four single actions, so a policy that repeats the label four times follows
the same path.
"""
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.tasks import get_task


class ReachExpert:
    """Bring the point between the fingers to the ball.

    Meta-World's own reach expert brings the wrist there, which leaves the fingers 45 mm below the
    ball: inside the success radius of 50 mm by so little that a policy with 1 cm of error fails.
    """

    FINGERS_TO_HAND = np.array([0.0, 0.0, 0.045])  # metres
    GAIN = 5.0

    def get_action(self, raw: np.ndarray) -> np.ndarray:
        """Proportional control towards the goal, gripper idle."""
        error = raw[-3:] + self.FINGERS_TO_HAND - raw[:3]
        return np.append(self.GAIN * error, 0.0)


def make_expert(task: str) -> Any:
    """The scripted policy of a task; has ``get_action(raw_state) -> (4,)``."""
    import metaworld.policies as policies
    get_task(task)
    if task == 'reach-v3':
        return ReachExpert()
    stem = ''.join(part.capitalize() for part in task.split('-'))
    name = f'Sawyer{stem}Policy'
    if not hasattr(policies, name):
        raise ConfigError(f'Meta-World has no scripted expert {name} for task {task!r}')
    return getattr(policies, name)()


def expert_substep(expert: Any, raw: np.ndarray) -> np.ndarray:
    """One clipped 80 Hz expert action (4,) float64."""
    import warnings
    with warnings.catch_warnings():  # the experts warn whenever they saturate, which is often
        warnings.simplefilter('ignore')
        return np.clip(np.asarray(expert.get_action(raw), dtype=np.float64), -1.0, 1.0)
