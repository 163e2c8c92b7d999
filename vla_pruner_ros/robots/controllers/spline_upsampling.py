# SPDX-License-Identifier: Apache-2.0
"""Velocities for chunks of positions, as joint_trajectory_controller's positions_upsampling.

``rest`` is what master of August 2026 does (fill_cubic_spline_velocities, synthesize_timing): a
cubic spline through the waypoints whose velocity is zero at the first and at the last one.
``continuous`` is modelled from the description of pull request 2573 only, its source was not at
hand: the velocity at the first waypoint is that of the last command; at the last one it is zero.
"""
import numpy as np

from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND
from vla_pruner_ros.robots.controllers.timed_plan import Plan
from vla_pruner_ros.robots.controllers.value_spaces import Space


def upsample(plan: Plan, space: Space, frequency: float,
             first_velocity: np.ndarray | None) -> None:
    """Fill in times (where all are zero) and velocities, in place; other plans stay as they are.

    Args:
        plan: in the order of its message.
        space: of its values.
        frequency: rows per second, 0 = leave times alone.
        first_velocity: at the first waypoint, None = at rest.
    """
    points = plan.points
    if not points or any(one.position is None or one.velocity is not None
                         or one.acceleration is not None for one in points):
        return
    if frequency > 0 and not any(one.time_ns for one in points):
        for index, point in enumerate(points):
            point.time_ns = int((index + 1) / frequency * SECOND)
    times = np.array([one.time_ns for one in points]) / SECOND
    same = len({len(one.position) for one in points}) == 1
    if len(points) < 2 or (np.diff(times) <= 0).any() or not same:
        return
    ways = np.array([space.difference(before.position, after.position)
                     for before, after in zip(points, points[1:])])
    for point, velocity in zip(points, knot_velocities(times, ways, first_velocity)):
        point.velocity = velocity


def knot_velocities(times: np.ndarray, ways: np.ndarray,
                    first: np.ndarray | None = None) -> np.ndarray:
    """Velocities (P, D) that make the acceleration continuous; zero at the end.

    Args:
        times: (P,) seconds, increasing.
        ways: (P - 1, D) from each point to the next.
        first: (D,) at the first point, None = zero.
    """
    count = len(times)
    spans = np.diff(times)
    matrix, right = np.eye(count), np.zeros((count, ways.shape[1]))
    right[0] = 0.0 if first is None else first
    for i in range(1, count - 1):
        before, after = spans[i - 1], spans[i]
        matrix[i, i - 1:i + 2] = 1 / before, 2 / before + 2 / after, 1 / after
        right[i] = 3 * (ways[i - 1] / before**2 + ways[i] / after**2)
    return np.linalg.solve(matrix, right)
