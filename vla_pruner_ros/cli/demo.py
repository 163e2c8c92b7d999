# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner demo``: the whole loop on one machine, through real ROS topics."""
import argparse
from collections.abc import Sequence
from pathlib import Path

from vla_pruner_ros.backends.shipped_policies import DEFAULT, shipped_names
from vla_pruner_ros.core.parameter_declarations import PRUNERS

FIRST_SEED = 900_000  # where the seeds that no shipped policy was trained on begin


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='vla-pruner demo', description='Drive a simulated robot with a shipped policy over '
        'ROS topics, at several token budgets.')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--policy', default=DEFAULT, choices=shipped_names(),
                       help='shipped policy; default %(default)s')
    which.add_argument('--checkpoint', default='', metavar='DIR',
                       help='directory of a policy of your own instead')
    parser.add_argument('--tasks', default='',
                        help='comma-separated; default: all that the policy was trained on')
    parser.add_argument('--episodes', type=int, default=2,
                        help='per task and budget; default %(default)s')
    parser.add_argument('--budgets', default='all,98,49,49+reuse',
                        help="tokens kept per image: 'all' or a number, '+reuse' with action "
                        'reuse; default %(default)s')
    parser.add_argument('--pruner', default='vla_pruner', choices=PRUNERS)
    parser.add_argument('--seed', type=int, default=FIRST_SEED, help='of the first episode')
    parser.add_argument('--horizon', type=int, default=1,
                        help='actions executed of each chunk; default %(default)s')
    parser.add_argument('--real-time', action='store_true',
                        help='the robot does not wait for the policy')
    parser.add_argument('--viewer', action='store_true', help='show the simulator in a window')
    parser.add_argument('--keep-bag', action='store_true', help='record a rosbag2 into DIR/bag')
    parser.add_argument('--out', type=Path, default=Path('out/demo'), metavar='DIR',
                        help='default %(default)s')
    parser.add_argument('--domain', type=int, help='instead of ROS_DOMAIN_ID; default where that '
                        'is not set: a free one')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    from vla_pruner_ros.demo.run_demo import run_demo
    return run_demo(arguments().parse_args(argv))
