# SPDX-License-Identifier: Apache-2.0
"""The control step: observation in, action chunk out.  Read this file first.

    observation -> reuse gate -> backend (with the pruner at layer K) -> finite check -> limits ->
    chunk

It knows the order of things and whose memories must be cleared when.  It does not know images on
topics, models, attention or token-selection methods: those sit behind the backend and pruner
seams. One thread calls ``step`` and ``reset``; ``update`` may come from another one.
"""
from collections import Counter
import dataclasses
import time

import numpy as np

from vla_pruner_ros.core.action_limits import (
    check_actions,
    joint_start,
    limit_actions,
)
from vla_pruner_ros.core.backend_interface import Backend, Prediction
from vla_pruner_ros.core.errors import (
    AnswerError,
    BackendError,
    UnsafeActionError,
    VlaPrunerError,
)
from vla_pruner_ros.core.parameter_check import check_parameters
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners import make_pruner
from vla_pruner_ros.core.reuse_instead_of_model import INSTRUCTION, REUSED, ReuseGate, thumbnail
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import ActionChunk, Observation, StepStats

#: A change of one of these makes a new pruner; all others leave its memory alone.
PRUNER_PARAMETERS = ('pruner', 'prune_layer', 'preset', 'semantic_query', 'action_layers',
                     'action_scores', 'temporal_window', 'temporal_decay',
                     'reversed_decay', 'unseen', 'refresh_period', 'seed')
#: Most model runs that ``warm_up`` spends on getting past the unpruned first steps.
WARM_UP_RUNS = 8
#: Unusable answers after which ``warm_up`` has seen enough of the model.
WARM_UP_ANSWERS = 2


