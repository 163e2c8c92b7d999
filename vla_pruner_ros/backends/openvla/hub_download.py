# SPDX-License-Identifier: Apache-2.0
"""A checkpoint by name: a directory, or a repository of the Hugging Face hub."""
from pathlib import Path
import re

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.core.install_hints import how_to_install

#: Files that are fetched; code in a repository is never wanted.
WANTED = ('*.safetensors', '*.json', '*checkpoint.pt')
REPOSITORY = re.compile(r'^[A-Za-z0-9][\w.-]*/[\w.-]+$')


def resolve_checkpoint(checkpoint: str, revision: str = '') -> Path:
    """Return the directory of a checkpoint, downloading it where it is a repository id.

    Args:
        checkpoint: directory, or ``owner/name``.
        revision: branch, tag or commit of the repository; empty = its main branch.

    Raises:
        ConfigError: neither, or the repository cannot be had.
        MissingDependencyError: a repository id without ``huggingface_hub``.
    """
    if not checkpoint:
        raise ConfigError('this backend has no weights of its own; set checkpoint to a directory, '
                          "or to a repository id such as 'openvla/openvla-7b'")
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        if revision:
            raise ConfigError(f'revision is {revision!r}, but {checkpoint!r} is a directory; '
                              'revisions belong to repository ids')
        return folder
    if not REPOSITORY.match(checkpoint) or folder.exists():
        raise ConfigError(f'checkpoint is {checkpoint!r}, which is neither a directory nor a '
                          "repository id 'owner/name'")
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            f'checkpoint {checkpoint!r} is not a directory; to download it as a repository: '
            f'{how_to_install("huggingface_hub")}') from error
    try:
        return Path(huggingface_hub.snapshot_download(
            checkpoint, revision=revision or None, allow_patterns=list(WANTED)))
    except Exception as error:  # network, access rights, unknown repository or revision
        raise ConfigError(f'cannot download {checkpoint!r} (revision {revision or "main"}): '
                          f'{type(error).__name__}: {error}') from error
