# SPDX-License-Identifier: Apache-2.0
"""Limits on what is sent: a follower that tracks a wanted path and breaks none of them.

The wanted path is followed with limited acceleration, velocity and position, so where it asks for
too much the motion takes longer (times are stretched), where it leaves the box it ends at the wall
(rows are cut), and it always ends at rest.  Limits hold by construction, for each coordinate and
between any two points: the sent points carry velocities, and the cubic through them is the very
motion that was limited (constant acceleration between two points).

A robot that already is outside the box may come back but goes no further out; one that is faster
than its limit brakes as hard as it may.
"""
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vla_pruner_ros.core.action_limits import motion_columns
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.runtime.motion.motion_spaces import Space

SECOND = 10**9
INFINITE = float('inf')
#: Share of the remaining error that one step of the follower takes back.
CATCH_UP = 0.5
#: Longest motion after the wanted path has ended, seconds.
TAIL = 2.0
#: Seconds in which a motion without an acceleration limit comes to rest.
BRAKE = 0.1
#: Longest braking, seconds, whatever the limit: a stop that takes for ever is none.
LONGEST_BRAKE = 10.0
HARDER = 6  # times that the braking before a wall is doubled, where no limit forbids it
_CLOSE = 1e-6  # metres or radians that count as arrived


#: Parameters that act on the motion under way when they change.
MOTION_LIMITS = ('max_step', 'max_velocity', 'max_acceleration', 'position_low', 'position_high')


def limits_of(parameters: Parameters) -> tuple[tuple[float, ...], ...]:
    """Values of all limits, to be compared."""
    return tuple(getattr(parameters, name) for name in MOTION_LIMITS)


