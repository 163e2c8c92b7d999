# SPDX-License-Identifier: Apache-2.0
"""Simulators that an evaluation runs in; ``Environment`` is what one of your own derives from."""
from vla_pruner_ros.evaluation.environments.environment_interface import (
    Environment,
    environment_class,
)

__all__ = ['Environment', 'environment_class']
