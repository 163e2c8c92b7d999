# SPDX-License-Identifier: Apache-2.0
"""Sampling a plan as the class Trajectory of ros2_controllers does (trajectory.cpp).

Same in Humble 2.54, Jazzy 4.42 and Kilted 5.17 but for the end of a plan without positions:
* before the first waypoint: from the state at arrival to it;
* between two waypoints: the polynomial between these two and nothing else, so a plan that is first
  sampled in its middle starts there, wherever the robot is;
* after the last one: the last one, with the velocity that it was given.
The degree follows from what both ends of a segment give: linear, cubic with velocities, quintic
with accelerations too.  No version makes velocities out of positions here.
"""
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND
from vla_pruner_ros.robots.controllers.timed_plan import Plan, Waypoint
from vla_pruner_ros.robots.controllers.value_spaces import Space


@dataclass(frozen=True)
class Sample:
    """A sampled state.

    Attributes:
        state: position, velocity and acceleration.
        reached_ns: time of the waypoint behind (of the first one while that lies ahead).
        ended: the last waypoint has passed.
    """

    state: Waypoint
    reached_ns: int
    ended: bool


class PlanSampler:
    """One plan while it is executed.

    Args:
        plan: in the joint order of the controller; missing values are filled in here.
        space: of its values.
        interpolate: False as ``interpolation_method: none``: jump to the waypoint that comes next.
        recover_end: find the last position from the waypoint before where it was never reached;
            Humble does not and reads outside its memory.
        end_stays: a look beyond the end counts as having got there, until ``rolling``.
    """

    def __init__(self, plan: Plan, space: Space, interpolate: bool = True,
                 recover_end: bool = True, end_stays: bool = True):
        self.plan = plan
        self.start_ns = plan.start_ns
        self.sampled = False
        self._space = space
        self._interpolate = interpolate
        self._recover_end = recover_end
        self._end_stays = end_stays
        self._before_ns = 0
        self._before = Waypoint(0, np.zeros(space.size))
        self._index = 0

    def begin_at(self, time_ns: int, state: Waypoint) -> None:
        """Set the state before the plan.

        Derivatives that it lacks and the first waypoint has are zero, so that the way to that
        waypoint has the degree of the rest.
        """
        first = self.plan.points[0]
        zeros = np.zeros(self._space.tangent_size)
        position = state.position
        if first.position is not None and position is not None:
            position = self._space.near(position, first.position)
        self._before_ns = time_ns
        self._before = Waypoint(
            0, position, zeros if state.velocity is None and first.velocity is not None
            else state.velocity, zeros if state.acceleration is None
            and first.acceleration is not None else state.acceleration)

    def sample(self, at_ns: int, advance: bool = True) -> Sample | None:
        """State at a time, or None: it lies before the state at arrival, or cannot be known.

        Args:
            at_ns: time; later calls are expected to ask for later times: a waypoint that was
                passed is not looked at again, and where none fits the last one is taken.
            advance: False: only look.
        """
        points, last = self.plan.points, len(self.plan.points) - 1
        if not self.sampled:
            self.start_ns = self.start_ns or at_ns
            self.sampled = True
        if at_ns < self._before_ns:
            return None
        first_ns = self.start_ns + points[0].time_ns
        if at_ns < first_ns:
            state = self._before
            if self._interpolate:
                state = self._between(state, self._before_ns, points[0], first_ns, at_ns)
            return None if state is None else Sample(state, first_ns, False)
        for index in range(self._index, last):
            begin = self.start_ns + points[index].time_ns
            end = self.start_ns + points[index + 1].time_ns
            if begin <= at_ns < end:
                state = points[index + 1]
                if self._interpolate:
                    state = self._between(points[index], begin, points[index + 1], end, at_ns)
                if advance:
                    self._index = index
                return None if state is None else Sample(state, begin, False)
        if advance or self._end_stays:
            self._index = last
        if points[last].position is None and last and self._recover_end:
            self._deduce(points[last - 1], points[last],
                         (points[last].time_ns - points[last - 1].time_ns) / SECOND)
        if points[last].position is None:
            return None
        return Sample(points[last], self.start_ns + points[last].time_ns, True)

    def _between(self, first: Waypoint, first_ns: int, second: Waypoint, second_ns: int,
                 at_ns: int) -> Waypoint | None:
        seconds = (second_ns - first_ns) / SECOND
        self._deduce(first, second, seconds)
        if first.position is None or second.position is None:
            return None  # the real one reads outside its memory
        return between(self._space, first, second, seconds, (at_ns - first_ns) / SECOND)

    def _deduce(self, first: Waypoint, second: Waypoint, seconds: float) -> None:
        """Fill in the position of ``second`` by Heun's method (deduce_from_derivatives)."""
        if second.position is not None or first.position is None:
            return
        zeros = np.zeros(self._space.tangent_size)
        first.velocity = zeros if first.velocity is None else first.velocity
        if second.velocity is None:
            first.acceleration = zeros if first.acceleration is None else first.acceleration
            second.velocity = (first.velocity + (first.acceleration + second.acceleration)
                               * 0.5 * seconds)
        second.position = self._space.moved(first.position,
                                            (first.velocity + second.velocity) * 0.5 * seconds)


