# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner replay BAG``: the policy on a recording, pruned and unpruned, compared.

The bag is read in log-time order and drives the same runner as the node does
(``policy_over_bag.py``; ``bag_clock.py`` says what time it is).  The first run is unpruned; every
other one is compared with it.  ``--out`` gets ``report.json``, plots, and pictures of the kept
tokens.
"""
import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
import sys
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters, PRUNERS
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.core.whole_number import whole_number
from vla_pruner_ros.replay.attention_probe import action_attention
from vla_pruner_ros.replay.bag_clock import choose_clock
from vla_pruner_ros.replay.bag_reader import Bag
from vla_pruner_ros.replay.bag_topics import wire
from vla_pruner_ros.replay.overlay_pictures import opencv, OverlayRecorder
from vla_pruner_ros.replay.policy_over_bag import run, RunResult
from vla_pruner_ros.replay.replay_plots import plot_all
from vla_pruner_ros.replay.replay_report import build_report, summary_table, write_json
from vla_pruner_ros.runtime.headless_pyplot import pyplot
from vla_pruner_ros.runtime.output_files import check_folder
from vla_pruner_ros.runtime.parameter_files import load_parameters
from vla_pruner_ros.runtime.policy_runner import Tick
from vla_pruner_ros.runtime.progress_line import Progress
from vla_pruner_ros.runtime.terminal_tables import terminal_width

SHEET_FRAMES = 12


def run_replay(options: argparse.Namespace) -> int:
    """Replay a bag as the command line says; returns the exit status.

    Raises:
        ConfigError: bag, configuration or arguments cannot be used; nothing was written.
        OutputError: the results cannot be written; their table was printed.
    """
    parameters = load_parameters(options.config, options.set)
    if options.instruction is not None:
        parameters = parameters.changed({'instruction': options.instruction})
    if options.limit < 0:
        raise ConfigError(f'--limit is {options.limit}; accepted: seconds, 0 = the whole bag')
    from vla_pruner_ros.backends import load_backend
    with Bag(options.bag, options.ros_distro) as bag:
        check_folder(options.out)  # both better now than after the runs
        if not options.no_pictures:
            opencv()
            pyplot('or leave them out with --no-pictures')
        backend = load_backend(parameters)
        replay(bag, backend, parameters, options)
    return 0


def replay(bag: Bag, backend: Any, parameters: Parameters, options: argparse.Namespace) -> None:
    """Make all runs on an open bag and write the results."""
    spec: PolicySpec = backend.spec
    wiring = wire(bag, parameters, spec, options.instruction)
    wanted = plan(parameters, spec, options.budgets, options.pruners)
    clock, apart = choose_clock(bag, wiring, options.clock, parameters.max_image_age)
    if apart > parameters.max_image_age:
        print(f'stamps and log times of the images are up to {apart:.1f} s apart: taking time '
              'from the stamps (--clock)', file=sys.stderr)
    messages = sum(bag.topics[topic].count for topic in wiring.topics)
    # Pictures of the first run that drops tokens; where none does, of the last one.
    pictured = next((number for number, (_, chosen) in enumerate(wanted) if chosen.token_budget),
                    len(wanted) - 1)
    recorder: Any = None
    results: list[RunResult] = []
    for number, (label, chosen) in enumerate(wanted):
        progress = Progress(f'[{number + 1}/{len(wanted)}] {label}', messages)
        hook: Callable[[Tick, RunResult], None] | None = None
        if number == 0 and len(wanted) > 1:
            hook = _probe(backend, parameters)
        if number == pictured and not options.no_pictures:
            recorder = _recorder(spec, options.out, results, parameters)
            hook = _both(hook, _draw(recorder))
        result = run(bag, wiring, backend, chosen, label, clock, options.limit,
                     progress.show, hook)
        progress.end(f'{len(result.steps)} steps')
        if not result.steps:
            raise ConfigError(nothing_done(result))
        results.append(result)
    report = build_report(bag, spec, parameters, results, clock)
    print(summary_table(report, terminal_width()), flush=True)  # first, because writing can fail
    files = [options.out / 'report.json']
    if recorder is not None:
        files += plot_all(results, report['runs'], spec, options.out)
        files += recorder.close(options.out / 'overlay.png')
        if recorder.video_problem:
            report['no_video'] = recorder.video_problem
    report['files'] = [path.name for path in files]
    write_json(report, files[0])
    print('\n'.join(str(path) for path in files))


def plan(parameters: Parameters, spec: PolicySpec, budgets: str,
         pruners: str | None) -> 'list[tuple[str, Parameters]]':
    """Runs to make: the unpruned one first, then every method at every budget.

    Raises:
        ConfigError: a budget or a method that does not exist.
    """
    runs = [('unpruned', parameters.changed({'pruner': 'none', 'token_budget': 0,
                                             'reuse': False}))]
    names = [name.strip() for name in (pruners or parameters.pruner).split(',')]
    for name in names:
        if name not in PRUNERS:
            raise ConfigError(f'--pruners has {name!r}; accepted: {", ".join(PRUNERS)}')
    tail = ' +reuse' if parameters.reuse else ''
    for text in (one.strip() for one in budgets.split(',')):
        budget = whole_number(text)
        if text != 'all' and not budget:
            raise ConfigError(f"--budgets has {text!r}; accepted: 'all' or whole numbers from 1")
        whole = not budget or budget >= spec.tokens_per_image
        if whole and parameters.reuse:
            runs.append(('all +reuse', parameters.changed({'pruner': 'none', 'token_budget': 0})))
        elif not whole:
            runs += [(f'{name} {text}{tail}',
                      parameters.changed({'pruner': name, 'token_budget': budget}))
                     for name in names if name != 'none']
    return runs


def nothing_done(result: RunResult) -> str:
    """Why a bag gave no step, in one sentence."""
    reasons = ', '.join(f'{reason} {count}x' for reason, count in result.ticks.most_common()
                        if reason)
    hint = f'; {result.message}' if result.message else ''
    if any(reason.startswith(('instruction', 'unknown_instruction')) for reason in result.ticks):
        hint += '; give an instruction that the policy knows with --instruction'
    return f'no step was possible on this bag ({reasons or "no messages"}){hint}'


def _probe(backend: Any, parameters: Parameters) -> Callable[[Tick, RunResult], None]:
    """After every unpruned step, ask the model where its actions look."""
    def hook(tick: Tick, result: RunResult) -> None:
        if tick.observation is not None and tick.chunk is not None:
            result.attention[tick.chunk.stamp_ns] = action_attention(
                backend, tick.observation, parameters.action_layers)
    return hook


def _recorder(spec: PolicySpec, out: Path, results: Sequence[RunResult],
              parameters: Parameters) -> Any:
    out.mkdir(parents=True, exist_ok=True)
    steps = results[0].steps if results else []
    chosen = np.linspace(0, max(0, len(steps) - 1), SHEET_FRAMES).round().astype(int).tolist()
    period = parameters.execution_horizon * spec.control_dt
    if len(steps) > 1:
        period = (steps[-1].stamp_ns - steps[0].stamp_ns) / 1e9 / (len(steps) - 1)
    return OverlayRecorder(spec, out / 'overlay.mp4', float(np.clip(1 / period, 1, 30)), chosen)


def _draw(recorder: Any) -> Callable[[Tick, RunResult], None]:
    def hook(tick: Tick, result: RunResult) -> None:
        if tick.observation is not None and tick.stats is not None:
            recorder.add(tick.observation.images, tick.stats, tick.observation.instruction)
    return hook


def _both(first: Callable[[Tick, RunResult], None] | None,
          second: Callable[[Tick, RunResult], None]) -> Callable[[Tick, RunResult], None]:
    def hook(tick: Tick, result: RunResult) -> None:
        if first is not None:
            first(tick, result)
        second(tick, result)
    return hook
