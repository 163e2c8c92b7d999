# SPDX-License-Identifier: Apache-2.0
"""The parameter table as files: YAML read and written, the documentation's tables, ``--set``.

Reads the YAML files of the node as they are (``/**: ros__parameters:``) and flat ``name: value``
ones; writes ``config/pruned_policy.yaml`` and the tables of the documentation, so that neither can
differ from the table in core/parameter_declarations.py.  No ROS import.
"""
from collections.abc import Mapping, Sequence
from dataclasses import Field
import json
from pathlib import Path
import textwrap
from typing import Any

import yaml

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import (
    accepted,
    GROUPS,
    LEVELS,
    Parameters,
    table,
    table_by_name,
)

NODE = 'pruned_policy'
# Parameters that every ROS node has; a file written for the node may hold them.
OF_ROS = ('use_sim_time', 'start_type_description_service', 'qos_overrides')
HEADING = """\
# Parameters of the node pruned_policy, with their defaults; made from the table in
# core/parameter_declarations.py by `make docs`; `vla-pruner params --yaml` prints it.
# "live" ones can be changed while the policy runs: ros2 param set /pruned_policy token_budget 64
# A list that is empty by default stands in a comment: parameter files cannot hold empty lists.
/**:
  ros__parameters:
"""
# What a level means, beside the parameters of that level.
WORDS = {'basic': 'depends on your robot and on what you ask of it: look at each of these',
         'expert': 'the defaults serve until there is a reason to change one'}

TABLE = ('| parameter | default | live | what it does | accepted |', '|---|---|---|---|---|')


# ---- reading


def load_parameters(path: Path | None, settings: Sequence[str] = (),
                    base: Parameters | None = None) -> Parameters:
    """Defaults, then the file, then the settings.

    Args:
        path: YAML file, or None.
        settings: ``'name=value'`` texts; lists as ``'[a, b]'`` or ``'a,b'``.
        base: what the file changes; None = the defaults of the table.

    Raises:
        ConfigError: unreadable file, unknown name or refused value.
    """
    result = base or Parameters()
    if path is not None:
        try:
            result = result.changed(read_file(path))
        except ConfigError as error:
            raise ConfigError(f'{path}: {error}') from error
    return result.changed(dict(parse_setting(text) for text in settings))


def read_file(path: Path) -> dict[str, Any]:
    """Parameter name -> value of a YAML file.

    Raises:
        ConfigError: not readable, not YAML, or not a table of parameters.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'cannot be read: {error}') from error
    except yaml.YAMLError as error:
        raise ConfigError(f'is not YAML: {error}') from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f'holds a {type(content).__name__}; accepted: parameter names with '
                          "values, or '/**:' with 'ros__parameters:'")
    sections = [value['ros__parameters'] or {} for name, value in content.items()
                if isinstance(value, Mapping) and 'ros__parameters' in value
                and str(name).lstrip('/') in ('**', NODE)]
    if not sections and any(isinstance(value, Mapping) for value in content.values()):
        raise ConfigError(f"has the sections {list(content)}; accepted: '/**' or '{NODE}' with "
                          "'ros__parameters:' below")
    merged = {name: value for section in (sections or [content])
              for name, value in section.items()}
    return {name: value for name, value in merged.items()
            if str(name).partition('.')[0] not in OF_ROS}


def parse_setting(text: str) -> 'tuple[str, Any]':
    """``'name=value'`` -> (name, value); the value is YAML.

    Raises:
        ConfigError: no '=', or a value that is not YAML.
    """
    name, equals, value = text.partition('=')
    name = name.strip()
    if not equals or not name:
        raise ConfigError(f"--set {text!r}; accepted: 'name=value'")
    spec = table_by_name().get(name)
    if spec is not None and isinstance(spec.default, str):
        return name, value.strip()
    listed = spec is not None and isinstance(spec.default, tuple)
    if listed and not value.strip().startswith('['):
        value = f'[{value}]'
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f'--set {text!r}: the value is not YAML: {error}') from error


# ---- writing


def yaml_value(value: Any) -> str:
    """One value as YAML (JSON's notation is YAML); floats keep their point."""
    if isinstance(value, tuple):
        return '[' + ', '.join(yaml_value(one) for one in value) + ']'
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return repr(value)


def entry(spec: 'Field[Any]') -> list[str]:
    """Comment and value of one parameter."""
    words = f'{spec.metadata["doc"]} Accepted: {accepted(spec)}.'
    words += ' Live.' if spec.metadata['live'] else ''
    lines = textwrap.wrap(words, 93, initial_indent='    # ', subsequent_indent='    # ')
    comment = '# ' if spec.default == () else ''
    lines.append(f'    {comment}{spec.name}: {yaml_value(spec.default)}')
    return lines


def render() -> str:
    """The whole file: basic parameters first."""
    lines: list[str] = []
    for level in LEVELS:
        lines += ['', f'    # ======== {level}: {WORDS[level]} ========']
        for group in GROUPS:
            found = of(level, group)
            if found:
                lines += ['', f'    # ---- {group} ----']
            for spec in found:
                lines += entry(spec)
    return HEADING + '\n'.join(lines).lstrip('\n') + '\n'


def of(level: str, group: str) -> list['Field[Any]']:
    """Parameters of a level and a group, in the order of the table."""
    return [spec for spec in table()
            if spec.metadata['level'] == level and spec.metadata['group'] == group]


def markdown() -> str:
    """One short table of all basic parameters, then one of the expert ones per group."""
    basic, expert = LEVELS
    lines = [f'## {basic.capitalize()}', '', f'What {WORDS[basic]}.', '', *TABLE,
             *(row(spec) for group in GROUPS for spec in of(basic, group)), '',
             f'## {expert.capitalize()}', '', f'Here {WORDS[expert]}.', '']
    for group in GROUPS:
        found = of(expert, group)
        if found:
            lines += [f'### {group}', '', *TABLE, *map(row, found), '']
    return '\n'.join(lines)


def row(spec: 'Field[Any]') -> str:
    """One line of the Markdown table."""
    value = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    cells = (f'`{spec.name}`', f'`{shown}`', '•' if spec.metadata['live'] else '',
             spec.metadata['doc'], accepted(spec))
    return '| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |'
