# SPDX-License-Identifier: Apache-2.0
"""The policies that come with this package: names, folders, files, and what their JSON says.

Reads JSON only.  Launch files and the demo ask here which cameras and tasks a policy has, long
before its weights are loaded, so this file imports no torch.
"""
from dataclasses import dataclass
import json
from pathlib import Path

from vla_pruner_ros.core.errors import ConfigError

#: The two files of a policy of the shipped family, in any folder.
CONFIGURATION, WEIGHTS_FILE = 'pocket_vla.json', 'pocket_vla.safetensors'
DEFAULT = 'metaworld'
#: Names that the parameter ``checkpoint`` accepts instead of a directory.  The last three are for
#: comparisons of methods: two further training seeds of ``tabletop``, and one whose encoder is
#: global, so that every visual token has seen the whole image.
NAMES = (DEFAULT, 'tabletop', 'tabletop-seed1', 'tabletop-seed2', 'tabletop-global')
FOLDERS: dict[str, Path] = {name: Path(__file__).parent / 'pocket' / 'weights' / name
                            for name in NAMES}


@dataclass(frozen=True)
class PolicyFacts:
    """What a configuration says about a policy.

    Attributes:
        tasks: names of the simulated tasks that it was trained on.
        cameras: roles, in the order of the policy's input.
    """

    tasks: tuple[str, ...]
    cameras: tuple[str, ...]


def is_shipped_kind(folder: Path) -> bool:
    """Tell whether a directory holds a policy of the shipped family."""
    return (folder / CONFIGURATION).is_file()


def shipped_names() -> tuple[str, ...]:
    """Names of the shipped policies whose files are here."""
    return tuple(name for name, folder in FOLDERS.items() if is_shipped_kind(folder))


def checkpoint_folder(checkpoint: str) -> Path:
    """Folder of a shipped policy (by its name; ``''`` = the default one) or of one's own.

    A shipped name wins over a directory of that name; ``./tabletop`` means the directory.

    Raises:
        ConfigError: neither; the message lists the shipped names.
    """
    if not checkpoint:
        return FOLDERS[DEFAULT]
    if checkpoint in shipped_names():
        return FOLDERS[checkpoint]
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir():
        raise ConfigError(f'checkpoint is {checkpoint!r}, which is not a directory and not a '
                          f'shipped policy; accepted: a directory, {", ".join(shipped_names())}')
    return folder


def policy_facts(checkpoint: str) -> PolicyFacts:
    """Tasks and cameras of a policy of the shipped family, without loading it.

    Args:
        checkpoint: as for ``checkpoint_folder``.

    Raises:
        ConfigError: there is no such checkpoint, or its configuration does not say it.
    """
    path = checkpoint_folder(checkpoint) / CONFIGURATION
    try:
        values = json.loads(path.read_text())
        return PolicyFacts(tuple(values['instructions']), tuple(values['cameras']))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{path} does not say which tasks and cameras the policy has '
                          f'({error!r})') from error
