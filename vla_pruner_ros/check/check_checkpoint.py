# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner check CHECKPOINT --bag BAG``: real weights from download to pruned answers.

Downloads a repository id, loads it, and runs the first frames of a recording unpruned and at
several budgets in one process.  Prints what can be held against another implementation (prompt
tokens, pixels, visual tokens, first action), the memory, times and deviations, and whether the
pruned path with nothing to drop gives the unpruned answers to the bit.  Exit status 1 when one
of its checks fails.
"""
import argparse
import hashlib
import json
import resource
import sys
import time
from typing import Any

import numpy as np

from vla_pruner_ros.check.check_report import lines
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import Observation, PolicySpec
from vla_pruner_ros.replay.attention_probe import action_attention
from vla_pruner_ros.replay.bag_clock import choose_clock
from vla_pruner_ros.replay.bag_reader import Bag
from vla_pruner_ros.replay.bag_topics import IMAGES, wire, Wiring
from vla_pruner_ros.replay.policy_over_bag import run, RunResult
from vla_pruner_ros.replay.replay_report import build_report, write_json
from vla_pruner_ros.replay.run_replay import nothing_done, plan
from vla_pruner_ros.runtime.input_mapping import parse_camera_topics
from vla_pruner_ros.runtime.output_files import check_file
from vla_pruner_ros.runtime.parameter_files import load_parameters
from vla_pruner_ros.runtime.policy_runner import Tick
from vla_pruner_ros.runtime.progress_line import Progress
from vla_pruner_ros.runtime.terminal_tables import terminal_width

#: So many steps of the unpruned run are made twice.
REPEATED = 3
#: Label of the run that the others are compared with (``replay.plan`` gives it).
UNPRUNED = 'unpruned'


def run_check(options: argparse.Namespace) -> int:
    """Make the check that the command line asks for; returns the exit status.

    Raises:
        ConfigError: checkpoint, bag or arguments cannot be used.
        OutputError: the numbers cannot be written; they were printed.
    """
    if options.steps < 1:
        raise ConfigError(f'--steps is {options.steps}; accepted: 1 or more')
    if not options.bag.exists():  # before a checkpoint is downloaded
        raise ConfigError(f'there is no bag at {options.bag}')
    if options.out is not None:
        check_file(options.out)
    from vla_pruner_ros.backends import load_backend
    parameters = named(load_parameters(options.config, options.set), options.checkpoint)
    if options.instruction is not None:
        parameters = parameters.changed({'instruction': options.instruction})
    with Bag(options.bag, options.ros_distro) as bag:
        begin = time.perf_counter()
        backend = load_backend(parameters)
        seconds = time.perf_counter() - begin
        print(f'{parameters.backend} loaded in {seconds:.1f} s from {parameters.checkpoint}')
        if backend.memory:
            print(backend.memory)
        parameters = fitted(bag, parameters, backend.spec)
        report = check(bag, backend, parameters, options)
    report['load_seconds'], report['memory'] = seconds, backend.memory
    report['peak_bytes'] = peak_bytes(parameters.device)
    print('\n'.join(lines(report, terminal_width())), flush=True)
    if options.out is not None:
        write_json(report, options.out)
        print(options.out)
    return 0 if all(report['checks'].values()) else 1


def named(parameters: Parameters, checkpoint: str) -> Parameters:
    """Parameters with the checkpoint's directory and the backend that reads it.

    Raises:
        ConfigError: no such checkpoint, or one that cannot be downloaded.
    """
    from vla_pruner_ros.backends.openvla.checkpoint_loading import read_checkpoint
    from vla_pruner_ros.backends.openvla.hub_download import resolve_checkpoint
    from vla_pruner_ros.backends.shipped_policies import is_shipped_kind
    folder = resolve_checkpoint(checkpoint, parameters.revision)
    if is_shipped_kind(folder):
        backend = 'pocket'
    else:
        backend = 'openvla_oft' if read_checkpoint(folder).is_oft else 'openvla'
    return parameters.changed({'checkpoint': str(folder), 'revision': '', 'backend': backend})


def fitted(bag: Bag, parameters: Parameters, spec: PolicySpec) -> Parameters:
    """Parameters with topics of this bag where the configured ones are not in it.

    Cameras then take its image topics in alphabetical order; every change is said.
    """
    changes: dict[str, Any] = {}
    asked = parse_camera_topics(parameters.camera_topics)
    images = sorted(name for name, one in bag.topics.items() if one.type_name in IMAGES)
    roles = [one.role for one in spec.cameras]
    known = {one.topic for one in asked} <= set(images) and {one.role for one in asked} == set(
        roles)
    if not known and len(images) >= len(roles):
        changes['camera_topics'] = [
            f'{role}={topic}@' + ('compressed' if 'Compressed' in bag.topics[topic].type_name
                                  else 'raw') for role, topic in zip(roles, images)]
        print(f'camera_topics: {", ".join(changes["camera_topics"])} (of the bag)',
              file=sys.stderr)
    if parameters.pose_topic and parameters.pose_topic not in bag.topics:
        changes['pose_topic'] = ''
        print(f'pose_topic: none ({parameters.pose_topic} is not in the bag)', file=sys.stderr)
    return parameters.changed(changes)


def wired(bag: Bag, parameters: Parameters, spec: PolicySpec,
          instruction: str | None) -> Wiring:
    """Topics to read.

    Raises:
        ConfigError: something is missing; for the robot's state with what stands in for it.
    """
    try:
        return wire(bag, parameters, spec, instruction)
    except ConfigError as error:
        if not spec.state_names or 'state' not in str(error):
            raise
        still = json.dumps([f'{name}=const.0' for name in spec.state_names])
        raise ConfigError(f'{error}. To try the policy with a made-up state, which says nothing '
                          f"about how well it acts: --set 'state_sources={still}'") from error


def check(bag: Bag, backend: Any, parameters: Parameters,
          options: argparse.Namespace) -> dict[str, Any]:
    """All runs on an open bag, as plain data."""
    spec: PolicySpec = backend.spec
    wiring = wired(bag, parameters, spec, options.instruction)
    clock, _ = choose_clock(bag, wiring, options.clock, parameters.max_image_age)
    messages = sum(bag.topics[topic].count for topic in wiring.topics)
    seen: list[Observation] = []

    def look(tick: Tick, result: RunResult) -> None:
        if tick.observation is None or tick.chunk is None:
            return
        if not seen:
            seen.append(tick.observation)
        if result.label == UNPRUNED:  # one more pass that no time is taken of
            result.attention[tick.chunk.stamp_ns] = action_attention(
                backend, tick.observation, parameters.action_layers)

    def go(label: str, chosen: Parameters, steps: int) -> RunResult:
        progress = Progress(label, messages)
        result = run(bag, wiring, backend, chosen, label, clock, on_message=progress.show,
                     on_tick=look, steps=steps)
        progress.end(f'{len(result.steps)} steps')
        if not result.steps:
            raise ConfigError(nothing_done(result))
        return result

    wanted = plan(parameters, spec, options.budgets, options.pruners)
    results = [go(label, chosen, options.steps) for label, chosen in wanted]
    unpruned, plain = results[0], wanted[0][1]
    again = go('again', plain, min(REPEATED, options.steps))
    whole = go('budget = all', plain.changed({
        'pruner': parameters.pruner, 'token_budget': spec.tokens_per_image}), options.steps)
    report = build_report(bag, spec, parameters, results, clock)
    report['tool'] = 'vla-pruner check'
    report['precision'] = {'dtype': str(getattr(backend, 'dtype', '')).rpartition('.')[2],
                           'quantization': parameters.quantization}
    report['data_set'] = backend.data.key if hasattr(backend, 'data') else None
    report['facts'] = {**facts(backend, seen[0]),
                       'first_action': unpruned.steps[0].actions[0].tolist()}
    report['checks'] = {
        'every_answer_is_an_action': not any(one.diagnostics.get('failures') for one in results),
        'the_same_frames_give_the_same_answers': _same(again, unpruned, len(again.steps)),
        'a_budget_of_all_equals_unpruned': _same(whole, unpruned, options.steps)}
    return report


def _same(run: RunResult, other: RunResult, steps: int) -> bool:
    ours, theirs = run.steps[:steps], other.steps[:steps]
    return len(ours) == len(theirs) and all(
        one.stamp_ns == two.stamp_ns and np.array_equal(one.actions, two.actions)
        for one, two in zip(ours, theirs))


def facts(backend: Any, observation: Observation) -> dict[str, Any]:
    """What another implementation must agree with on the first answered frame."""
    found: dict[str, Any] = {
        'stamp_ns': observation.stamp_ns, 'instruction': observation.instruction,
        'images': {role: {'shape': list(image.shape), 'mean': float(image.mean()),
                          'sha256': hashlib.sha256(np.ascontiguousarray(image)).hexdigest()}
                   for role, image in observation.images.items()}}
    if not hasattr(backend, 'words'):  # a family without a tokenizer
        return found
    import torch
    with torch.inference_mode():
        pixels, words = backend.pixels(observation), backend.words(observation.instruction)
        language = backend.language(words) if hasattr(backend, 'language') else None
        visual = backend.model.encode(pixels, language).double()
    found['prompt_tokens'] = words[0].tolist()
    found['pixels'] = {'shape': list(pixels.shape),
                       'channel_means': pixels.double().mean(dim=(0, 2, 3)).tolist()}
    found['visual_tokens'] = {'shape': list(visual.shape), 'mean': float(visual.mean()),
                              'mean_absolute': float(visual.abs().mean())}
    return found


def peak_bytes(device: str) -> int:
    """Most memory taken so far: by torch on a GPU, else by this process."""
    if device.startswith('cuda'):
        import torch
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