class PolicyEngine:
    """A policy with pruned visual tokens and action reuse.

    Args:
        backend: the loaded policy.
        parameters: first snapshot.

    Attributes:
        resets: reason -> how often memories were cleared for it.
        limited: limit name -> action values changed since the start.
        steps: control steps answered.

    Raises:
        ConfigError: the parameters do not fit the policy.
    """

    def __init__(self, backend: Backend, parameters: Parameters):
        self.backend = backend
        self.spec = backend.spec
        self.resets: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.steps = 0
        check_parameters(parameters, self.spec)
        self._pruner = make_pruner(parameters, self.spec, self.spec.causal)
        self._gate = ReuseGate(self.spec)
        self._accepted = (0, parameters)  # one tuple: swapped in one assignment
        self._revision, self._parameters = self._accepted
        self._effective = parameters.effective()
        self._runs = 0  # model runs since the last reset
        self._instruction: str | None = None
        self._chunk_stamp_ns: int | None = None  # of the last model run
        self._answered = 0  # steps since the last model run, itself included
        self._native: np.ndarray | None = None  # see ActionChunk, of the last model run

    @property
    def parameters(self) -> Parameters:
        """The snapshot accepted last; it takes effect at the next step."""
        return self._accepted[1]

    def update(self, parameters: Parameters) -> None:
        """Accept a new snapshot for the next step, or refuse it and keep the present one.

        Raises:
            ConfigError: the parameters do not fit the policy.
        """
        check_parameters(parameters, self.spec)
        self._accepted = (self._accepted[0] + 1, parameters)

    def reset(self, reason: str) -> None:
        """Clear every memory (attention, actions, thumbnails) and count why."""
        self.resets[reason] += 1
        self._clear(reason)

    def warm_up(self) -> int:
        """Run the model on a made-up observation until it has also run pruned, then forget it.

        At least twice, because the first run pays for allocation.  All memories are cleared after
        it.  A trained policy may answer noise with something that is no action: it has run then,
        which is all that is wanted here.

        Returns:
            Nanoseconds that the last run took: about what an answer will take.

        Raises:
            BackendError: the policy cannot run; better known now than in motion.
        """
        observation = self.backend.example_observation()
        self._take_up()
        unusable = took = 0
        for run in range(WARM_UP_RUNS):
            selector = self._selector()
            begin = time.perf_counter()
            try:
                self._run(observation, selector)
                took = round((time.perf_counter() - begin) * 1e9)
            except AnswerError:  # without an answer no memory is filled: no use in going on
                unusable += 1
                if unusable == WARM_UP_ANSWERS:
                    break
                continue
            if run >= 1 and selector.unpruned_reason not in ('warm_up', 'refresh'):
                break
        self._clear('warm_up')
        return took

    def step(self, observation: Observation,
             lead_rows: int = 0) -> tuple[ActionChunk, StepStats]:
        """Answer one observation.

        Args:
            observation: newer than the one before.
            lead_rows: rows that pass until an observation is answered; a reuse that leaves fewer
                would leave the robot without a command.

        Returns:
            The chunk ((rows, D); fewer rows than the action horizon after a reuse) and what
            happened.

        Raises:
            BackendError: the model failed; memories were cleared.
            UnsafeActionError: the actions must not reach the robot; memories were cleared.
        """
        begin = time.perf_counter()
        self._take_up()
        if self._instruction not in (None, observation.instruction):
            self.reset(INSTRUCTION)
        first_row = self._first_row(observation.stamp_ns)
        stamp_ns = observation.stamp_ns
        self._instruction = observation.instruction

        thumbnails = self._thumbnails(observation)
        reason = self._gate.decide(self._effective, thumbnails, first_row, lead_rows)
        if reason == REUSED:
            actions = self._gate.take(first_row)
            self._answered += 1
            if not self._effective.lock_step and self.spec.action_horizon > 1:
                stamp_ns = self._row_time(first_row)  # the rows keep their own times
            stages: dict[str, float] = {}
            stats = self._stats(kept=(), pruned=False, unpruned_reason='', reused=True)
        else:
            selector = self._selector()
            prediction = self._predict(observation, selector)
            actions, stages = prediction.actions, dict(prediction.stages_ms)
            self._native = prediction.native
            self._chunk_stamp_ns, self._answered = observation.stamp_ns, 1
            self._gate.record(actions, prediction.kept, self._effective.execution_horizon,
                              thumbnails, joint_start(self.spec, observation))
            pruned = any(len(one) < self.spec.tokens_per_image for one in prediction.kept)
            stats = self._stats(kept=prediction.kept, pruned=pruned,
                                unpruned_reason=selector.unpruned_reason, flops=prediction.flops)
        try:
            actions, limited = limit_actions(actions, observation, self.spec, self._effective)
        except UnsafeActionError:
            self.reset('unsafe_action')
            raise
        self.limited.update(limited)
        self.steps += 1
        stages['total'] = (time.perf_counter() - begin) * 1e3
        # A reused step hands out the last rows of its chunk.
        native = None if self._native is None else self._native[-len(actions):]
        return (ActionChunk(actions, stamp_ns, self.spec.control_dt, native),
                dataclasses.replace(stats, stages_ms=stages, reuse_reason=reason, limited=limited))

    def _predict(self, observation: Observation, selector: TokenSelector) -> Prediction:
        """Run the model; whatever goes wrong, no half-updated memory survives it."""
        try:
            return self._run(observation, selector)
        except UnsafeActionError:
            self.reset('unsafe_action')
            raise
        except BackendError:
            self.reset('backend_error')
            raise

    def _run(self, observation: Observation, selector: TokenSelector) -> Prediction:
        """Run the model and check its actions; memories are the caller's business."""
        try:
            prediction = self.backend.predict_action_chunk(observation, selector)
            check_actions(prediction.actions, self.spec)
        except VlaPrunerError:  # of these an unusable input is dropped, no memory was touched
            raise
        except Exception as error:
            raise BackendError(f'policy {self.spec.name!r} failed: '
                               f'{type(error).__name__}: {error}') from error
        self._runs += 1
        return prediction

    def _selector(self) -> TokenSelector:
        return TokenSelector(self._pruner, self._effective.token_budget,
                             self.spec.tokens_per_image, step=self._runs)

    def _take_up(self) -> None:
        """Make the accepted snapshot the active one; clear only what it invalidates."""
        revision, new = self._accepted
        if revision == self._revision:
            return
        old, self._parameters, self._revision = self._parameters, new, revision
        self._effective = new.effective()
        if _differ(old, new, PRUNER_PARAMETERS):
            previous, self._pruner = self._pruner, make_pruner(new, self.spec, self.spec.causal)
            self._pruner.inherit(previous)
            self._gate.clear()  # kept sets of two methods say nothing about each other
        elif _differ(old, new, ('execution_horizon',)):
            self._gate.clear()  # which rows were executed is no longer known

    def _clear(self, reason: str) -> None:
        self._pruner.reset()
        self.backend.reset()
        self._gate.clear(reason)
        self._runs = 0
        self._instruction = self._chunk_stamp_ns = None
        self._answered = 0

    def _first_row(self, stamp_ns: int) -> int:
        """Row of the last chunk that is executed from ``stamp_ns`` on.

        By time, at least one execution horizon per answer; in lock step by answers alone.  Counted
        from the model run itself, so nothing adds up; an observation that could not be answered
        changes nothing.
        """
        horizon = min(self._effective.execution_horizon, self.spec.action_horizon)
        if self._chunk_stamp_ns is None:
            return horizon
        answered = self._answered * horizon
        if self._effective.lock_step:
            return answered
        return max(horizon,
                   round((stamp_ns - self._chunk_stamp_ns) * 1e-9 / self.spec.control_dt))

    def _row_time(self, row: int) -> int:
        """When a row of the last chunk begins."""
        assert self._chunk_stamp_ns is not None  # a reuse follows a model run
        return self._chunk_stamp_ns + row * round(self.spec.control_dt * 1e9)

    def _thumbnails(self, observation: Observation) -> dict[str, np.ndarray]:
        if not self._effective.reuse or self._effective.reuse_image_change == 0.0:
            return {}
        return {role: observation.thumbnails[role] if role in observation.thumbnails
                else thumbnail(image) for role, image in observation.images.items()}

    def _stats(self, kept: tuple[np.ndarray, ...], pruned: bool, unpruned_reason: str,
               reused: bool = False, flops: float = 0.0) -> StepStats:
        return StepStats(
            stages_ms={}, kept=kept, tokens_per_image=self.spec.tokens_per_image,
            token_budget=self._effective.token_budget, pruner=self._effective.pruner,
            pruned=pruned, unpruned_reason=unpruned_reason, reused=reused, flops=flops,
            revision=self._revision)


def _differ(old: Parameters, new: Parameters, names: tuple[str, ...]) -> bool:
    return any(getattr(old, name) != getattr(new, name) for name in names)
