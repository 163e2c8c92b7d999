# SPDX-License-Identifier: Apache-2.0
"""Runs episodes: environment + engine, with the control step of the node, in lock step.

Every episode gets its own engine, so nothing is remembered from one to the next and a row depends
on its job only, whichever process runs it.
"""
from collections import Counter
from dataclasses import dataclass
import time
from typing import Any

import numpy as np

from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import AnswerError, UnsafeActionError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import StepStats
from vla_pruner_ros.evaluation.environments.environment_interface import environment_class
from vla_pruner_ros.evaluation.plan.episode_plan import Job
from vla_pruner_ros.evaluation.running.hand_paths import pack
from vla_pruner_ros.runtime.motion.robot_commands import CommandBuilder


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process starts from.

    Attributes:
        environment: see ``environments.environment_class``.
        parameters: policy, device and all that the variants share.
        warm_up: see ``plan.WARM_UPS``.
    """

    environment: str
    parameters: Parameters
    warm_up: str = 'settle'


class EpisodeWorker:
    """One loaded policy and one simulator.

    Args:
        setup: which ones.

    Raises:
        ConfigError: they cannot be loaded, or do not fit each other.
        BackendError: the policy cannot run.
    """

    def __init__(self, setup: WorkerSetup):
        from vla_pruner_ros.backends import load_backend
        # Outputs in the simulator's unit: opening, 0 closed to 1 open.
        self._parameters = setup.parameters.changed(
            {'lock_step': True, 'gripper_open': 1.0, 'gripper_closed': 0.0})
        self._warm_up = setup.warm_up
        self._backend = load_backend(self._parameters)
        self._environment = environment_class(setup.environment)(self._backend.spec)
        PolicyEngine(self._backend, self._parameters).warm_up()  # its cost is not measured

    def run(self, job: Job) -> dict[str, Any]:
        """Run one episode; the answer is a row of the journal (see ``EpisodeRecord.row``)."""
        parameters = job.variant.apply(self._parameters).changed({'seed': job.seed})
        self._backend.reset()
        record = EpisodeRecord(job)
        self._environment.start(job.task, job.seed)
        record.path.append(self._environment.position)
        try:
            self._drive(parameters, record)
        except UnsafeActionError:
            record.error = 'unsafe_action'  # a robot would have stopped here
        except AnswerError:
            record.error = 'no_action'  # words instead of action tokens, say
        return record.row(self._environment.success)

    def _drive(self, parameters: Parameters, record: 'EpisodeRecord') -> None:
        environment, horizon = self._environment, parameters.execution_horizon
        builder = CommandBuilder(self._backend.spec, parameters)
        unpruned = self._parameters.temporal_window if self._warm_up == 'equal' else 0
        engine = PolicyEngine(self._backend, parameters.changed({'token_budget': 0}) if unpruned
                              else parameters)
        if self._warm_up == 'settle' and parameters.pruner != 'none':
            self._settle(engine, parameters)
        while not environment.done:
            observation = environment.observe()
            chunk, stats = engine.step(observation)
            record.steps.append(stats)
            unpruned -= not stats.reused
            if unpruned == 0:
                engine.update(parameters)
            for row in environment.rows(chunk, builder.build(chunk, observation), horizon):
                environment.execute(row)
                record.path.append(environment.position)
                if environment.done:
                    break

    def _settle(self, engine: PolicyEngine, parameters: Parameters) -> None:
        """Fill the pruner's memory on the first observation; nothing is executed.

        With another execution horizon, so that the change back makes the engine forget these
        actions: action reuse must not continue what was never executed.
        """
        horizon = parameters.execution_horizon
        engine.update(parameters.changed({'token_budget': 0, 'reuse': False, 'execution_horizon':
                                          horizon - 1 if horizon > 1 else 2}))
        observation = self._environment.observe()
        for _ in range(self._parameters.temporal_window):
            engine.step(observation)
        engine.update(parameters)

    def close(self) -> None:
        """Free simulator and policy."""
        self._environment.close()
        self._backend.close()


class EpisodeRecord:
    """What happened in one episode.

    Args:
        job: which one.

    Attributes:
        path: end-effector positions (3,), one per control step and the first one.
        steps: of all policy calls.
        error: why it was broken off, or ``''``.
    """

    def __init__(self, job: Job):
        self._job = job
        self._begin = time.perf_counter()
        self.path: list[np.ndarray] = []
        self.steps: list[StepStats] = []
        self.error = ''

    def row(self, success: bool) -> dict[str, Any]:
        """The journal's row (JSON types).

        Only ``seconds`` and the keys that begin with ``ms`` differ when a job is repeated.
        ``flops`` is the sum over the policy calls, reused ones cost 0.  ``ms_stages`` are medians
        over the model runs, ``ms_call`` is the mean over all calls.  ``overlap`` is the mean share
        of kept tokens that the pruned run before kept too, ``ever_kept`` the share of all tokens
        that any pruned run kept; both None without two pruned runs.
        """
        runs = [one for one in self.steps if not one.reused]
        totals = [one.stages_ms['total'] for one in self.steps]
        stages = {name: round(float(np.median([one.stages_ms.get(name, 0.0) for one in runs])), 3)
                  for name in (runs[0].stages_ms if runs else ())}
        return {
            'job': self._job.name, 'task': self._job.task, 'seed': self._job.seed,
            'label': self._job.variant.label, 'success': bool(success and not self.error),
            'error': self.error, 'steps': len(self.path) - 1, 'calls': len(self.steps),
            'runs': len(runs), 'reused': len(self.steps) - len(runs),
            'reasons': dict(Counter(one.reuse_reason for one in self.steps)),
            'pruned': sum(one.pruned for one in runs),
            'flops': float(sum(one.flops for one in self.steps)),
            'limited': int(sum(sum(one.limited.values()) for one in self.steps)),
            **self._choice([one for one in runs if one.pruned]),
            'ms_stages': stages, 'ms_call': round(float(np.mean(totals)), 3) if totals else 0.0,
            'seconds': round(time.perf_counter() - self._begin, 3),
            'path': pack(self.path)}

    @staticmethod
    def _choice(pruned: list[StepStats]) -> dict[str, Any]:
        """How much the choice of tokens moves: the sign of a self-confirming selection."""
        if len(pruned) < 2:
            return {'overlap': None, 'ever_kept': None}
        shared, total, ever = 0, 0, 0
        for image in range(len(pruned[0].kept)):
            chosen = [set(one.kept[image].tolist()) for one in pruned]
            shared += sum(len(a & b) for a, b in zip(chosen, chosen[1:]))
            total += sum(len(one) for one in chosen[1:])
            ever += len(set().union(*chosen))
        tokens = len(pruned[0].kept) * pruned[0].tokens_per_image
        return {'overlap': round(shared / total, 4), 'ever_kept': round(ever / tokens, 4)}
