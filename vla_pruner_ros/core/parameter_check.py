# SPDX-License-Identifier: Apache-2.0
"""Whether a parameter snapshot fits a loaded policy; asked before it is accepted."""
from vla_pruner_ros.core.action_limits import check_limits
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners import check_pruner
from vla_pruner_ros.core.types import PolicySpec


def check_parameters(parameters: Parameters, spec: PolicySpec) -> None:
    """Refuse a snapshot that the policy cannot run with.

    Raises:
        ConfigError: names the parameter and what is accepted.
    """
    check_limits(parameters, spec)
    check_pruner(parameters.effective(), spec, spec.causal)
    if parameters.chunk_join == 'rtc' and not spec.can_inpaint:
        raise ConfigError(f"chunk_join is 'rtc', but the policy {spec.name!r} cannot continue "
                          "rows that it is given; accepted: replace, linear, ensemble")
