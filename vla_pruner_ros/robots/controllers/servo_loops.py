# SPDX-License-Identifier: Apache-2.0
"""One cycle of MoveIt Servo's loop, of Humble and of Jazzy and later; joints in, message out.

Both see the six numbers of ``servo_controller`` as joints without limits, singularities or
collisions.  What they do with a command that stops coming differs much:
* Humble falls silent.  It computes a filtered halt, but a stale command also switches publishing
  off, so the controller runs on to the last point that was sent, at speed, and stands there.
* Jazzy goes on publishing while the filter runs out, and everything is ``max_expected_latency``
  late: its messages are a window of waypoints around now, stamped with the first one.
"""
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND
from vla_pruner_ros.robots.controllers.servo_options import (
    in_planning_frame,
    is_stale,
    LEAST_POINTS,
    ServoOptions,
    TwistCommand,
)

#: Names of the six numbers.
AXES = ('x', 'y', 'z', 'turn_x', 'turn_y', 'turn_z')
_STOPPED = 1e-4  # STOPPED_VELOCITY_EPS


class ServoLoop(Protocol):
    """Servo's state between two cycles."""

    def take(self, command: TwistCommand) -> None:
        """A command arrived."""

    def cycle(self, measured: np.ndarray, now_ns: int) -> Any | None:
        """One cycle at ``measured`` (6,) -> JointTrajectory to the controller, or None."""


class HumbleLoop:
    """ServoCalcs::calculateSingleIteration of moveit_servo 2.5.

    Attributes:
        crashed: a frame that is no link of the robot has ended the process: the exception of
            getGlobalLinkTransform leaves Servo's thread.
    """

    def __init__(self, options: ServoOptions):
        self.crashed = False
        self._options, self._smoothing = options, options.make_smoothing()
        self._command: TwistCommand | None = None
        self._fresh_stamp = 0  # a zero stamp leaves the older one in place
        self._waits = True
        self._last: np.ndarray | None = None

    def take(self, command: TwistCommand) -> None:
        """Keep the newest command."""
        self._command = command
        self._fresh_stamp = command.stamp_ns or self._fresh_stamp

    def cycle(self, measured: np.ndarray, now_ns: int) -> Any | None:
        """Step from where the robot IS; no message for a command that is stale or bad."""
        still = np.zeros_like(measured)
        if self._last is None:
            self._last = measured
        command = self._command
        if self.crashed or self._waits or command is None:
            self._smoothing.reset(measured, still)
            self._waits = command is None or command.stamp_ns == 0
            return None
        stale = is_stale(TwistCommand(self._fresh_stamp, '', still), self._options, now_ns)
        if stale:
            self._smoothing.reset(measured, still)
            return None
        if not command.velocity.any():
            self._smoothing.reset(measured, still)
            return _message(0, [(self._period_ns, self._last, still)])
        try:
            velocity = in_planning_frame(command, self._options)
        except InputError as error:
            self.crashed = error.reason == 'unknown_frame'
            self._smoothing.reset(measured, still)
            return None
        position, _ = self._smoothing.smooth(measured + self._options.way(velocity), velocity)
        self._last = position
        return _message(0, [(self._period_ns, position,
                             (position - measured) / self._options.period)])

    @property
    def _period_ns(self) -> int:
        return round(self._options.period * SECOND)


class JazzyLoop:
    """ServoNode::servoLoop of moveit_servo 2.12 and 2.14 with its sliding window."""

    def __init__(self, options: ServoOptions):
        self._options, self._smoothing = options, options.make_smoothing()
        self._command: TwistCommand | None = None  # None: nothing (more) to do
        self._window: list[tuple[int, np.ndarray, np.ndarray]] = []  # time, position, velocity
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._latency = round(options.max_expected_latency * SECOND)

    def take(self, command: TwistCommand) -> None:
        """Keep the newest command."""
        self._command = command

    def cycle(self, measured: np.ndarray, now_ns: int) -> Any | None:
        """Step from the newest waypoint of the window, or from the robot where that is past."""
        still = np.zeros_like(measured)
        if self._last is None:
            self._last = (measured, still)
            self._smoothing.reset(measured, still)
        if self._window and self._window[-1][0] > now_ns:
            here = self._window[-1][1]
        else:
            self._window.clear()
            here = measured
        wanted = self._next(here, now_ns)
        if wanted is None:
            self._last = self._append(now_ns, measured, still)
            self._smoothing.reset(measured, still)
            return None
        self._last = self._append(now_ns, *wanted)
        if len(self._window) < LEAST_POINTS:
            return None
        start = self._window[0][0]
        # The newest waypoint waits: its velocity is known when the next one is.
        return _message(start, [(time - start, *state) for time, *state in self._window[:-1]])

    def _next(self, here: np.ndarray, now_ns: int) -> tuple[np.ndarray, np.ndarray] | None:
        if self._command is None:
            return None
        if is_stale(self._command, self._options, now_ns):
            return self._halt()
        try:
            velocity = in_planning_frame(self._command, self._options)
        except InputError:
            self._command = None
            return None
        way = self._options.way(velocity)
        return self._smoothing.smooth(here + way, way / self._options.period)

    def _halt(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Let the filter run out at the last position (smoothHalt)."""
        position, velocity = self._last
        stopped = bool((np.abs(velocity) < _STOPPED).all())
        target = self._smoothing.smooth(position, velocity if stopped else 0.0 * velocity)
        if stopped:
            self._command = None
            return None
        return target

    def _append(self, now_ns: int, position: np.ndarray,
                velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Put a state at the end of the window (updateSlidingWindow)."""
        time, window = now_ns + self._latency, self._window
        while window and window[0][0] < now_ns - self._latency:
            window.pop(0)
        while window and window[-1][0] == time:
            window.pop()
        if len(window) >= 2:
            (older, before, _), (newer, at, _) = window[-2:]
            into, out = (at - before) / (newer - older), (position - at) / (time - newer)
            slower = np.where(np.abs(out) < np.abs(into), out, into) * SECOND
            turns = np.sign(before - at) == np.sign(position - at)
            velocity = np.where(turns, 0.0, slower)
            window[-1] = (newer, at, velocity)
        window.append((time, position, velocity))
        return position, velocity


def _message(stamp: int, rows: list[tuple[int, np.ndarray, np.ndarray]]) -> Any:
    points = [SimpleNamespace(positions=position, velocities=velocity,
                              time_from_start=_time(time)) for time, position, velocity in rows]
    return SimpleNamespace(header=SimpleNamespace(stamp=_time(stamp)), joint_names=AXES,
                           points=points)


def _time(nanoseconds: int) -> Any:
    return SimpleNamespace(sec=nanoseconds // SECOND, nanosec=nanoseconds % SECOND)
