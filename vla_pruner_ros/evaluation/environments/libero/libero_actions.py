# SPDX-License-Identifier: Apache-2.0
"""What LIBERO's controller is told for a policy's chunk: bit for bit the published numbers.

The published evaluations un-normalise an action with the data set's statistics and hand its
first six numbers to the controller as they are: full scale 1 is 5 cm and half a radian per step,
what is beyond is cut by the controller.  This package's chunks are metres and radians, and
0.05 x / 0.05 is not always x; so a chunk also carries the policy's own numbers, which are taken
wherever the metres and radians are exactly theirs.  Where a limit has changed a value, or a
policy has other units, the metres and radians count.
"""
import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.types import ActionChunk, PolicySpec
from vla_pruner_ros.evaluation.environments.libero.libero_tasks import CONTROL_RATE

#: One unit of each number of an action: metres, radians, and the gripper as it is.
FULL_SCALE = np.array([0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0])
#: The robot does nothing and its gripper opens.
IDLE = (0, 0, 0, 0, 0, 0, -1)
ACTION_SIZE = 7


def check_actions(spec: PolicySpec) -> None:
    """Refuse a policy that cannot drive LIBERO's robot.

    Raises:
        ConfigError: says what it gives and what is needed.
    """
    if (spec.action_kind, len(spec.action_names), spec.gripper_index) != (
            'ee_delta', ACTION_SIZE, ACTION_SIZE - 1):
        raise ConfigError(f'policy {spec.name!r} gives {spec.action_kind} actions '
                          f'({", ".join(spec.action_names)}); LIBERO accepts ee_delta actions of '
                          'six numbers and the gripper')
    if abs(spec.control_dt * CONTROL_RATE - 1.0) > 1e-6:
        raise ConfigError(f'policy {spec.name!r} runs at {1 / spec.control_dt:g} Hz; LIBERO at '
                          f'{CONTROL_RATE:g}. If it was trained for LIBERO, set control_rate to '
                          f'{CONTROL_RATE:g}')


def commands(chunk: ActionChunk, spec: PolicySpec) -> np.ndarray:
    """(H, 7) float64 for LIBERO's ``step``; the gripper is -1 open, 1 closed, 0 half way."""
    rows = np.asarray(chunk.actions / FULL_SCALE)
    if chunk.native is not None:
        rows = np.where(chunk.native * FULL_SCALE == chunk.actions, chunk.native, rows)
    opening = (rows[:, -1] - spec.gripper_closed) / (spec.gripper_open - spec.gripper_closed)
    rows[:, -1] = -np.sign(2 * opening - 1)
    return rows
