# SPDX-License-Identifier: Apache-2.0
"""What the gripper is told: open or closed with hysteresis, or every position between.

A decision is made once per row and never averaged.  What a chunk decided counts only when the
chunk was sent (``commit``): one that is dropped leaves the gripper's memory as it was.
"""
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec


@dataclass(frozen=True)
class GripperRows:
    """Decisions for the rows of one chunk.

    Attributes:
        before: published position before row 0.
        positions: (H,) published positions; None where the policy has no gripper.
        opened: state after the rows that are executed; None: not decided.
        position: continuous position after them; None: not continuous.
    """

    before: float
    positions: np.ndarray | None
    opened: bool | None = None
    position: float | None = None


class GripperDecision:
    """Remembers what the gripper was last told.

    Args:
        spec: gripper column and values of the policy.
    """

    def __init__(self, spec: PolicySpec):
        self._spec = spec
        self._open: bool | None = None
        self._position: float | None = None  # of a continuous gripper

    def forget(self) -> None:
        """Forget what it was told."""
        self._open = self._position = None

    def commit(self, rows: GripperRows) -> None:
        """The chunk with these decisions was sent."""
        self._open, self._position = rows.opened, rows.position

    def decide(self, actions: np.ndarray, parameters: Parameters) -> GripperRows:
        """Decide for the rows of a chunk (H, D); nothing is remembered yet."""
        spec = self._spec
        if spec.gripper_index is None:
            return GripperRows(0.0, None)
        share = (actions[:, spec.gripper_index] - spec.gripper_closed) / (
            spec.gripper_open - spec.gripper_closed)
        last = min(parameters.execution_horizon, len(share)) - 1  # row that is executed last
        if parameters.gripper_mode == 'continuous' or (parameters.gripper_mode == 'auto'
                                                       and spec.gripper_continuous):
            positions = parameters.gripper_closed + np.clip(share, 0.0, 1.0) * (
                parameters.gripper_open - parameters.gripper_closed)
            start = positions[0] if self._position is None else self._position
            return GripperRows(float(start), positions, self._open, float(positions[last]))
        state = self._open if self._open is not None else bool(share[0] >= 0.5)
        values = {True: parameters.gripper_open, False: parameters.gripper_closed}
        before, out, after = values[state], np.empty(len(share)), self._open
        for row, one in enumerate(share):
            if one > 0.5 + parameters.gripper_hysteresis:
                state = True
            elif one < 0.5 - parameters.gripper_hysteresis:
                state = False
            out[row] = values[state]
            if row == last:
                after = state
        return GripperRows(before, out, after, self._position)
