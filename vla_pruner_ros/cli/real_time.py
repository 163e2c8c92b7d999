# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner real-time``: motion and success while the model takes time, in virtual time."""
import argparse
from collections.abc import Sequence
from pathlib import Path

from vla_pruner_ros.evaluation.plan import episode_plan
from vla_pruner_ros.evaluation.real_time.real_time_plan import WAYS
from vla_pruner_ros.evaluation.real_time.run_real_time import OUT, run_real_time
from vla_pruner_ros.robots.controlled_robot import CONTROLLERS

DESCRIPTION = """How the robot moves, and what it still solves, while the model takes time.

The node's own code decides what is sent; controller and simulated robot go on at 250 Hz while the
model thinks, in virtual time: nothing waits, and the same command gives the same rows.  Finished
episodes are kept at once in episodes.jsonl: the same command continues a run that was stopped, and
a larger one extends it.  Results: real_time.json, real_time.md and pictures of the curves.
"""


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog='vla-pruner real-time', description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--checkpoint', default='', metavar='POLICY', help='policy to evaluate')
    add('--tasks', help='comma-separated; default: all that the policy was trained on')
    add('--ways', default='lock_step,naive,replace,linear,ensemble', help='ways to publish, '
        f'WAY[/NAME=VALUE...]: {", ".join(WAYS)}; default %(default)s')
    add('--delays', default='0,50,100,200,400,100~', help='milliseconds that the model takes, '
        "'100~' = random around it; default %(default)s")
    add('--controllers', default='jtc', help='what stands before the robot: '
        f'{", ".join(CONTROLLERS)}; default %(default)s')
    add('--budgets', default='all', help="visual tokens kept per image: 'all', shares like 25%% "
        'or numbers; default %(default)s')
    add('--reuse', default='off', choices=('off', 'on', 'both'), help='action reuse; default '
        '%(default)s')
    add('--episodes', type=int, default=10, help='seeds per task; default %(default)s')
    add('--first-seed', type=int, help=f'default {episode_plan.FIRST_SEED}')
    add('--camera-hz', type=float, default=20.0, help='pictures per second; default %(default)s')
    add('--jobs', type=int, default=2, help='processes; default %(default)s')
    add('--config', type=Path, help='parameter file (of the node, or flat)')
    add('--set', action='append', default=[], metavar='NAME=VALUE', help='one parameter for all '
        'settings; may be given often (execution_horizon, join_time, pruner, ...)')
    add('--out', type=Path, metavar='DIR', default=OUT, help='default %(default)s')
    add('--report-only', action='store_true', help='report on the finished episodes, run nothing')
    add('--no-plots', action='store_true', help='no pictures')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit status."""
    return run_real_time(arguments().parse_args(argv))
