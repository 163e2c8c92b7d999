# SPDX-License-Identifier: Apache-2.0
"""The two files of a policy of the shipped family: the only place that reads and writes them.

Their names, and the folders of the policies that come along, are in ``shipped_policies``.
"""
from collections.abc import Mapping
import json
from pathlib import Path

import torch
from torch import Tensor

from vla_pruner_ros.backends.pocket.pocket_model import PocketConfig, PocketVLA
from vla_pruner_ros.backends.shared.safetensors_loading import check_safetensors, load_safetensors
from vla_pruner_ros.backends.shipped_policies import checkpoint_folder, CONFIGURATION, WEIGHTS_FILE
from vla_pruner_ros.core.errors import ConfigError


def read_config(folder: Path) -> PocketConfig:
    """Everything about the policy except its weights.

    Raises:
        ConfigError: there is no such file, or it is not a PocketVLA configuration.
    """
    path = folder / CONFIGURATION
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f'no policy configuration at {path}') from error
    except ValueError as error:
        raise ConfigError(f'{path} is not valid JSON: {error}') from error
    if not isinstance(values, dict):
        raise ConfigError(f'{path} must hold a JSON object')
    return PocketConfig.from_json(values)


def load_pocket(folder: Path | None = None) -> PocketVLA:
    """Load a policy, ready to run on the CPU.

    Args:
        folder: of its two files; None = the default of the shipped ones.

    Raises:
        ConfigError: a file is missing, or the configuration is not one of PocketVLA.
        BackendError: the weights do not fit; every wrong tensor is named.
    """
    folder = checkpoint_folder('') if folder is None else folder
    model = PocketVLA(read_config(folder))
    load_safetensors(model, folder / WEIGHTS_FILE)
    return model.eval()


def check_pocket(folder: Path) -> PocketConfig:
    """Read the configuration and check that the weights fit it, without loading them.

    Raises:
        As ``load_pocket``, except for values that are not finite.
    """
    config = read_config(folder)
    with torch.device('meta'):
        model = PocketVLA(config)
    check_safetensors(model, folder / WEIGHTS_FILE)
    return config


def save_pocket(folder: Path, config: PocketConfig, weights: Mapping[str, Tensor]) -> None:
    """Write both files.

    Args:
        folder: exists.
        config: goes into the JSON.
        weights: all tensors of ``PocketVLA(config).state_dict()``, in any precision.
    """
    from safetensors.torch import save_file
    save_file({name: value.contiguous() for name, value in weights.items()},
              folder / WEIGHTS_FILE)
    (folder / CONFIGURATION).write_text(json.dumps(config.to_json(), indent=1) + '\n')
