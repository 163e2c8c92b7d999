# SPDX-License-Identifier: Apache-2.0
"""The reference for the other controllers: every timed target is met at its time.

What is ahead is one row of waypoints in absolute time.  A new message replaces everything from its
stamp on (from now on, where that is past); its first waypoint is reached from where the robot is
told to be at that moment.  So the motion is continuous, except where the first new waypoint is
past: then it goes on from where the new waypoints say that it should be.  The measurement counts
once, at start.
"""
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND
from vla_pruner_ros.robots.controllers.controller_interface import Controller, Receipt, Setpoint
from vla_pruner_ros.robots.controllers.jtc_options import check_plan, JtcOptions
from vla_pruner_ros.robots.controllers.plan_sampling import between
from vla_pruner_ros.robots.controllers.plan_splicing import in_order
from vla_pruner_ros.robots.controllers.timed_plan import read_joints, read_poses, Waypoint
from vla_pruner_ros.robots.controllers.value_spaces import PoseSpace, Space

_CHECKS = JtcOptions(allow_nonzero_velocity_at_trajectory_end=True)


class IdealController(Controller):
    """Absolute tracking of timed targets.

    Args:
        space: joints, or the pose of a hand.
        names: joint names, or the one name that a hand's message has.
    """

    def __init__(self, space: Space, names: tuple[str, ...]):
        super().__init__()
        self._space, self._names = space, names
        self._read = read_poses if isinstance(space, PoseSpace) else read_joints
        self._rows: list[Waypoint] = []  # times are absolute
        self._moves = False

    def receive(self, message: Any, now_ns: int) -> Receipt:
        """Take a trajectory into what is ahead; non-finite numbers are refused."""
        try:
            self._need_feedback()
            plan = self._read(message)
            check_plan(plan, self._names, _CHECKS, now_ns)
            if not all(np.isfinite(one.position).all() for one in plan.points):
                raise InputError('not_finite', 'the trajectory holds NaN or infinity')
        except InputError as error:
            return self._refuse(error)
        start = plan.start_ns or now_ns
        new = [Waypoint(start + one.time_ns, one.position, one.velocity, one.acceleration)
               for one in in_order(plan, self._names).points]
        ahead: list[Waypoint] = []
        if new[0].time_ns > now_ns:
            begin = max(start, now_ns)
            ahead = [self._at(now_ns)]
            ahead += [one for one in self._rows if now_ns < one.time_ns < begin]
            if begin > now_ns:
                ahead.append(self._at(begin))
        self._rows, self._moves = ahead + new, True
        return Receipt()

    def feedback(self, position: np.ndarray, now_ns: int,
                 velocity: np.ndarray | None = None) -> None:
        """The first measurement is where the robot is before it is told anything."""
        if not self._rows:
            self._rows = [Waypoint(now_ns, np.array(position, np.float64))]

    def command(self, now_ns: int) -> Setpoint:
        """Where the waypoints say that the robot is now, and how fast."""
        self._need_feedback()
        state = self._at(now_ns)
        zeros = np.zeros(self._space.tangent_size)
        return Setpoint(state.position, zeros if state.velocity is None else state.velocity)

    @property
    def covered_until_ns(self) -> int | None:
        """Time of the last waypoint."""
        return self._rows[-1].time_ns if self._moves else None

    def _need_feedback(self) -> None:
        if not self._rows:
            raise InputError('no_feedback', 'the robot has not told where it is')

    def _at(self, now_ns: int) -> Waypoint:
        rows = self._rows
        if now_ns <= rows[0].time_ns or len(rows) == 1:
            return Waypoint(now_ns, rows[0].position)
        if now_ns >= rows[-1].time_ns:
            return Waypoint(now_ns, rows[-1].position)
        index = next(i for i, one in enumerate(rows) if one.time_ns > now_ns)
        first, second = rows[index - 1], rows[index]
        state = between(self._space, first, second, (second.time_ns - first.time_ns) / SECOND,
                        (now_ns - first.time_ns) / SECOND)
        state.time_ns = now_ns
        return state
