# SPDX-License-Identifier: Apache-2.0
"""One pass over a bag with one set of parameters: the node's own ingest path, stepped.

All messages of one instant (``bag_clock.py``) are handed over, then the runner ticks once at that
instant; computing takes no time.  So a bag gives the same chunks every time, and the newest frame
wins as it does live.
"""
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
import hashlib
from typing import Any

import numpy as np

from vla_pruner_ros.core.backend_interface import Backend
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import StepStats
from vla_pruner_ros.replay.bag_clock import instants
from vla_pruner_ros.replay.bag_reader import Bag
from vla_pruner_ros.replay.bag_topics import Wiring
from vla_pruner_ros.runtime.policy_runner import PolicyRunner, Tick

SECOND = 10**9


@dataclass(frozen=True)
class StepRecord:
    """What is kept of one answered step: the chunk (H, D) and the statistics, no images."""

    stamp_ns: int
    actions: np.ndarray
    stats: StepStats


@dataclass
class RunResult:
    """Outcome of one pass.

    Attributes:
        label: name in tables and plots.
        parameters: snapshot of the run.
        steps: answered steps in order.
        ticks: reason -> ticks (``''`` = answered).
        chunks_sha256: digest of every chunk published.
        diagnostics: counters of the runner at the end.
        message: the last error in words, or ``''``.
        attention: stamp -> per image, action attention (M,) of the unpruned model, if asked for.
    """

    label: str
    parameters: Parameters
    steps: list[StepRecord] = field(default_factory=list)
    ticks: 'Counter[str]' = field(default_factory=Counter)
    chunks_sha256: str = ''
    diagnostics: dict[str, Any] = field(default_factory=dict)
    message: str = ''
    attention: dict[int, tuple[np.ndarray, ...]] = field(default_factory=dict)


def run(bag: Bag, wiring: Wiring, backend: Backend, parameters: Parameters, label: str,
        clock: str = 'log', limit: float = 0.0,
        on_message: Callable[[int], None] = lambda done: None,
        on_tick: Callable[[Tick, 'RunResult'], None] | None = None,
        steps: int = 0) -> RunResult:
    """Drive a fresh runner with the messages of a bag.

    Args:
        bag: open bag.
        wiring: topics to read.
        backend: loaded policy; its memory is cleared first.
        parameters: of this run.
        label: name of this run.
        clock: ``'log'`` or ``'stamps'``.
        limit: seconds of bag time; 0 = all.
        on_message: called with the number of messages done.
        on_tick: called after every answered tick.
        steps: stop after so many answered steps; 0 = never.

    Raises:
        ConfigError: the bag is damaged, or the parameters do not fit the policy.
    """
    backend.reset()
    runner = PolicyRunner(backend, parameters)
    runner.warm_up()
    result = RunResult(label, parameters)
    digest = hashlib.sha256()
    start: int | None = None
    instant: int | None = None

    def tick(now_ns: int) -> None:
        outcome = runner.tick(now_ns)
        runner.sent(outcome, now_ns)
        result.ticks[outcome.reason] += 1
        result.message = outcome.message or result.message
        if outcome.command is not None and outcome.chunk is not None and outcome.stats is not None:
            actions = np.ascontiguousarray(outcome.chunk.actions, '<f8')
            digest.update(np.array([outcome.chunk.stamp_ns, *actions.shape], '<i8').tobytes())
            digest.update(actions.tobytes())
            result.steps.append(StepRecord(outcome.chunk.stamp_ns, actions, outcome.stats))
            if on_tick is not None:
                on_tick(outcome, result)

    for done, (topic, now_ns, message) in enumerate(instants(bag, wiring, clock)):
        if instant is not None and now_ns != instant:
            tick(instant)
            on_message(done)
            if steps and len(result.steps) == steps:
                instant = None
                break
        start = now_ns if start is None else start
        if limit and now_ns is not None and start is not None and now_ns - start > limit * SECOND:
            instant = None
            break
        wiring.put(runner.cache, topic, message, now_ns or 0)
        instant = now_ns
    if instant is not None:
        tick(instant)
    result.chunks_sha256 = digest.hexdigest()
    result.diagnostics = runner.diagnostics()
    return result