def between(space: Space, first: Waypoint, second: Waypoint, span: float,
            passed: float) -> Waypoint:
    """State ``passed`` seconds into a segment of ``span`` seconds whose ends have positions.

    Outside the segment the nearer end is taken, linearly (interpolate_between_points).  Joints
    with accelerations but without velocities are sent to ZERO: no branch of the real one is meant
    for them, so its output keeps what it was made with.
    """
    way = space.difference(first.position, second.position)
    inside = 0 <= passed <= span
    smooth = inside and first.velocity is not None and second.velocity is not None
    bent = inside and first.acceleration is not None and second.acceleration is not None
    if bent and not smooth and space.forgotten is not None:
        return Waypoint(0, space.forgotten, space.forgotten, space.forgotten)
    t = min(max(passed, 0.0), span)
    zeros = np.zeros(space.tangent_size)
    if not smooth:  # the way keeps its direction, so its rate is the velocity
        rate = way / span if span > 0 else zeros
        return Waypoint(0, space.moved(first.position, rate * t), rate, zeros)
    terms = [zeros] * 6  # of the powers of t
    terms[1] = first.velocity
    end_rate = space.rate(way, second.velocity)
    if bent:
        terms[2] = first.acceleration / 2
    if span > 0 and bent:
        end_bend = space.rate(way, second.acceleration)
        terms[3:6] = _quintic(way, terms[1], first.acceleration, end_rate, end_bend, span)
    elif span > 0:
        terms[2] = (3 * way - (2 * terms[1] + end_rate) * span) / span**2
        terms[3] = (-2 * way + (terms[1] + end_rate) * span) / span**3
    gone = sum(term * t**power for power, term in enumerate(terms))
    rate = sum(power * term * t**(power - 1) for power, term in enumerate(terms) if power)
    bend = sum(power * (power - 1) * term * t**(power - 2)
               for power, term in enumerate(terms) if power > 1)
    return Waypoint(0, space.moved(first.position, gone), space.velocity(gone, rate),
                    space.velocity(gone, bend))


def _quintic(way: np.ndarray, rate: np.ndarray, bend: np.ndarray, end_rate: np.ndarray,
             end_bend: np.ndarray, span: float) -> list[np.ndarray]:
    """Coefficients of t**3 to t**5 that meet position, velocity and acceleration at the end."""
    place = way - rate * span - bend * span**2 / 2
    speed = (end_rate - rate - bend * span) * span
    turn = (end_bend - bend) * span**2 / 2
    return [(10 * place - 4 * speed + turn) / span**3,
            (-15 * place + 7 * speed - 2 * turn) / span**4,
            (6 * place - 3 * speed + turn) / span**5]