class Wanted(Protocol):
    """Anything that says where to be when."""

    def at(self, time_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Point and velocity (D,) at a time."""


@dataclass(frozen=True)
class MotionLimits:
    """Limits per coordinate of a difference (D,), infinite where there is none.

    Attributes:
        velocity: units per second, the smaller one of ``max_velocity`` and ``max_step`` per row.
        acceleration: units per second squared.
        low, high: (B,) bounds of the first B coordinates of a point; B = 0: no box.
    """

    velocity: np.ndarray
    acceleration: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, parameters: Parameters, spec: PolicySpec, size: int) -> 'MotionLimits':
        """The limits of a parameter snapshot.

        Args:
            parameters: snapshot that fits the policy.
            spec: of the policy.
            size: D of its space; more than its actions have, where it does not turn the hand.
        """
        columns = motion_columns(spec)

        def spread(values: tuple[float, ...]) -> np.ndarray:
            found = np.full(size, INFINITE)
            if len(values) == 1:
                found[:] = values[0]
            elif len(values) == len(spec.action_names):
                found[:len(columns)] = np.array(values)[columns]
            elif values:
                found[:len(columns)] = values
            return found
        velocity = np.minimum(spread(parameters.max_velocity),
                              spread(parameters.max_step) / spec.control_dt)
        return cls(velocity, spread(parameters.max_acceleration),
                   np.array(parameters.position_low), np.array(parameters.position_high))

    def slower(self, share: float) -> 'MotionLimits':
        """The same with a share of the velocity."""
        return replace(self, velocity=self.velocity * share)

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return bool(np.isfinite(self.velocity).any() or np.isfinite(self.acceleration).any()
                    or len(self.low))


@dataclass(frozen=True)
class Followed:
    """A motion that keeps the limits.

    Attributes:
        times_ns: (P,) int64, ``step_ns`` apart; the first may be further from the start.
        points: (P, ...).
        velocities: (P, D); the last one is zero.
        counts: limit -> coordinates and points where it acted.
    """

    times_ns: np.ndarray
    points: np.ndarray
    velocities: np.ndarray
    counts: dict[str, int]

    def held(self, span_ns: int) -> 'Followed':
        """The same with its last point held for a time."""
        return replace(self, times_ns=np.append(self.times_ns, self.times_ns[-1] + span_ns),
                       points=np.vstack([self.points, self.points[-1:]]),
                       velocities=np.vstack([self.velocities, 0.0 * self.velocities[-1:]]))


def follow(space: Space, limits: MotionLimits, wanted: Wanted, start: np.ndarray,
           velocity: np.ndarray, start_ns: int, end_ns: int, step_ns: int,
           first_ns: int = 0) -> Followed:
    """Follow ``wanted`` from a state of the robot, at rest at the end.

    Args:
        space: of the points.
        limits: to keep.
        wanted: where to be when; asked from ``start_ns`` on.
        start: point of the robot at ``start_ns``.
        velocity: (D,) its velocity.
        start_ns: begin.
        end_ns: when the wanted motion is over.
        step_ns: time between two points.
        first_ns: least time from the start to the first point (a controller that needs it must
            not be given the points before it, and the way to the first one has limits, too).

    Returns:
        Points after the start; the start itself is not among them.
    """
    step = step_ns / SECOND
    counts: dict[str, int] = {}
    fastest = limits.velocity
    # Without a limit, one that stops any motion that the limits allow in a tenth of a second.
    most = np.maximum(np.where(np.isfinite(fastest), fastest, 0.0), np.abs(velocity))
    braking = np.where(np.isfinite(limits.acceleration), limits.acceleration,
                       np.maximum(most, 1.0) / min(BRAKE, 4 * step))
    here, speed = start, np.array(velocity, np.float64)
    times, points, speeds = [], [], []
    now = start_ns
    last = end_ns + round(TAIL * SECOND)
    while now < last:
        span_ns = step_ns if times else max(step_ns, first_ns)
        now, step = now + span_ns, span_ns / SECOND
        goal, goal_speed = wanted.at(now)
        over = now >= end_ns
        if over:
            goal_speed = np.zeros(space.size)
        error = space.minus(goal, here) - 0.5 * (speed + goal_speed) * step
        # Come to the goal without running past it: what can still brake in the distance left.
        bound = _approach(np.abs(error), braking, step)
        closing = np.clip(CATCH_UP * 2.0 / step * error, -bound, bound)
        new = _clip(goal_speed + closing, -fastest, fastest, 'max_velocity', counts)
        reach = limits.acceleration * step
        new = _clip(new, speed - reach, speed + reach, 'max_acceleration', counts)
        new = _inside(new, speed, here, limits, braking, step, max(step_ns, first_ns) / SECOND,
                      counts)
        before = here
        here = space.plus(here, 0.5 * (speed + new) * step)
        speed = new
        times.append(now)
        points.append(here)
        speeds.append(speed)
        arrived = np.abs(speed).max() * step < _CLOSE and np.abs(here - before).max() < _CLOSE
        if over and arrived:  # at the goal, or at the wall before it
            break
    if speeds and np.abs(speeds[-1]).any():
        _rest(space, braking, times, points, speeds, step_ns)
    return Followed(np.array(times, np.int64), np.array(points), np.array(speeds), counts)


def _approach(distance: np.ndarray, braking: np.ndarray, step: float) -> np.ndarray:
    """Highest relative speed at the end of a step from which ``distance`` is enough to brake."""
    half = 0.5 * step
    return np.maximum(0.0, braking * (np.sqrt(half * half + 2.0 * distance / braking) - half))


def _inside(new: np.ndarray, speed: np.ndarray, here: np.ndarray, limits: MotionLimits,
            braking: np.ndarray, step: float, pause: float, counts: dict[str, int]) -> np.ndarray:
    """Brake in time for the walls of the box; outside it, never further out.

    The speed v at the end of the step must leave room for a stop that is ordered at any moment and
    whose first point is ``pause`` seconds away: v^2 / 2a + a pause^2 / 8 (braking at a, the last
    time perhaps more gently), or v pause where one such pause is enough to stop.
    """
    box = len(limits.low)
    if not box:
        return new
    result, force = np.array(new), braking[:box]
    for wall, sign in ((limits.high, 1.0), (limits.low, -1.0)):
        toward = sign * speed[:box]
        room = sign * (wall - here[:box]) - 0.5 * toward * step
        square = 0.25 * step * step + 2.0 / force * (room - force * pause * pause / 8.0)
        many = np.where(square >= 0.0, force * (np.sqrt(np.maximum(square, 0.0)) - 0.5 * step),
                        -1.0)
        most = np.maximum(many, np.minimum(force * pause, room / (pause + 0.5 * step)))
        hardest = np.where(toward > 0.0, np.maximum(toward - force * step, 0.0), 0.0)
        most = np.where(most < 0.0, hardest, most)
        changed = sign * result[:box] > most
        if changed.any():
            counts['position'] = counts.get('position', 0) + int(changed.sum())
            result[:box] = np.where(changed, sign * most, result[:box])
    return result


def _rest(space: Space, braking: np.ndarray, times: list[int], points: list[np.ndarray],
          speeds: list[np.ndarray], step_ns: int, first_ns: int = 0) -> None:
    """Append braking until everything stands still."""
    braking = np.maximum(braking, np.abs(speeds[-1]) / LONGEST_BRAKE)
    begin = len(times)
    while np.abs(speeds[-1]).any():
        span_ns = step_ns if len(times) > begin else max(step_ns, first_ns)
        step, speed = span_ns / SECOND, speeds[-1]
        slower = np.sign(speed) * np.maximum(np.abs(speed) - braking * step, 0.0)
        points.append(space.plus(points[-1], 0.5 * (speed + slower) * step))
        speeds.append(slower)
        times.append(times[-1] + span_ns)


def _clip(values: np.ndarray, low: np.ndarray, high: np.ndarray, name: str,
          counts: dict[str, int]) -> np.ndarray:
    clipped: np.ndarray = np.clip(values, low, high)
    changed = int((np.abs(clipped - values) > _CLOSE).sum())
    if changed:
        counts[name] = counts.get(name, 0) + changed
    return clipped


def brake(space: Space, limits: MotionLimits, start: np.ndarray, velocity: np.ndarray,
          start_ns: int, step_ns: int, first_ns: int = 0) -> Followed:
    """The shortest motion from a state to rest that the acceleration limit allows.

    Without one the robot stops in ``BRAKE`` seconds, sooner before a wall; with any in
    ``LONGEST_BRAKE``.
    """
    speed = np.array(velocity, np.float64)
    free, box = ~np.isfinite(limits.acceleration), len(limits.low)
    force = np.where(free, np.maximum(np.abs(speed), 1e-6) / BRAKE, limits.acceleration)
    for _ in range(HARDER):
        times, points, speeds = [start_ns], [start], [speed]
        _rest(space, force, times, points, speeds, step_ns, first_ns)
        end = points[-1][:box]
        out = np.zeros(space.size, bool)
        out[:box] = (end > np.maximum(limits.high, start[:box])) | (
            end < np.minimum(limits.low, start[:box]))
        if not (out & free).any():
            break
        force = np.where(out & free, 2.0 * force, force)
    if len(times) == 1:  # at rest already: stay
        times.append(start_ns + max(step_ns, first_ns))
        points.append(start)
        speeds.append(speed)
    return Followed(np.array(times[1:], np.int64), np.array(points[1:]), np.array(speeds[1:]), {})
