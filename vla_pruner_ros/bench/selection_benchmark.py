# SPDX-License-Identifier: Apache-2.0
"""Time of token selection alone, for every method; no model, no images.

Prints a table of median milliseconds per image and one JSON document as its last line.  The
signals are random, the hard case for a selection: no ties, and the two pools hardly overlap.
"""
import argparse
from collections.abc import Callable, Sequence
import json
import platform
from statistics import median
import time
from typing import Any

import torch

from vla_pruner_ros.backends.shared.safetensors_loading import torch_device
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners import make_pruner
from vla_pruner_ros.core.pruners.interface import Feedback, Pruner, Signals
from vla_pruner_ros.core.types import PolicySpec

GRIDS = {196: (14, 14), 256: (16, 16)}
WIDTHS = (256, 4096)
BUDGETS = (128, 64, 32)
TEXT_ROWS = 24
WARM_UP = 3
#: What a time is read from: the wall clock, or the processor time of this process, which other
#: programs on a busy machine do not stretch (CPU only).
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


def random_signals(tokens: int, width: int, device: torch.device, seed: int = 0) -> Signals:
    """Signals of one image as a decoder of hidden size ``width`` would give them."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random).to(device)

    return Signals(
        image=0, grid=GRIDS[tokens], features=draw(tokens, width),
        prefill_attention=draw(TEXT_ROWS, tokens).softmax(dim=-1),
        text_states=draw(TEXT_ROWS, width), visual_states=draw(tokens, width),
        attention_output=draw(tokens, width))


def show_actions(pruner: Pruner, tokens: int, device: torch.device) -> None:
    """Fill the pruner's memory, so that it is past its warm-up."""
    random = torch.Generator().manual_seed(1)
    while pruner.hold_reason():
        attention = torch.rand(tokens, generator=random).to(device)
        pruner.observe(Feedback(0, torch.arange(tokens, device=device), attention, tokens))
        pruner.end_step()


def measure(name: str, tokens: int, width: int, budget: int, device: torch.device,
            repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median milliseconds of one selection.

    Args:
        name: of the pruner.
        tokens: visual tokens of the image, one of ``GRIDS``.
        width: hidden size.
        budget: tokens to keep.
        device: where the signals lie; a GPU is waited for before the clock is read.
        repeats: timed runs.
        clock: seconds; one of ``CLOCKS``.
    """
    spec = PolicySpec('bench', (), (), (), 'ee_delta', 1, 0.05, *GRIDS[tokens], decoder_layers=32)
    pruner = make_pruner(Parameters(pruner=name), spec, causal=True)
    show_actions(pruner, tokens, device)
    signals = random_signals(tokens, width, device)
    times: list[float] = []
    for _ in range(WARM_UP + repeats):
        _wait(device)
        begin = clock()
        pruner.select(signals, budget)
        _wait(device)
        times.append((clock() - begin) * 1e3)
    return median(times[WARM_UP:])


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def run_selection_benchmark(options: argparse.Namespace) -> int:
    """Run the benchmark; returns the exit status."""
    if options.repeats < 1 or options.threads < 1:
        raise ConfigError(f'--repeats is {options.repeats} and --threads is {options.threads}; '
                          'accepted: 1 or more')
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        rows = _table(options.pruners, torch_device(options.device), options.repeats,
                      CLOCKS[options.clock])
    finally:
        torch.set_num_threads(before)
    print(json.dumps({'benchmark': 'selection', 'unit': 'ms', 'statistic': 'median',
                      'clock': options.clock, 'repeats': options.repeats,
                      'threads': options.threads, 'device': options.device,
                      'torch': torch.__version__, 'machine': platform.machine(), 'rows': rows}))
    return 0


def _table(pruners: Sequence[str], device: torch.device, repeats: int,
           clock: Callable[[], float]) -> list[dict[str, Any]]:
    heads = ''.join(f'{f"keep {budget}":>10}' for budget in BUDGETS)
    print(f'{"pruner":<14}{"tokens":>7}{"width":>7}{heads}   (median ms of one selection)')
    rows: list[dict[str, Any]] = []
    for tokens in GRIDS:
        for width in WIDTHS:
            for name in pruners:
                times = [measure(name, tokens, width, budget, device, repeats, clock)
                         for budget in BUDGETS]
                rows += [{'pruner': name, 'tokens': tokens, 'width': width, 'budget': budget,
                          'ms': round(ms, 4)} for budget, ms in zip(BUDGETS, times)]
                cells = ''.join(f'{ms:>10.3f}' for ms in times)
                print(f'{name:<14}{tokens:>7}{width:>7}{cells}', flush=True)
    return rows
