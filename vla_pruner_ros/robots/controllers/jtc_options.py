# SPDX-License-Identifier: Apache-2.0
"""Parameters of joint_trajectory_controller, which version has which, and its checks of a message.

Read in the branches humble (2.54), jazzy (4.42), kilted (5.17), the tag 6.9.0 and master of
August 2026 (here ``rolling``): joint_trajectory_controller_parameters.yaml and
JointTrajectoryController::validate_trajectory_msg.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, InputError
from vla_pruner_ros.robots.controllers.timed_plan import Plan

#: Released for the distributions; a new message discards the old one.
REPLACING = ('humble', 'jazzy', 'kilted')
#: Versions with ``allow_trajectory_replacement``.
SPLICING = ('6.9', 'rolling')
#: What is kept from an old trajectory, by version.
KEPT = {'6.9': 'until the stamp', 'rolling': 'blended'}
UPSAMPLING = ('rest', 'continuous')
#: Where only some versions know a parameter: which do.
KNOWN_IN = {
    'open_loop_control': ('humble', 'jazzy'),
    'interpolate_from_desired_state': ('jazzy', 'kilted', *SPLICING),
    'speed_scaling': ('jazzy', 'kilted', *SPLICING),
    'positions_upsampling': ('rolling',),
    'policy_frequency': ('rolling',),
}
_NO_VELOCITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class JtcOptions:
    """The controller's own parameters, with its names and defaults.

    Attributes:
        version: ``humble``, ``jazzy``, ``kilted``, ``6.9`` (the first that splice) or ``rolling``.
        open_loop_control: start from the last command instead of the measurement.
        interpolate_from_desired_state: the same, by its newer name.
        allow_partial_joints_goal: a message may leave joints out; they hold.
        allow_integration_in_goal_trajectories: a message may leave positions out.
        allow_nonzero_velocity_at_trajectory_end: None = as the version has it.
        interpolation_method: ``splines`` or ``none``.
        cmd_timeout: seconds after the end after which the MEASURED position is held, 0 = never.
        path_tolerance: largest difference between wanted and measured, 0 = any; when it is broken
            the measured position is held.
        speed_scaling: seconds of the trajectory that pass per second.
        positions_upsampling: None, ``rest`` or ``continuous`` (see ``spline_upsampling``).
        policy_frequency: rows per second of messages whose times are all zero, 0 = refuse them.

    Raises:
        ConfigError: a value that is not accepted, or a parameter that the version does not have.
    """

    version: str = 'jazzy'
    open_loop_control: bool = False
    interpolate_from_desired_state: bool = False
    allow_partial_joints_goal: bool = False
    allow_integration_in_goal_trajectories: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool | None = None
    interpolation_method: str = 'splines'
    cmd_timeout: float = 0.0
    path_tolerance: float = 0.0
    speed_scaling: float = 1.0
    positions_upsampling: str | None = None
    policy_frequency: float = 0.0

    def __post_init__(self) -> None:
        """Check the set as a whole."""
        one_of('version', self.version, REPLACING + SPLICING)
        one_of('interpolation_method', self.interpolation_method, ('splines', 'none'))
        one_of('positions_upsampling', self.positions_upsampling, (None, *UPSAMPLING))
        for name in ('cmd_timeout', 'path_tolerance', 'speed_scaling', 'policy_frequency'):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f'{name} is {getattr(self, name)!r}, 0 or more is accepted')
        for name, versions in KNOWN_IN.items():
            if getattr(self, name) != type(self).__dict__[name] and self.version not in versions:
                raise ConfigError(f'{name} does not exist in version {self.version!r}, only in '
                                  f'{", ".join(versions)}')

    @property
    def looks_ahead(self) -> bool:
        """Whether a cycle commands what is due one period later (all but Humble)."""
        return self.version != 'humble'

    @property
    def from_command(self) -> bool:
        """Whether a new trajectory starts from the last command."""
        return self.open_loop_control or self.interpolate_from_desired_state

    @property
    def end_may_move(self) -> bool:
        """Whether the last waypoint may have a velocity."""
        if self.allow_nonzero_velocity_at_trajectory_end is None:
            return self.version == 'humble'
        return self.allow_nonzero_velocity_at_trajectory_end


def one_of(name: str, value: object, accepted: Sequence[object]) -> None:
    """Check a word.

    Raises:
        ConfigError: not one of the accepted ones.
    """
    if value not in accepted:
        raise ConfigError(f'{name} is {value!r}, accepted: '
                          f'{", ".join(str(one) for one in accepted)}')


def check_plan(plan: Plan, names: Sequence[str], options: JtcOptions, now_ns: int) -> None:
    """What the controller checks when a message arrives; whether values are finite, it does not.

    Args:
        plan: as sent.
        names: joints of the controller.
        options: parameters.
        now_ns: time of arrival.

    Raises:
        InputError: ``wrong_joints``, ``no_points``, ``end_velocity``, ``past``, ``bad_times``,
            ``no_values``, ``wrong_size`` or ``effort``.
    """
    unknown = [one for one in plan.names if one not in names]
    short = not options.allow_partial_joints_goal and len(plan.names) != len(names)
    # A name twice passes the real check and leaves a joint with a number from an older message.
    if unknown or short or not plan.names or len(set(plan.names)) < len(plan.names):
        raise InputError('wrong_joints', f'joint_names is {list(plan.names)}, the controller has '
                                         f'{list(names)}')
    if not plan.points:
        raise InputError('no_points', 'the trajectory has no points')
    last = plan.points[-1]
    if not options.end_may_move and last.velocity is not None \
            and (np.abs(last.velocity) > _NO_VELOCITY).any():
        raise InputError('end_velocity', f'the last point has the velocity {last.velocity}')
    if plan.start_ns and plan.start_ns + plan.end_ns < now_ns:
        raise InputError('past', 'the trajectory ended '
                                 f'{(now_ns - plan.start_ns - plan.end_ns) / 1e9:.3f} s ago')
    for index, point in enumerate(plan.points):
        if index and point.time_ns <= plan.points[index - 1].time_ns:
            raise InputError('bad_times', f'time_from_start does not increase at point {index}')
        values = (point.position, point.velocity, point.acceleration)
        if options.allow_integration_in_goal_trajectories:
            if all(one is None for one in values):
                raise InputError('no_values', f'point {index} is empty')
        elif point.position is None:
            raise InputError('wrong_size', f'point {index} has no positions')
        wrong = [len(one) for one in values if one is not None and len(one) != len(plan.names)]
        if wrong and not plan.hand:
            raise InputError('wrong_size', f'point {index} has {wrong[0]} values for '
                                           f'{len(plan.names)} joints')
        if point.effort:
            raise InputError('effort', f'point {index} has efforts')
