# SPDX-License-Identifier: Apache-2.0
"""Physics has its own time step; a controller has another: how many steps are due."""
from collections.abc import Iterator

from vla_pruner_ros.robots.tasks import CONTROL_DT

SECOND = 10**9


class PhysicsClock:
    """Counts simulated time in whole physics steps; what is left over is due later.

    Args:
        timestep: of the physics, seconds.

    Attributes:
        steps: physics steps since the reset.
    """

    def __init__(self, timestep: float):
        self._step_ns = round(timestep * SECOND)
        #: Physics steps of one control step of a policy.
        self.per_control_step = round(CONTROL_DT * SECOND) // self._step_ns
        self.reset()

    def reset(self) -> None:
        """An episode begins."""
        self.steps = 0
        self._owed_ns = 0

    def due(self, seconds: float) -> Iterator[float]:
        """Physics steps to make in the next ``seconds``, one after the other.

        Yields:
            Seconds from the middle of the step to the end of that time (negative).
        """
        self._owed_ns += round(seconds * SECOND)
        while self._owed_ns >= self._step_ns:
            yield (self._step_ns // 2 - self._owed_ns) / SECOND
            self._owed_ns -= self._step_ns
            self.steps += 1

    @property
    def owed(self) -> float:
        """Seconds that have passed and are no whole step yet."""
        return self._owed_ns / SECOND

    @property
    def control_steps(self) -> int:
        """Whole control steps that have passed."""
        return self.steps // self.per_control_step

    def at_control_step(self, part: int = 1) -> bool:
        """Whether a control step (or one of its ``part`` equal parts) has just ended."""
        return self.steps % (self.per_control_step // part) == 0
