# SPDX-License-Identifier: Apache-2.0
"""The token-selection methods: one file each, found by name, imported when first asked for."""
from importlib import import_module

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners.interface import Pruner
from vla_pruner_ros.core.registries import PRUNERS as REGISTRY
from vla_pruner_ros.core.types import PolicySpec

#: Layers of the decoder that the papers' prune layers refer to (Llama-2-7B).
REFERENCE_LAYERS = 32

_METHODS = 'vla_pruner_ros.core.pruners.methods.'


def pruner_class(name: str) -> type[Pruner]:
    """Import a method by its registry name.

    Raises:
        ConfigError: no such method; the message lists the known ones.
    """
    if name not in REGISTRY:
        raise ConfigError(f'pruner is {name!r}; accepted: one of {", ".join(REGISTRY)}')
    module, _, attribute = REGISTRY[name].partition(':')
    found: type[Pruner] = getattr(import_module(_METHODS + module), attribute)
    return found


def resolve_layer(method: type[Pruner], prune_layer: int, decoder_layers: int) -> int:
    """Decoder layer before which ``method`` cuts.

    A ``prune_layer`` below 0 takes the paper's layer, scaled from 32 layers to this decoder: at
    least 1 for methods that the paper runs inside the decoder, and never behind the last layer.

    Raises:
        ConfigError: the layer does not exist, or is 0 for a method that reads decoder signals.
    """
    lowest = 1 if method.reads_decoder else 0
    highest = decoder_layers - 1
    if highest < lowest:
        raise ConfigError(f'pruner {method.name!r} reads signals at the layer before the cut, but '
                          f'the decoder has only {decoder_layers} layer')
    if prune_layer < 0:
        if method.reference_layer == 0:
            return 0
        scaled = round(method.reference_layer * decoder_layers / REFERENCE_LAYERS)
        return min(max(1, scaled), highest)
    if not lowest <= prune_layer <= highest:
        why = (f'pruner {method.name!r} reads signals at the layer before the cut'
               if prune_layer < lowest else f'the decoder has {decoder_layers} layers')
        raise ConfigError(f'prune_layer is {prune_layer}, but {why}; accepted for this pruner: '
                          f'{lowest} to {highest}, or -1 for its default')
    return prune_layer


def check_pruner(parameters: Parameters, spec: PolicySpec, causal: bool) -> int:
    """Refuse parameters that no pruner can be made with; the layer before which it would cut.

    Args:
        parameters: snapshot, its preset applied.
        spec: of the policy; the default prune layer scales with its decoder.
        causal: the prefill runs under a causal mask.

    Raises:
        ConfigError: unknown method, or a setting that does not fit it or the decoder.
    """
    method = pruner_class(parameters.pruner)
    layer = resolve_layer(method, parameters.prune_layer, spec.decoder_layers)
    method.check(parameters, layer, spec.decoder_layers, causal)
    return layer


def make_pruner(parameters: Parameters, spec: PolicySpec, causal: bool) -> Pruner:
    """Make the pruner that ``parameters`` asks for.

    Args:
        parameters: snapshot; its preset is applied here.
        spec: of the policy.
        causal: the prefill runs under a causal mask (decides ``semantic_query: auto``).

    Raises:
        ConfigError: as ``check_pruner``.
    """
    parameters = parameters.effective()
    layer = check_pruner(parameters, spec, causal)
    return pruner_class(parameters.pruner).build(parameters, layer, causal)
