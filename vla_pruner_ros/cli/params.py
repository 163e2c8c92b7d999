"""``vla-pruner params``: the parameter table as Markdown (README) or YAML (configuration file)."""
import argparse
from dataclasses import Field
from typing import Any, List, Optional, Sequence

from vla_pruner_ros.core.parameter_table import accepted, GROUPS, table


def markdown() -> str:
    """One table per group; a dot marks parameters that may change while the policy runs."""
    lines: List[str] = []
    for group in GROUPS:
        lines += [f'**{group}**', '', '| parameter | default | live | what it does | accepted |',
                  '|---|---|---|---|---|']
        lines += [row(spec) for spec in table() if spec.metadata['group'] == group]
        lines.append('')
    return '\n'.join(lines)


def row(spec: 'Field[Any]') -> str:
    """One line of the Markdown table."""
    value = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    cells = (f'`{spec.name}`', f'`{shown}`', '•' if spec.metadata['live'] else '',
             spec.metadata['doc'], accepted(spec))
    return '| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |'


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog='vla-pruner params', description=__doc__)
    parser.add_argument('--yaml', action='store_true', help='print a parameter file instead')
    if parser.parse_args(argv).yaml:
        from vla_pruner_ros.runtime.parameter_files import render
        print(render(), end='')
    else:
        print(markdown(), end='')
    return 0
