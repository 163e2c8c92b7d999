# SPDX-License-Identifier: Apache-2.0
"""What the motion queue answers: a command that may be sent, and what follows when it is."""
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.runtime.gripper_decision import GripperRows
from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.motion_limits import Followed
from vla_pruner_ros.runtime.motion.motion_spaces import PoseSpace, Space
from vla_pruner_ros.runtime.motion.robot_commands import Command, EndEffectorCommand, JointCommand
from vla_pruner_ros.runtime.motion.sent_motion import Start
from vla_pruner_ros.runtime.motion.timed_path import TimedPath

SECOND = 10**9


def usable(measured: Measured | None) -> Measured | None:
    """The measurement, if it is a place at all."""
    return measured if measured is not None and np.isfinite(measured.point).all() else None


@dataclass(frozen=True)
class Proposal:
    """A command that may be sent, and what follows when it is.

    Attributes:
        command: to publish.
        path: the same motion, beginning where the robot is taken to be.
        coverage_ns: until when rows of the policy are sent.
        counts: limit -> points where it acted.
        gripper: decisions that count once it is sent.
        wanted: the chunk by itself, for ensembles.
        now_ns: when it was made.
        from_measured: it begins at the measurement, because the robot is not where it was sent.
        stops: it brings the robot to rest and ends whatever was under way.
        limits: that it keeps.
        version: of the queue when it was made.
    """

    command: Command
    path: TimedPath
    coverage_ns: int
    counts: dict[str, int]
    gripper: GripperRows | None
    wanted: TimedPath | None
    now_ns: int
    from_measured: bool = False
    stops: bool = False
    limits: tuple[tuple[float, ...], ...] = ()
    version: int = -1


def command_of(space: Space, motion: Followed, stamp_ns: int, names: tuple[str, ...],
               absolute: bool) -> Command:
    """A motion as it is sent.

    Args:
        space: of its points.
        motion: what is sent.
        stamp_ns: time of sending.
        names: of the joints.
        absolute: the poses are places in the base frame.
    """
    if isinstance(space, PoseSpace):
        return EndEffectorCommand(motion.points, motion.times_ns, None, stamp_ns, absolute,
                                  motion.velocities)
    return JointCommand(names, motion.points, motion.times_ns, None, stamp_ns, motion.velocities)


def path_of(space: Space, motion: Followed, start: Start, now_ns: int) -> TimedPath:
    """A motion that begins now, with where it begins as its first point."""
    return TimedPath(space, np.concatenate([[now_ns], motion.times_ns]),
                     np.vstack([start.point, motion.points]),
                     np.vstack([start.velocity, motion.velocities]))


def first_within_reach(space: Space, motion: Followed, here: np.ndarray, fastest: np.ndarray,
                       now_ns: int) -> int | None:
    """Index of the first point that a robot at ``here`` (D,) can be at in time; None: of none.

    ``fastest`` is in metres and radians per second, (D,).
    """
    for index, time in enumerate(motion.times_ns):
        away = np.abs(space.minus(motion.points[index], here))
        if (away <= fastest * ((time - now_ns) / SECOND) + 1e-9).all():
            return index
    return None
