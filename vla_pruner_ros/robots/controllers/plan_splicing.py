# SPDX-License-Identifier: Apache-2.0
"""What becomes of the joints and of the old trajectory when a new one is taken up.

``blend`` follows JointTrajectoryController::blend_with_active_trajectory of ros2_controllers'
master of August 2026 (allow_trajectory_replacement, pull request 2419).  Two things there matter
to who publishes chunks: a stamp that is past or zero makes the new rows begin NOW, all of them, in
place of joining at the row that is due; and the speed at the joint is continued only where the new
waypoints have velocities.
"""
from dataclasses import replace

import numpy as np

from vla_pruner_ros.robots.controllers.plan_sampling import PlanSampler
from vla_pruner_ros.robots.controllers.timed_plan import Plan, Waypoint


def fill_partial(plan: Plan, names: tuple[str, ...], commanded: np.ndarray) -> Plan:
    """Add the joints that a message leaves out: they hold the last command."""
    missing = [index for index, one in enumerate(names) if one not in plan.names]
    if not missing:
        return plan
    still = np.zeros(len(missing))
    points = [replace(one, position=_longer(one.position, commanded[missing]),
                      velocity=_longer(one.velocity, still),
                      acceleration=_longer(one.acceleration, still)) for one in plan.points]
    return Plan((*plan.names, *(names[index] for index in missing)), plan.start_ns, points)


def in_order(plan: Plan, names: tuple[str, ...]) -> Plan:
    """The same plan in the controller's joint order."""
    if plan.hand or plan.names == names:
        return plan
    order = [plan.names.index(one) for one in names]
    points = [replace(one, **{field: None if getattr(one, field) is None
                              else getattr(one, field)[order]
                              for field in ('position', 'velocity', 'acceleration')})
              for one in plan.points]
    return Plan(names, plan.start_ns, points)


def blend(old: PlanSampler, new: Plan, names: tuple[str, ...], cursor_ns: int, now_ns: int,
          speed: float) -> Plan | None:
    """Old waypoints until the new plan begins, where the old one is then, then the new waypoints.

    Args:
        old: the plan in execution.
        new: the plan that arrived.
        names: joints of the controller.
        cursor_ns: time up to which the old plan was played.
        now_ns: time of this cycle.
        speed: seconds of a plan that pass per second.

    Returns:
        A plan that starts when it is first sampled, or None: these two cannot be blended.
    """
    given = [plan_index for plan_index, one in enumerate(names) if one in new.names]
    missing = [plan_index for plan_index, one in enumerate(names) if one not in new.names]
    if missing and new.points[-1].position is None:
        return None
    begin = cursor_ns
    if new.start_ns > now_ns:
        begin += int((new.start_ns - now_ns) * speed)
    bridge = old.sample(begin, advance=False)
    rows = in_order(_with_old_motion(old, new, names, missing, begin), names).points
    end = begin + new.end_ns
    points = [replace(one, time_ns=begin + one.time_ns - cursor_ns) for one in rows]
    timed = [(old.start_ns + one.time_ns, one) for one in old.plan.points]
    before = [replace(one, time_ns=at - cursor_ns) for at, one in timed if cursor_ns < at < begin]
    if bridge is not None and begin - cursor_ns < points[0].time_ns:
        before.append(replace(bridge.state, time_ns=begin - cursor_ns))
    after = [_held(replace(one, time_ns=at - cursor_ns), given, rows[-1])
             for at, one in timed if missing and at > end]
    return Plan(new.names if new.hand else names, 0, before + points + after, new.hand)


def _with_old_motion(old: PlanSampler, new: Plan, names: tuple[str, ...], missing: list[int],
                     begin: int) -> Plan:
    """Joints that the new plan leaves out keep moving as the old one has them."""
    if not missing:
        return new
    still, points = np.zeros(len(missing)), []
    for one in new.points:
        sample = old.sample(begin + one.time_ns)
        state = old.plan.points[-1] if sample is None else sample.state
        points.append(replace(
            one, position=_longer(one.position, state.position[missing]),
            velocity=_longer(one.velocity, still if state.velocity is None
                             else state.velocity[missing]),
            acceleration=_longer(one.acceleration, still if state.acceleration is None
                                 else state.acceleration[missing])))
    return Plan((*new.names, *(names[index] for index in missing)), new.start_ns, points)


def _held(point: Waypoint, joints: list[int], last: Waypoint) -> Waypoint:
    """An old waypoint in which ``joints`` stand where the new plan left them."""
    point = replace(point, **{field: None if getattr(point, field) is None
                              else getattr(point, field).copy()
                              for field in ('position', 'velocity', 'acceleration')})
    if point.position is not None:
        point.position[joints] = last.position[joints]
    for derivative in (point.velocity, point.acceleration):
        if derivative is not None:
            derivative[joints] = 0.0
    return point


def _longer(row: np.ndarray | None, more: np.ndarray) -> np.ndarray | None:
    return None if row is None else np.append(row, more)
