# SPDX-License-Identifier: Apache-2.0
"""How far precisions and rounded weights move the answers of an OpenVLA-type checkpoint.

Every precision, such as ``bfloat16`` or ``bfloat16+int8``, answers the same made-up frames, one
model in memory at a time; the first one is the reference.  Prints a table and one JSON document as
its last line.  A precision that does not run here (int8 in float16, int4 without torchao) is
listed with the reason.
"""
import argparse
from dataclasses import dataclass, field
from importlib import metadata
import json
import platform
from statistics import median
from typing import Any

import numpy as np
import torch

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends.openvla.memory_estimate import amount, held
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import AnswerError, ConfigError, MissingDependencyError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import Observation, PolicySpec
from vla_pruner_ros.replay.run_comparison import overlap
from vla_pruner_ros.runtime.parameter_files import load_parameters

WORDS = ('put the spoon on the towel', 'pick up the can', 'close the drawer', 'open the box')


@dataclass
class Answers:
    """What one precision said to every frame.

    Attributes:
        rows: hidden state of the first action row, unpruned, and its scores where there are any.
        actions: unpruned chunk (H, D), or None where the answer was no action.
        kept: kept tokens of the pruned run, () where there was none.
        decoder_ms: of the pruned run.
    """

    rows: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray | None] = field(default_factory=list)
    kept: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    decoder_ms: list[float] = field(default_factory=list)


def frame(spec: PolicySpec, number: int) -> Observation:
    """Make-believe scene: coloured blocks that move a little, a still robot."""
    images = {}
    for index, camera in enumerate(spec.cameras):
        blocks = np.random.default_rng([index, number // 8]).integers(0, 256, (8, 8, 3))
        whole = np.kron(blocks, np.ones((camera.height // 8 + 1, camera.width // 8 + 1, 1)))
        shifted = np.roll(whole, 2 * (number % 8), axis=1)
        images[camera.role] = shifted[:camera.height, :camera.width].astype(np.uint8)
    return Observation(images=images, state=np.zeros(len(spec.state_names)),
                       instruction=WORDS[number // 8 % len(WORDS)],
                       stamp_ns=round(number * spec.control_dt * 1e9))


@torch.inference_mode()
def first_row(backend: Any, observation: Observation) -> np.ndarray:
    """(n,) scores of the first action token, or the hidden row that it is read from."""
    words = backend.words(observation.instruction)
    if backend.spec.causal:
        embeds, sequence = backend.assemble(
            backend.model.encode(backend.pixels(observation)), words)
    else:
        visual = backend.model.encode(backend.pixels(observation), backend.language(words))
        embeds, sequence = backend.assemble(visual, words, backend.state(observation.state))
    hidden = backend.model.decoder(embeds, causal=backend.spec.causal)
    hidden = hidden[:, sequence.action.start:sequence.action.start + 1]
    found = backend.model.logits(hidden) if backend.model.shape.lm_head else hidden
    return np.asarray(found[0, -1].double().cpu())


def ask(backend: Any, parameters: Parameters, frames: int) -> Answers:
    """Answers of a loaded policy."""
    found = Answers()
    whole = PolicyEngine(backend, parameters.changed({'pruner': 'none', 'token_budget': 0}))
    pruned = PolicyEngine(backend, parameters)
    for number in range(frames):
        observation = frame(backend.spec, number)
        found.rows.append(first_row(backend, observation))
        try:
            found.actions.append(whole.step(observation)[0].actions)
        except AnswerError:
            found.actions.append(None)
        try:
            stats = pruned.step(observation)[1]
        except AnswerError:
            found.kept.append(())
            continue
        found.kept.append(stats.kept if stats.pruned else ())
        if stats.pruned:
            found.decoder_ms.append(stats.stages_ms['decoder'])
    return found


def deviation(ours: Answers, reference: Answers) -> dict[str, Any]:
    """Numbers against the reference; None where nothing could be compared."""
    pairs = list(zip(ours.rows, reference.rows))
    rows = [float(np.linalg.norm(one - other) / np.linalg.norm(other)) for one, other in pairs]
    actions = [np.abs(one - other) for one, other in zip(ours.actions, reference.actions)
               if one is not None and other is not None]
    kept = [overlap(one, other) for one, other in zip(ours.kept, reference.kept)
            if one and other]
    return {
        'output_relative': {'mean': float(np.mean(rows)), 'max': max(rows)},
        'same_best': float(np.mean([one.argmax() == other.argmax() for one, other in pairs])),
        'actions_compared': len(actions),
        'action_mean': float(np.mean(actions)) if actions else None,
        'action_max': float(np.max(actions)) if actions else None,
        'kept_overlap': float(np.mean(kept)) if kept else None}


def weights_bytes(backend: Any, quantization: str) -> dict[str, int]:
    """Bytes that the weights of a loaded policy really take, by precision."""
    proprio = getattr(backend, 'proprio', None)
    parts = [backend.model, getattr(backend, 'head', None),
             proprio.projector if proprio is not None else None]
    return dict(held([one for one in parts if one is not None], quantization))


def run_quantization_benchmark(options: argparse.Namespace) -> int:
    """Run the benchmark; returns the exit status.

    Raises:
        ConfigError: checkpoint or arguments cannot be used.
    """
    if options.frames < 1:
        raise ConfigError(f'--frames is {options.frames}; accepted: 1 or more')
    base = load_parameters(None, ['backend=openvla', *options.set]).changed(
        {'checkpoint': options.checkpoint})
    rows: list[dict[str, Any]] = []
    reference: Answers | None = None
    print('against the first row; output: norm of the difference over the norm; kept: share of '
          'the same tokens')
    print(f'{"precision":<15}{"weights":>11}{"output":>9}{"same best":>11}{"actions":>9}'
          f'{"kept":>7}{"decoder ms":>12}')
    for name in (one.strip() for one in options.precisions.split(',')):
        dtype, _, kind = name.partition('+')
        parameters = base.changed({'dtype': dtype, 'quantization': kind or 'none'})
        try:
            backend = load_backend(parameters)
        except (ConfigError, MissingDependencyError) as error:
            if reference is None:
                raise
            rows.append({'precision': name, 'refused': str(error)})
            print(f'{name:<15}{error}')
            continue
        memory, weights = backend.memory, weights_bytes(backend, parameters.quantization)
        answers = ask(backend, parameters, options.frames)
        del backend  # before the next one is loaded
        reference = reference or answers
        found = {'precision': name, **deviation(answers, reference), 'memory': memory,
                 'weights_bytes': weights,
                 'decoder_ms': median(answers.decoder_ms) if answers.decoder_ms else None}
        rows.append(found)
        print(f'{name:<15}{amount(sum(weights.values())):>11}{found["output_relative"]["mean"]:>9.2e}{found["same_best"]:>11.2f}'
              + ''.join(f'{value:>{width}.{digits}f}' if value is not None else f'{"-":>{width}}'
                        for value, width, digits in ((found['action_mean'], 9, 4),
                                                     (found['kept_overlap'], 7, 2),
                                                     (found['decoder_ms'], 12, 1))), flush=True)
    print(json.dumps({
        'benchmark': 'quantization', 'frames': options.frames, 'pruner': base.pruner,
        'token_budget': base.token_budget, 'device': base.device,
        'threads': torch.get_num_threads(), 'torch': torch.__version__,
        'torchao': _version('torchao'), 'machine': platform.machine(), 'rows': rows}))
    return 0


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
