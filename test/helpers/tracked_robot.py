# SPDX-License-Identifier: Apache-2.0
"""A robot without physics that is where it was last told to be, for control cycles."""
from types import SimpleNamespace

import numpy as np

from vla_pruner_ros.robots.robot_interface import RobotObservation, StepResult

START = np.array([0.4, 0.0, 0.2])


class TrackedRobot:
    """Solved when the hand has gone 0.1 m along x; lost after ``limit`` steps of 50 ms."""

    cameras = ('front', 'wrist')
    orientation = np.array([1.0, 0.0, 0.0, 0.0])
    image_size = 8

    def __init__(self, limit: int = 40):
        self.task = SimpleNamespace(name='go', step_limit=limit)
        self.place, self.opening, self.time = START.copy(), 1.0, 0.0
        self.openings: list[float] = []
        self.drawn: list[tuple[str, float]] = []

    @property
    def step_count(self) -> int:
        return int(self.time / 0.05 + 1e-6)

    @property
    def success(self) -> bool:
        return bool(self.place[0] >= START[0] + 0.1)

    @property
    def truncated(self) -> bool:
        return not self.success and self.step_count >= self.task.step_limit

    @property
    def position(self) -> np.ndarray:
        return self.place.copy()

    def hand_state(self) -> tuple[np.ndarray, np.ndarray]:
        return self.position, np.zeros(3)

    def track(self, target: np.ndarray, opening: float, velocity: np.ndarray,
              seconds: float) -> StepResult:
        self.place, self.opening = np.array(target), opening
        self.openings.append(opening)
        self.time += seconds
        return StepResult(self.success, self.step_count, self.truncated)

    def sense(self) -> RobotObservation:
        return RobotObservation({}, self.position, self.opening, ('slide',),
                                np.array([self.place[0]]), self.time)

    def pictures(self):
        """A picture says at what time it was taken, in hundredths of a second."""
        taken = self.time

        def draw(camera):
            self.drawn.append((camera, taken))
            return np.full((8, 8, 3), round(100 * taken), np.uint8)
        return draw
