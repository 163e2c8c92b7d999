# SPDX-License-Identifier: Apache-2.0
"""Chunks of poses -> what the simulated robot executes in lock step; no publishing, no physics.

Point 0 of an end-effector chunk is the pose at the observation, the following points are targets,
one per control step; the robot executes the DIFFERENCES between consecutive points.  So a chunk
cannot throw the hand across the table, whatever its absolute numbers are.
Messages are read by attribute; a bad one is an ``InputError`` whose reason is counted.
"""
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots.robot_interface import ACTION_SCALE, GRIPPER_CLOSED, GRIPPER_OPEN

SECOND = 10**9


def control_steps(positions: np.ndarray, openings: np.ndarray | None) -> np.ndarray:
    """What a chunk asks for, step by step.

    Args:
        positions: (N + 1, 3) metres, the observed one first.
        openings: (N + 1,) gripper, 0 closed to 1 open, or None = open.

    Returns:
        (N, 4) metres of x, y, z and the gripper opening at the end of each step.
    """
    moves = np.diff(positions, axis=0)
    ends = np.ones(len(moves)) if openings is None else openings[1:]
    return np.column_stack([moves, ends])


def robot_action(motion: np.ndarray, opening: float) -> np.ndarray:
    """The robot's action (4,) for one control step; it clips what is more than its largest step.

    Args:
        motion: (3,) metres.
        opening: wanted gripper opening, 0 closed to 1 open.
    """
    gripper = np.clip(GRIPPER_CLOSED + opening * (GRIPPER_OPEN - GRIPPER_CLOSED), -1.0, 1.0)
    return np.append(np.asarray(motion) / ACTION_SCALE, gripper)


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time or Duration -> nanoseconds."""
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


@dataclass(frozen=True)
class Track:
    """Values in time.

    Attributes:
        stamp_ns: time of the observation that the chunk answers.
        times_ns: (P,) int64, strictly increasing.
        values: (P, 3) metres, or (P,) gripper opening, 0 closed to 1 open.
    """

    stamp_ns: int
    times_ns: np.ndarray
    values: np.ndarray


def read_poses(message: Any) -> Track:
    """MultiDOFJointTrajectory -> positions (P, 3); the orientation is not used by this robot.

    Raises:
        InputError: ``wrong_size``, ``not_finite`` or ``bad_times``.
    """
    rows = []
    for index, point in enumerate(message.points):
        if len(point.transforms) != 1:
            raise InputError('wrong_size', f'point {index} has {len(point.transforms)} transforms '
                                           'instead of 1')
        place = point.transforms[0].translation
        rows.append((place.x, place.y, place.z))
    return _track(message, np.array(rows, np.float64).reshape(-1, 3))


def read_gripper(message: Any) -> Track:
    """JointTrajectory of one joint -> openings (P,).

    Raises:
        InputError: ``wrong_size``, ``not_finite`` or ``bad_times``.
    """
    rows = []
    for index, point in enumerate(message.points):
        if len(point.positions) != 1:
            raise InputError('wrong_size', f'gripper point {index} has {len(point.positions)} '
                                           'positions instead of 1')
        rows.append(point.positions[0])
    return _track(message, np.array(rows, np.float64))


def _track(message: Any, values: np.ndarray) -> Track:
    if len(message.joint_names) != 1:
        raise InputError('wrong_size', f'joint_names is {list(message.joint_names)}, '
                                       'one is wanted')
    if not len(values):
        raise InputError('wrong_size', 'the trajectory has no points')
    if not np.isfinite(values).all():
        raise InputError('not_finite', 'the trajectory holds NaN or infinity')
    stamp = stamp_ns(message.header.stamp)
    times = np.array([stamp + stamp_ns(point.time_from_start) for point in message.points],
                     np.int64)
    if (np.diff(times) <= 0).any():
        raise InputError('bad_times', 'time_from_start does not increase')
    return Track(stamp, times, values)


def actions(poses: Track, gripper: Track | None, count: int) -> np.ndarray:
    """First ``count`` control steps of a chunk (at most as many as it has).

    Args:
        poses: at least two points.
        gripper: one value for all steps, or one per point of ``poses``; None = open.
        count: wanted steps.

    Returns:
        (N, 4) metres of x, y, z and the gripper opening at the end of each step.

    Raises:
        InputError: ``wrong_size``.
    """
    steps = len(poses.values) - 1
    if steps < 1:
        raise InputError('wrong_size', 'a chunk needs the observed pose and at least one target')
    openings = None
    if gripper is not None:
        if len(gripper.values) not in (1, steps + 1):
            raise InputError('wrong_size', f'{len(gripper.values)} gripper points do not fit '
                                           f'{steps + 1} poses')
        openings = np.broadcast_to(gripper.values, steps + 1)
    return control_steps(poses.values, openings)[:count]
