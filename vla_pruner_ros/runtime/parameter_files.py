"""Writes ``config/pruned_policy.yaml`` from the parameter table, so that the two cannot differ.

``python -m vla_pruner_ros.runtime.parameter_files > config/pruned_policy.yaml``.  No ROS import.
"""
from dataclasses import Field
import json
import textwrap
from typing import Any, List

from vla_pruner_ros.core.parameter_table import accepted, GROUPS, table

HEADING = """\
# Parameters of the node pruned_policy, with their defaults; made from the table in
# vla_pruner_ros/core/parameter_table.py by `python -m vla_pruner_ros.runtime.parameter_files`.
# "live" ones can be changed while the policy runs: ros2 param set /pruned_policy token_budget 64
# A list that is empty by default stands in a comment: parameter files cannot hold empty lists.
/**:
  ros__parameters:
"""


def yaml_value(value: Any) -> str:
    """One value as YAML (JSON's notation is YAML); floats keep their point."""
    if isinstance(value, tuple):
        return '[' + ', '.join(yaml_value(one) for one in value) + ']'
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return repr(value)


def entry(spec: 'Field[Any]') -> List[str]:
    """Comment and value of one parameter."""
    words = f'{spec.metadata["doc"]} Accepted: {accepted(spec)}.'
    words += ' Live.' if spec.metadata['live'] else ''
    lines = textwrap.wrap(words, 93, initial_indent='    # ', subsequent_indent='    # ')
    comment = '# ' if spec.default == () else ''
    lines.append(f'    {comment}{spec.name}: {yaml_value(spec.default)}')
    return lines


def render() -> str:
    """The whole file."""
    lines: List[str] = []
    for group in GROUPS:
        lines += ['', f'    # ---- {group} ----']
        for spec in table():
            if spec.metadata['group'] == group:
                lines += entry(spec)
    return HEADING + '\n'.join(lines).lstrip('\n') + '\n'


def main() -> None:
    """Print the file."""
    print(render(), end='')


if __name__ == '__main__':
    main()
