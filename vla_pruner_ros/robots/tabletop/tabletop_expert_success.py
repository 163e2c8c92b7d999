# SPDX-License-Identifier: Apache-2.0
"""How often the tabletop's experts solve their tasks, with and without noise.

``python -m vla_pruner_ros.robots.tabletop.tabletop_expert_success --seeds 100``
"""
import argparse
from collections.abc import Sequence

import numpy as np

from vla_pruner_ros.robots.tabletop.tabletop_robot import TabletopRobot
from vla_pruner_ros.robots.tasks import TABLETOP_TASKS

NOISE = {'pick-colour': 0.15, 'place-bowl': 0.15}  # of the action range, others 0.3


def run_expert(robot: TabletopRobot, seed: int, noise: float) -> str:
    """One episode; ``success``, ``failed`` (a wrong object) or ``late``."""
    robot.reset(seed)
    rng = np.random.default_rng(seed)
    while not (robot.success or robot.truncated):
        robot.apply(robot.expert_action() + noise * rng.standard_normal(4))
    return 'success' if robot.success else 'failed' if robot.judge.failed else 'late'


def main(arguments: Sequence[str] = ()) -> None:
    """Print every task's success without and with noise on the executed actions."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--tasks', nargs='+', default=list(TABLETOP_TASKS),
                        choices=list(TABLETOP_TASKS))
    parser.add_argument('--seeds', type=int, default=50)
    options = parser.parse_args(list(arguments) or None)
    print('task            limit  clean: success failed late steps  noisy: success failed late')
    for task in options.tasks:
        robot = TabletopRobot(task, 0)
        columns = []
        for noise in (0.0, NOISE.get(task, 0.3)):
            steps, ends = [], []
            for seed in range(options.seeds):
                ends.append(run_expert(robot, seed, noise))
                steps.append(robot.step_count)
            columns.append([100 * ends.count(end) / len(ends)
                            for end in ('success', 'failed', 'late')] + [np.mean(steps)])
        clean, noisy = columns
        print(f'{task:15s} {robot.task.step_limit:6d} {clean[0]:14.0f} {clean[1]:6.0f} '
              f'{clean[2]:4.0f} {clean[3]:5.1f} {noisy[0]:14.0f} {noisy[1]:6.0f} '
              f'{noisy[2]:4.0f} {noisy[3]:5.1f}', flush=True)


if __name__ == '__main__':
    main()
