# SPDX-License-Identifier: Apache-2.0
"""A controller by its name."""
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.controllers.controller_interface import Controller, period_of, RATE_HZ
from vla_pruner_ros.robots.controllers.ideal_controller import IdealController
from vla_pruner_ros.robots.controllers.joint_trajectory_controller import (
    JointTrajectoryController,
)
from vla_pruner_ros.robots.controllers.jtc_options import JtcOptions, one_of, REPLACING, SPLICING
from vla_pruner_ros.robots.controllers.servo_controller import ServoController
from vla_pruner_ros.robots.controllers.servo_options import ServoOptions
from vla_pruner_ros.robots.controllers.value_spaces import JointSpace, PoseSpace

#: Versions of each controller; the first is taken where none is asked for.
VERSIONS = {
    'jtc': ('jazzy', 'kilted', 'humble'),
    'jtc_splicing': tuple(reversed(SPLICING)),
    'servo': ('jazzy', 'kilted', 'humble'),
    'ideal': (),
}
#: What a hand's messages call it.
HAND = 'end_effector'


def make_controller(kind: str, *, joints: Sequence[str] | None = None, hand: str = HAND,
                    continuous: Sequence[bool] | None = None, version: str | None = None,
                    rate_hz: float = RATE_HZ, **options: Any) -> Controller:
    """Build a controller.

    Args:
        kind: ``jtc``, ``jtc_splicing``, ``servo`` or ``ideal``.
        joints: joint names in the robot's order; None = the pose of a hand.
        hand: the one joint name of a hand's messages.
        continuous: (J,) joints that turn without end.
        version: distribution (``humble``, ``jazzy``, ``kilted``), of ``jtc_splicing`` ``6.9`` or
            ``rolling``; None = the first of ``VERSIONS``.
        rate_hz: control cycles per second.
        options: parameters by their own names, see ``JtcOptions`` and ``ServoOptions``.

    Raises:
        ConfigError: an unknown name or value, with the accepted ones.
    """
    one_of('controller', kind, tuple(VERSIONS))
    if VERSIONS[kind]:
        version = VERSIONS[kind][0] if version is None else version
        one_of(f'version of {kind}', version, VERSIONS[kind])
    else:
        # Launch files name one distribution for whatever controller is chosen.
        one_of(f'version of {kind}', version, (None, *REPLACING, *SPLICING))
    if joints is None:
        space, names = PoseSpace(), (hand,)
    elif not joints or len(set(joints)) < len(joints):
        raise ConfigError(f'joints is {list(joints)}: one or more different names are wanted')
    else:
        names = tuple(joints)
        space = JointSpace(len(names), None if continuous is None else tuple(continuous))
    period = period_of(rate_hz)
    if kind == 'ideal':
        _known(kind, options, ())
        return IdealController(space, names)
    if kind == 'servo':
        if joints is not None:
            raise ConfigError('servo moves a hand: joints cannot be given')
        _known(kind, options, tuple(one.name for one in fields(ServoOptions)))
        return ServoController(ServoOptions(version=version, **options), period)
    _known(kind, options, tuple(one.name for one in fields(JtcOptions)))
    return JointTrajectoryController(space, names, JtcOptions(version=version, **options), period)


def _known(kind: str, given: dict[str, Any], accepted: tuple[str, ...]) -> None:
    has = [one for one in accepted if one != 'version']
    for name in given:
        if name not in has:
            raise ConfigError(f'{kind} has no parameter {name!r}; it has: '
                              f'{", ".join(has) or "none"}')
