# SPDX-License-Identifier: Apache-2.0
"""Pruning inside unmodified ``transformers`` models."""
from vla_pruner_ros.hf.pruning_hooks import HookedPruning
from vla_pruner_ros.hf.visual_pruning import PrunedStep, VisualPruning

__all__ = ['HookedPruning', 'PrunedStep', 'VisualPruning']
