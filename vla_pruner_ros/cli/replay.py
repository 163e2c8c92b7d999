# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner replay BAG``: the policy on a recording, pruned and unpruned, compared."""
import argparse
from collections.abc import Sequence
from pathlib import Path

from vla_pruner_ros.replay.bag_clock import CLOCKS
from vla_pruner_ros.replay.bag_reader import DISTROS

DESCRIPTION = """Run the policy on a recording, pruned and unpruned, and compare.

The bag is read in log-time order and drives the same runner as the node does.  The first run is
unpruned; every other one is compared with it.  --out gets report.json, plots, and pictures of the
kept tokens.
"""


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog='vla-pruner replay', description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('bag', type=Path, help='rosbag2 directory, .mcap or .db3')
    parser.add_argument('--out', type=Path, required=True, help='directory for the results')
    parser.add_argument('--config', type=Path, help='parameter file (of the node, or flat)')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                        help='one parameter; may be given often')
    parser.add_argument('--instruction', help="used instead of the bag's instructions")
    parser.add_argument('--budgets', default='all,98,49',
                        help="tokens kept per image, e.g. 'all,98,49' (default: %(default)s)")
    parser.add_argument('--pruners', help="e.g. 'vla_pruner,random' (default: the configured one)")
    parser.add_argument('--limit', type=float, default=0.0, help='seconds of bag time')
    parser.add_argument('--clock', default='auto', choices=CLOCKS,
                        help='what time is: log times of the bag, or stamps of the messages; auto '
                        '= log unless they contradict (default)')
    parser.add_argument('--ros-distro', default='jazzy', choices=DISTROS,
                        help='message definitions for bags that hold none')
    parser.add_argument('--no-pictures', action='store_true', help='only report.json')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a bag; returns the exit status."""
    from vla_pruner_ros.replay.run_replay import run_replay
    return run_replay(arguments().parse_args(argv))
