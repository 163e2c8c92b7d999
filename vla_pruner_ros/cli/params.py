# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner params``: the parameter table as Markdown or as a parameter file."""
import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='vla-pruner params', description='Print the parameter table.')
    parser.add_argument('--yaml', action='store_true', help='print a parameter file instead')
    options = parser.parse_args(argv)
    from vla_pruner_ros.runtime.parameter_files import markdown, render
    print(render() if options.yaml else markdown(), end='')
    return 0
