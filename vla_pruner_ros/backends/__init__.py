# SPDX-License-Identifier: Apache-2.0
"""The policy families: found by name, imported when first asked for.

A backend class has ``load(checkpoint, device)``: a checkpoint directory (None = the weights
shipped with it) and a torch device give a ready ``Backend``.
A class with more options than that has ``from_parameters(parameters, device)`` instead and finds
its checkpoint itself.
With ``outline(parameters)`` it tells what its files say without loading (``policy_outline.py``).
"""
from importlib import import_module
from typing import Any, TYPE_CHECKING

from vla_pruner_ros.backends.shipped_policies import checkpoint_folder
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.registries import BACKENDS as REGISTRY

if TYPE_CHECKING:  # needs torch; ``shipped`` is read without
    from vla_pruner_ros.core.backend_interface import Backend

_FAMILIES = 'vla_pruner_ros.backends.'


def backend_class(name: str) -> Any:
    """Import a backend class by its registry name.

    Raises:
        ConfigError: no such backend; the message lists the known ones.
    """
    if name not in REGISTRY:
        raise ConfigError(f'backend is {name!r}; accepted: one of {", ".join(REGISTRY)}')
    module, _, attribute = REGISTRY[name].partition(':')
    return getattr(import_module(_FAMILIES + module), attribute)


def load_backend(parameters: Parameters) -> 'Backend':
    """Load the policy that ``parameters`` names (backend, checkpoint, device, threads).

    Raises:
        ConfigError: unknown backend, a checkpoint that is neither a shipped policy nor a
            directory, a missing file, no such device, or an option that the backend does not have.
        BackendError: the checkpoint does not fit; the message names every wrong tensor.
    """
    found = backend_class(parameters.backend)
    with_options = getattr(found, 'from_parameters', None)
    checkpoint = None
    if with_options is None:
        if parameters.checkpoint:
            checkpoint = checkpoint_folder(parameters.checkpoint)
        if parameters.quantization != 'none':
            raise ConfigError(f'quantization is {parameters.quantization!r}; the backend '
                              f"{parameters.backend!r} accepts only 'none'")
    import torch

    from vla_pruner_ros.backends.shared.safetensors_loading import torch_device
    device = torch_device(parameters.device)
    if parameters.threads:
        torch.set_num_threads(parameters.threads)
    loaded: Backend = (found.load(checkpoint, device) if with_options is None
                       else with_options(parameters, device))
    return loaded
