# SPDX-License-Identifier: Apache-2.0
"""What a policy's files say about it without loading it: enough to plan an evaluation.

A backend class tells it with ``outline(parameters)``, which also refuses files that do not fit;
only a policy of a class without it is loaded.
"""
from dataclasses import dataclass

from vla_pruner_ros.backends import backend_class, load_backend
from vla_pruner_ros.core.parameter_declarations import Parameters


@dataclass(frozen=True)
class PolicyOutline:
    """A policy in short.

    Attributes:
        tokens_per_image: visual tokens of one image.
        tasks: names of the simulated tasks that it was trained on; () where nothing says it.
    """

    tokens_per_image: int
    tasks: tuple[str, ...] = ()


def policy_outline(parameters: Parameters) -> PolicyOutline:
    """Outline of the policy that ``parameters`` names.

    Raises:
        ConfigError: unknown backend, no such checkpoint, a missing file, or an option that the
            backend does not have.
        BackendError: the weights do not fit; the message names every wrong tensor.
    """
    tell = getattr(backend_class(parameters.backend), 'outline', None)
    if tell is not None:
        outline: PolicyOutline = tell(parameters)
        return outline
    backend = load_backend(parameters)
    backend.close()
    return PolicyOutline(backend.spec.tokens_per_image)
