# SPDX-License-Identifier: Apache-2.0
"""Success and failure of a tabletop episode, judged from hand, gripper and objects only."""
import numpy as np

from vla_pruner_ros.robots.tabletop.episode_placements import Episode
from vla_pruner_ros.robots.tabletop.tabletop_objects import touch_points, TOUCH_RADIUS

LIFT_HEIGHT = 0.06  # metres the named cube must rise
WRONG_LIFT = 0.02  # metres another cube may rise
BOWL_RADIUS = 0.035  # metres between the centres of cube and bowl, horizontally
RESTING_HEIGHT = 0.045  # metres; a cube in a bowl lies lower
OPEN = 0.65  # gripper opening above which a cube is let go
HELD_OPENING = 0.6  # gripper opening below which a cube can be held
HELD_DISTANCE = 0.025  # metres between the held cube's centre and the finger tips
HOLD_STEPS = 4  # control steps that the hand must stay with a ball that has stopped


class Judge:
    """Keeps the verdict on one episode.

    Attributes:
        success: the task is solved; stays true.
        failed: the task is lost (a wrong object was touched, lifted or filled); stays true.
        stage: how many goals of touch-two have been touched.
    """

    def __init__(self, task: str, episode: Episode):
        self.task = task
        self.episode = episode
        self.shapes = np.array([item.shape for item in episode.items])
        self.start_heights = np.array([item.position[2] for item in episode.items])
        self.success = self.failed = False
        self.stage = 0
        self._held = 0

    def touch(self, hand: np.ndarray, objects: np.ndarray) -> None:
        """Look at the hand (3,) and the objects' centres (M, 3) between two physics steps."""
        if self.success or self.failed or self.task in ('pick-colour', 'place-bowl'):
            return
        distance = np.linalg.norm(touch_points(objects, self.shapes) - hand, axis=1)
        touched = int(distance.argmin())
        if distance[touched] > TOUCH_RADIUS:
            return
        goals = self.episode.goals
        if touched == goals[min(self.stage, len(goals) - 1)]:
            if self.task != 'follow-moving':
                self.stage += 1
                self.success = self.stage == len(goals)
        elif touched not in goals[:self.stage]:  # a lamp that is lit may be touched again
            self.failed = True

    def finish_control_step(self, hand: np.ndarray, opening: float, objects: np.ndarray,
                            resting: bool) -> None:
        """Look at the state after a control step.

        Args:
            hand: (3,) metres.
            opening: share of 0.1 m.
            objects: centres (M, 3), metres.
            resting: the named object has finished its planned movement.
        """
        if self.success or self.failed:
            return
        goal = self.episode.goals[0]
        if self.task == 'follow-moving':
            point = touch_points(objects[goal], self.shapes[goal])
            near = resting and np.linalg.norm(point - hand) <= TOUCH_RADIUS
            self._held = self._held + 1 if near else 0
            self.success = self._held >= HOLD_STEPS
        elif self.task == 'pick-colour':
            rise = objects[:, 2] - self.start_heights
            self.success = bool(rise[goal] >= LIFT_HEIGHT)
            self.failed = not self.success and bool((np.delete(rise, goal) > WRONG_LIFT).any())
        elif self.task == 'place-bowl':
            filled = self._filled_bowl(opening, objects)
            self.success = filled == self.episode.goals[1]
            self.failed = filled > 0 and not self.success

    def _filled_bowl(self, opening: float, objects: np.ndarray) -> int:
        cube = objects[self.episode.goals[0]]
        distance = np.linalg.norm(objects[1:, :2] - cube[:2], axis=1)
        bowl = int(distance.argmin())
        inside = distance[bowl] <= BOWL_RADIUS and cube[2] < RESTING_HEIGHT
        return bowl + 1 if inside and opening > OPEN else 0
