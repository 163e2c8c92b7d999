# SPDX-License-Identifier: Apache-2.0
"""What an episode says about motion: one row of the journal (JSON types)."""
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vla_pruner_ros.core.types import StepStats
from vla_pruner_ros.evaluation.real_time.driven_robot import DrivenRobot, SECOND, START_NS
from vla_pruner_ros.evaluation.real_time.real_time_plan import RealTimeJob
from vla_pruner_ros.evaluation.running.hand_paths import pack
from vla_pruner_ros.robots.controllers.motion_measures import (
    path_length,
    smoothness,
    uncovered_share,
)
from vla_pruner_ros.robots.robot_interface import Robot
from vla_pruner_ros.robots.tasks import CONTROL_DT

#: Curves are kept this much finer than paths are: a micrometre, so that velocities show no steps.
FINER = 100.0


def motion_row(job: RealTimeJob, robot: Robot, world: DrivenRobot, steps: Sequence[StepStats],
               facts: dict[str, Any], whole: bool) -> dict[str, Any]:
    """Row of an episode in which the world went on.

    Args:
        job: which one.
        robot: after it.
        world: what happened.
        steps: of all policy calls.
        facts: more for the row.
        whole: keep every cycle, for pictures.
    """
    motion = world.motion
    row = {**_common(job, robot, steps), 'seconds_to_end': _since(world.now_ns),
           'chunks': len(motion.arrivals_ns), 'refused': motion.refused, **facts,
           'uncovered': uncovered_share(motion.times_ns, motion.arrivals_ns, motion.ends_ns),
           'path_m': path_length(np.array(motion.measured))}
    for name, places in (('commanded', motion.commanded), ('measured', motion.measured)):
        row[name] = _steps(motion.times_ns, np.array(places), motion.arrivals_ns)
    if whole:
        row['curve'] = {'commanded': pack(FINER * np.array(motion.commanded)),
                        'measured': pack(FINER * np.array(motion.measured)),
                        'arrivals_s': [_since(one) for one in motion.arrivals_ns]}
    return row


def lock_step_row(job: RealTimeJob, robot: Robot, steps: Sequence[StepStats]) -> dict[str, Any]:
    """Row of an episode in which the world waited."""
    return {**_common(job, robot, steps), 'seconds_to_end': robot.step_count * CONTROL_DT}


def _common(job: RealTimeJob, robot: Robot, steps: Sequence[StepStats]) -> dict[str, Any]:
    reused = sum(one.reused for one in steps)
    return {'job': job.name, 'task': job.task, 'seed': job.seed, 'label': job.setting.label,
            'success': bool(robot.success), 'calls': len(steps), 'runs': len(steps) - reused,
            'reused': reused, 'reasons': dict(Counter(one.reuse_reason for one in steps))}


def _since(time_ns: int) -> float:
    return round((time_ns - START_NS) / SECOND, 3)


def _steps(times: list[int], places: np.ndarray, arrivals: list[int]) -> dict[str, Any]:
    """Step sizes at chunk boundaries and elsewhere; None where there is nothing to measure."""
    found = asdict(smoothness(times, places, arrivals))
    return {where: {name: None if np.isnan(value) else round(value, 7)
                    for name, value in sizes.items()} for where, sizes in found.items()}
