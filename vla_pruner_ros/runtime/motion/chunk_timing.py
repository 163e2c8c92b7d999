# SPDX-License-Identifier: Apache-2.0
"""When row 0 of a chunk is executed, and when the next observation is due.

``observation``  the rows are targets for the times after the observation: those that have passed
                 when the answer is there were covered by the chunk before, the new one is joined
                 at the right row.  For chunks that last clearly longer than the answer takes.
``answer``       the robot stands while the model thinks: row 0 begins when the answer is there, at
                 the planned speed, from where the robot is; the next observation is taken when the
                 motion is over (or ``max_overlap`` before).  For everything slower.
``auto``         decided from the measured delay: the rows of a chunk must cover the time until the
                 next answer, which is twice the delay after the observation.
"""
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec

SECOND = 10**9
#: A chunk must be longer than needed by this factor before ``observation`` comes back.
RETURN = 1.25
OBSERVATION, ANSWER = 'observation', 'answer'


class ChunkTiming:
    """Decides between the two, and how many rows are executed.

    Args:
        spec: rows and period of the policy.
        parameters: snapshot.

    Attributes:
        mode: ``'observation'`` or ``'answer'``.
    """

    def __init__(self, spec: PolicySpec, parameters: Parameters):
        self._row_ns = round(spec.control_dt * SECOND)
        self._rows = spec.action_horizon
        self.mode = OBSERVATION
        self.update(parameters, 0)

    def update(self, parameters: Parameters, delay_ns: int, frame_ns: int = 0) -> None:
        """Take parameters, the delay to plan for (95 %) and the period of the cameras; decide."""
        self._parameters = parameters
        self.delay_ns = delay_ns
        # A frame that is due comes up to one period later.
        self._lead_ns = round(parameters.min_lead * SECOND) + frame_ns
        if parameters.chunk_timing != 'auto':
            self.mode = parameters.chunk_timing
            return
        needed = 2 * delay_ns + self._lead_ns
        length = self._rows * self._row_ns
        if length < needed:
            self.mode = ANSWER
        elif length > RETURN * needed:
            self.mode = OBSERVATION

    @property
    def executed_rows(self) -> int:
        """Rows that are meant to be executed before the next chunk takes over."""
        return min(self._parameters.execution_horizon, self._rows)

    @property
    def lead_rows(self) -> int:
        """Rows that pass from the moment an observation is due until its answer can be sent."""
        return -(-(self.delay_ns + self._lead_ns) // self._row_ns)

    def next_due_ns(self, stamp_ns: int, coverage_ns: int | None) -> int:
        """Stamp from which on a frame is due after an observation at ``stamp_ns``.

        Args:
            stamp_ns: of the observation answered last.
            coverage_ns: until when rows have been sent; None: none have.
        """
        # Some slack for jitter, but a camera three times as fast must not squeeze a step in.
        horizon = stamp_ns + self.executed_rows * self._row_ns - self._row_ns // 4
        if coverage_ns is None:
            return horizon if self.mode == OBSERVATION else stamp_ns + 1
        if self.mode == ANSWER:
            return max(coverage_ns - round(self._parameters.max_overlap * SECOND), stamp_ns + 1)
        return max(min(horizon, coverage_ns - self.delay_ns - self._lead_ns), stamp_ns + 1)
