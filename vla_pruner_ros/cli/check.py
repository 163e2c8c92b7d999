# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner check CHECKPOINT --bag BAG``: real weights from download to pruned answers."""
import argparse
from collections.abc import Sequence
from pathlib import Path

from vla_pruner_ros.replay.bag_clock import CLOCKS
from vla_pruner_ros.replay.bag_reader import DISTROS

DESCRIPTION = """Try real weights on a recording, unpruned and at several budgets.

Downloads a repository id, loads it, and runs the first frames of a recording in one process.
Prints what can be held against another implementation (prompt tokens, pixels, visual tokens, first
action), the memory, times and deviations, and whether the pruned path with nothing to drop gives
the unpruned answers to the bit.  Exit status 1 when one of its checks fails.
"""


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog='vla-pruner check', description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='directory, or repository id of the Hugging Face hub')
    parser.add_argument('--bag', type=Path, required=True, help='rosbag2 directory, .mcap or .db3')
    parser.add_argument('--config', type=Path, help='parameter file (of the node, or flat)')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                        help='one parameter; may be given often')
    parser.add_argument('--steps', type=int, default=100, help='answered frames per run '
                        '(default: %(default)s)')
    parser.add_argument('--budgets', default='128,64,32', help='default: %(default)s')
    parser.add_argument('--pruners', help="e.g. 'vla_pruner,fastv' (default: the configured one)")
    parser.add_argument('--instruction', help="used instead of the bag's instructions")
    parser.add_argument('--clock', default='auto', choices=CLOCKS, help='as of replay')
    parser.add_argument('--ros-distro', default='jazzy', choices=DISTROS,
                        help='message definitions for bags that hold none')
    parser.add_argument('--out', type=Path, help='JSON file for all numbers')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Make the check; returns the exit status."""
    from vla_pruner_ros.check.check_checkpoint import run_check
    return run_check(arguments().parse_args(argv))
