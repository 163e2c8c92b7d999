# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner record``: live topics into a rosbag2, where ``ros2 bag`` is not installed."""
import argparse
from collections.abc import Sequence
from pathlib import Path


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='vla-pruner record', description='Record live topics into a rosbag2 until SIGINT.')
    parser.add_argument('--topics', nargs='+', required=True, metavar='TOPIC')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='DIR',
                        help='bag directory to make')
    parser.add_argument('--duration', type=float, default=0.0, metavar='S',
                        help='stop so many seconds after the first message; 0 = on SIGINT')
    parser.add_argument('--use-sim-time', action='store_true',
                        help='log times from /clock instead of the system clock')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Record; returns the exit status."""
    options = arguments().parse_args(argv)
    from vla_pruner_ros.replay.topic_recorder import record
    return record(options)
