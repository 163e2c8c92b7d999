# SPDX-License-Identifier: Apache-2.0
"""Parameters of MoveIt Servo and its reading of a TwistStamped.

Read in the branches humble (2.5.9), jazzy (2.12.4) and kilted (2.14.3) of moveit2: Humble in
servo_parameters.h and servo_calcs.cpp, the others in servo_parameters.yaml, servo.cpp and
utils/command.cpp.
"""
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, InputError
from vla_pruner_ros.robots.chunk_execution_in_simulation import stamp_ns
from vla_pruner_ros.robots.controllers.jtc_options import one_of, REPLACING
from vla_pruner_ros.robots.controllers.servo_smoothing import (
    AccelerationLimited,
    Butterworth,
    NoSmoothing,
    Smoothing,
)
from vla_pruner_ros.robots.controllers.timed_plan import read_twist

#: Least number of points that a message to the controller has (Jazzy and later).
LEAST_POINTS = 3


@dataclass(frozen=True)
class ServoOptions:
    """Servo's own parameters, with its names and defaults.

    Attributes:
        version: ``humble``, ``jazzy`` or ``kilted`` (the last two are the same).
        planning_frame: frame in which the hand is controlled.
        frames: other known frames: rotation (3, 3) from that frame to the planning frame.
        command_in_type: ``speed_units`` (m/s and rad/s) or ``unitless`` (-1 to 1).
        linear: m/s: scale of unitless commands; of ``speed_units`` the limit (not in Humble).
        rotational: rad/s: likewise.
        incoming_command_timeout: seconds after its stamp at which a command is stale.
        publish_period: seconds of Servo's loop, None = as the version has it.
        max_expected_latency: seconds by which all motion is late (not in Humble).
        smoothing: ``butterworth``, ``acceleration`` (not in Humble) or ``none`` (not in Humble).
        butterworth_filter_coeff: of ``butterworth``.
        max_acceleration: of ``acceleration``: (6,) or one number, m/s2 and rad/s2.

    Raises:
        ConfigError: a value that is not accepted.
    """

    version: str = 'jazzy'
    planning_frame: str = 'base_link'
    frames: Mapping[str, np.ndarray] = field(default_factory=dict)
    command_in_type: str = 'speed_units'
    linear: float = 0.4
    rotational: float = 0.8
    incoming_command_timeout: float = 0.1
    publish_period: float | None = None
    max_expected_latency: float = 0.1
    smoothing: str = 'butterworth'
    butterworth_filter_coeff: float = 1.5
    max_acceleration: float | np.ndarray = 5.0

    def __post_init__(self) -> None:
        """Check the set as a whole, as validateParams does."""
        one_of('version', self.version, REPLACING)
        one_of('command_in_type', self.command_in_type, ('speed_units', 'unitless'))
        one_of('smoothing', self.smoothing, ('butterworth',) if self.version == 'humble'
               else ('butterworth', 'acceleration', 'none'))
        if not self.period > 0:
            raise ConfigError(f'publish_period is {self.period!r}, a positive number is accepted')
        if self.version != 'humble' and self.max_expected_latency / LEAST_POINTS < self.period:
            raise ConfigError(f'publish_period is {self.period} s; it must be at most a third of '
                              f'max_expected_latency, {self.max_expected_latency} s')

    @property
    def period(self) -> float:
        """Seconds of Servo's loop."""
        if self.publish_period is None:
            return 0.034 if self.version == 'humble' else 0.01
        return self.publish_period

    def make_smoothing(self) -> Smoothing:
        """The plugin."""
        if self.smoothing == 'butterworth':
            return Butterworth(self.butterworth_filter_coeff)
        if self.smoothing == 'acceleration':
            return AccelerationLimited(self.max_acceleration, self.period)
        return NoSmoothing()

    def way(self, velocity: np.ndarray) -> np.ndarray:
        """Twist (6,) in the planning frame -> metres and radians (6,) of one loop."""
        linear, angular = velocity[:3], velocity[3:]
        if self.command_in_type == 'unitless':
            linear, angular = linear * self.linear, angular * self.rotational
        elif self.version != 'humble':
            linear = _at_most(linear, self.linear)
            angular = _at_most(angular, self.rotational)
        return np.append(linear, angular) * self.period


@dataclass(frozen=True)
class TwistCommand:
    """A TwistStamped.

    Attributes:
        stamp_ns: header stamp.
        frame: header frame.
        velocity: (6,) as sent.
    """

    stamp_ns: int
    frame: str
    velocity: np.ndarray


def read_command(message: Any) -> TwistCommand:
    """geometry_msgs/TwistStamped -> command; nothing is checked."""
    return TwistCommand(stamp_ns(message.header.stamp), message.header.frame_id,
                        read_twist(message.twist))


def is_stale(command: TwistCommand, options: ServoOptions, now_ns: int) -> bool:
    """Whether a command is too old to move by; one without a stamp always is."""
    return now_ns - command.stamp_ns >= round(options.incoming_command_timeout * 1e9)


def in_planning_frame(command: TwistCommand, options: ServoOptions) -> np.ndarray:
    """Velocity (6,) in the planning frame, turning about the hand.

    Raises:
        InputError: ``not_finite``, ``too_fast`` or ``unknown_frame``.
    """
    humble = options.version == 'humble'
    bad = np.isnan(command.velocity) if humble else ~np.isfinite(command.velocity)
    if bad.any():
        raise InputError('not_finite', f'the twist is {command.velocity}')
    if humble and options.command_in_type == 'unitless' and (np.abs(command.velocity) > 1).any():
        raise InputError('too_fast', f'the unitless twist is {command.velocity}, 1 is the most')
    if command.frame == options.planning_frame or humble and not command.frame:
        return command.velocity
    if command.frame not in options.frames:
        raise InputError('unknown_frame', f'the twist is in the frame {command.frame!r}, known: '
                                          f'{[options.planning_frame, *options.frames]}')
    turn = np.asarray(options.frames[command.frame])
    return np.append(turn @ command.velocity[:3], turn @ command.velocity[3:])


def _at_most(velocity: np.ndarray, limit: float) -> np.ndarray:
    speed = float(np.linalg.norm(velocity))
    return velocity * (limit / speed) if 0 < limit < speed else velocity
