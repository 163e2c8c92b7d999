# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner inspect CHECKPOINT``: what a checkpoint is and needs, without loading it."""
import argparse
from collections.abc import Sequence


def arguments() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog='vla-pruner inspect',
        description='Say what a checkpoint is and needs, without loading it.')
    parser.add_argument('checkpoint', help='directory, or repository id of the Hugging Face hub '
                        '(which is downloaded first)')
    parser.add_argument('--revision', default='', help='branch, tag or commit of a repository')
    parser.add_argument('--unnorm-key', default='', help='also print the numbers of this data set')
    parser.add_argument('--json', action='store_true', help='print JSON')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print a description; returns the exit status."""
    from vla_pruner_ros.check.inspect_checkpoint import run_inspect
    return run_inspect(arguments().parse_args(argv))
