# SPDX-License-Identifier: Apache-2.0
"""Messages as simple namespaces, and a robot that is where it is told to be."""
from types import SimpleNamespace

import numpy as np

from vla_pruner_ros.robots.controllers.make_controller import make_controller

MS = 10**6
SECOND = 10**9
#: Begin of every test, so that zero stamps differ from it.
NOW = 1000 * SECOND
PERIOD = 4 * MS


def time(nanoseconds):
    return SimpleNamespace(sec=nanoseconds // SECOND, nanosec=nanoseconds % SECOND)


def joint_message(stamp, rows, names=('a',), velocities=None, accelerations=None):
    """``rows``: {time from start in ms: position or positions or None}."""
    points = []
    for index, (milliseconds, position) in enumerate(rows.items()):
        points.append(SimpleNamespace(
            time_from_start=time(int(milliseconds * MS)),
            positions=[] if position is None else list(np.atleast_1d(position)),
            velocities=[] if velocities is None else list(np.atleast_1d(velocities[index])),
            accelerations=[] if accelerations is None
            else list(np.atleast_1d(accelerations[index])), effort=[]))
    return SimpleNamespace(header=SimpleNamespace(stamp=time(stamp), frame_id=''),
                           joint_names=list(names), points=points)


def vector(x, y, z, **more):
    return SimpleNamespace(x=x, y=y, z=z, **more)


def pose_message(stamp, rows, name='end_effector'):
    """``rows``: {time from start in ms: pose (7,)}."""
    points = [SimpleNamespace(
        time_from_start=time(int(milliseconds * MS)), velocities=[], accelerations=[],
        transforms=[SimpleNamespace(translation=vector(*pose[:3]),
                                    rotation=vector(*pose[3:6], w=pose[6]))])
        for milliseconds, pose in rows.items()]
    return SimpleNamespace(header=SimpleNamespace(stamp=time(stamp), frame_id='base_link'),
                           joint_names=[name], points=points)


def twist_message(stamp, linear=(0.0, 0.0, 0.0), angular=(0.0, 0.0, 0.0), frame='base_link'):
    return SimpleNamespace(
        header=SimpleNamespace(stamp=time(stamp), frame_id=frame),
        twist=SimpleNamespace(linear=vector(*linear), angular=vector(*angular)))


def one_joint(kind='jtc', at=0.0, **options):
    """A controller of joint a, which is measured at ``at`` at NOW."""
    controller = make_controller(kind, joints=('a',), **options)
    controller.feedback(np.array([at]), NOW)
    return controller


def run(controller, until_ms, from_ms=0, follow=True, arrivals=None, period=PERIOD):
    """Positions (T, J) of the cycles from NOW + from_ms to before NOW + until_ms.

    Args:
        follow: the robot is measured where it was told to be; else it is not measured again.
        arrivals: {milliseconds: message}: taken just before the cycle at that time.
    """
    rows, arrivals = [], arrivals or {}
    for now in range(NOW + int(from_ms * MS), NOW + int(until_ms * MS), period):
        for when, message in arrivals.items():
            if now - period < NOW + when * MS <= now:
                assert controller.receive(message, now), controller.refused
        rows.append(controller.command(now).position)
        if follow:
            controller.feedback(rows[-1], now)
    return np.array(rows)
