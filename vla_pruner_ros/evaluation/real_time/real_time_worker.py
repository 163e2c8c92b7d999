# SPDX-License-Identifier: Apache-2.0
"""Runs episodes in which the world goes on while the model thinks.

The node's own ``PolicyRunner`` decides what is sent; the model is really run, and the time that
it takes is drawn (``model_delays``), so a row depends on its job only.
"""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_pruner_ros.core.backend_interface import Backend, Prediction
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import Observation, StepStats
from vla_pruner_ros.evaluation.environments.simulated_robot import Simulation
from vla_pruner_ros.evaluation.real_time.driven_robot import DrivenRobot
from vla_pruner_ros.evaluation.real_time.model_delays import DelayDraws, MS
from vla_pruner_ros.evaluation.real_time.motion_row import lock_step_row, motion_row
from vla_pruner_ros.evaluation.real_time.naive_publisher import NaivePublisher
from vla_pruner_ros.evaluation.real_time.real_time_plan import LOCK_STEP, NAIVE, RealTimeJob
from vla_pruner_ros.robots.camera_topics import camera_topics, MAX_SKEW
from vla_pruner_ros.robots.controlled_robot import CYCLE_NS
from vla_pruner_ros.robots.policy_parameters import real_time_parameters
from vla_pruner_ros.robots.robot_interface import Robot
from vla_pruner_ros.runtime.motion.robot_commands import CommandBuilder
from vla_pruner_ros.runtime.policy_runner import PolicyRunner


@dataclass(frozen=True)
class RealTimeSetup:
    """What a worker process starts from.

    Attributes:
        parameters: policy, device and all that the settings share.
        camera_hz: pictures per second.
        curves_of: seed whose motions are kept whole, for pictures.
    """

    parameters: Parameters
    camera_hz: float = 20.0
    curves_of: int = -1


class DelayedBackend(Backend):
    """A policy whose answers take virtual time; the world goes on meanwhile."""

    def __init__(self, backend: Backend):
        self.spec = backend.spec
        self.wait: Callable[[], None] = lambda: None  # lets the time of one answer pass
        self._backend = backend

    def predict_action_chunk(self, observation: Observation,
                             selector: TokenSelector) -> Prediction:
        """Let the time of an answer pass, then answer."""
        self.wait()
        return self._backend.predict_action_chunk(observation, selector)

    def example_observation(self) -> Observation:
        """As of the policy."""
        return self._backend.example_observation()

    def reset(self) -> None:
        """Forget per-episode state."""
        self._backend.reset()

    def close(self) -> None:
        """Free the policy."""
        self._backend.close()


class RealTimeWorker:
    """One loaded policy and the simulated robots.

    Args:
        setup: which ones.

    Raises:
        ConfigError: they cannot be loaded, or do not fit each other.
    """

    def __init__(self, setup: RealTimeSetup):
        from vla_pruner_ros.backends import load_backend
        self._setup = setup
        backend = load_backend(setup.parameters)
        self._simulation = Simulation(backend.spec)
        self._backend = DelayedBackend(backend)
        cameras = [one.role for one in backend.spec.cameras]
        self._parameters = setup.parameters.changed({
            'gripper_open': 1.0, 'gripper_closed': 0.0, 'camera_topics': camera_topics(cameras),
            **({'max_skew': MAX_SKEW} if len(cameras) > 1 else {})})
        PolicyEngine(self._backend, self._parameters).warm_up()

    def run(self, job: RealTimeJob) -> dict[str, Any]:
        """Run one episode; the answer is a row of the journal."""
        self._simulation.start(job.task, job.seed)
        robot = self._simulation.robot
        self._backend.reset()
        parameters = job.setting.apply(self._parameters.changed(
            {'seed': job.seed, 'instruction': robot.instruction,
             **real_time_parameters(job.task)}))
        if job.setting.way == LOCK_STEP:
            return lock_step_row(job, robot, self._lock_step(parameters))
        draws = DelayDraws(job.setting.delay, job.seed)
        if job.setting.way == NAIVE:
            return self._naive(job, robot, parameters, draws)
        return self._joined(job, robot, parameters, draws)

    def _joined(self, job: RealTimeJob, robot: Robot, parameters: Parameters,
                draws: DelayDraws) -> dict[str, Any]:
        self._backend.wait = lambda: None
        runner = PolicyRunner(self._backend, parameters)
        runner.expect_delay(job.setting.delay.mean_ms * MS)  # the node measures it at its start

        def velocity(now: int, period: int) -> np.ndarray | None:
            return runner.motion.velocity(now, period, runner.measured(now))
        world = DrivenRobot(robot, runner.cache, job.setting.controller, self._setup.camera_hz,
                            velocity if job.setting.controller == 'servo' else None)
        steps = self._drive(world, runner, draws, lambda: runner.motion.coverage_ns or 0)
        facts = runner.diagnostics()
        return motion_row(job, robot, world, steps, {
            'timing': facts['timing'], 'delay_ms': facts['delay_ms'],
            'restarts': facts['motion_restarts'], 'drops': facts['drops']},
            job.seed == self._setup.curves_of)

    def _naive(self, job: RealTimeJob, robot: Robot, parameters: Parameters,
               draws: DelayDraws) -> dict[str, Any]:
        if job.setting.controller == 'servo':
            raise ConfigError('naive publishing sends trajectories; servo takes velocities')
        runner = NaivePublisher(self._backend, parameters)
        world = DrivenRobot(robot, runner.cache, job.setting.controller, self._setup.camera_hz)
        steps = self._drive(world, runner, draws, lambda: runner.coverage_ns or 0)
        return motion_row(job, robot, world, steps, {}, job.seed == self._setup.curves_of)

    def _drive(self, world: DrivenRobot, runner: Any, draws: DelayDraws,
               coverage: Any) -> list[StepStats]:
        """The node's loop: whenever there is news, one tick."""
        steps: list[StepStats] = []
        self._backend.wait = lambda: world.advance(draws.next_ns())
        while not world.over:
            tick = runner.tick(world.now_ns, lambda: world.now_ns)
            if tick.stats is not None:
                steps.append(tick.stats)
            if tick.command is not None:
                runner.sent(tick, world.now_ns)
                world.send(tick.command, coverage())
            world.advance(CYCLE_NS)
        return steps

    def _lock_step(self, parameters: Parameters) -> list[StepStats]:
        """The same episode with a world that waits."""
        self._backend.wait = lambda: None
        environment = self._simulation
        engine = PolicyEngine(self._backend, parameters)
        builder = CommandBuilder(self._backend.spec, parameters)
        steps: list[StepStats] = []
        while not environment.done:
            observation = environment.observe()
            chunk, stats = engine.step(observation)
            steps.append(stats)
            for row in environment.rows(chunk, builder.build(chunk, observation),
                                        parameters.execution_horizon):
                environment.execute(row)
                if environment.done:
                    break
        return steps

    def close(self) -> None:
        """Free simulators and policy."""
        self._simulation.close()
        self._backend.close()
