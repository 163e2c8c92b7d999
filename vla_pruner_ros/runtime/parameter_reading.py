"""Parameter files and ``--set`` texts -> a ``Parameters`` snapshot.

Reads the YAML files of the node as they are (``/**: ros__parameters:``) and flat ``name: value``
ones.  Knows nothing about bags or topics.
"""
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import yaml

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_table import Parameters, table_by_name

NODE = 'pruned_policy'
# Parameters that every ROS node has; a file written for the node may hold them.
OF_ROS = ('use_sim_time', 'start_type_description_service', 'qos_overrides')


def load_parameters(path: Optional[Path], settings: Sequence[str] = (),
                    base: Optional[Parameters] = None) -> Parameters:
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


def read_file(path: Path) -> Dict[str, Any]:
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
