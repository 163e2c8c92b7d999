# SPDX-License-Identifier: Apache-2.0
"""The baseline: rows are published as they come, as this package did at first and many others do.

Positions only; the points that are past are left out; nothing knows what was sent before, how
long answers take, or what the robot does meanwhile.
"""
from collections.abc import Callable
from dataclasses import replace

from vla_pruner_ros.core.backend_interface import Backend
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.runtime.motion.robot_commands import CommandBuilder, EndEffectorCommand
from vla_pruner_ros.runtime.observation_cache import ObservationCache
from vla_pruner_ros.runtime.policy_runner import Tick

SECOND = 10**9


class NaivePublisher:
    """Answers observations like ``PolicyRunner``, and publishes what the policy says.

    Args:
        backend: the loaded policy.
        parameters: snapshot.

    Attributes:
        cache: of messages.
        coverage_ns: time of the last point that was published; None: none was.
    """

    def __init__(self, backend: Backend, parameters: Parameters):
        self.cache = ObservationCache(backend.spec, parameters)
        self.coverage_ns: int | None = None
        self._engine = PolicyEngine(backend, parameters)
        self._commands = CommandBuilder(backend.spec, parameters)
        steps = min(parameters.execution_horizon, backend.spec.action_horizon) - 0.25
        self._interval_ns = round(steps * backend.spec.control_dt * SECOND)
        self._lead_ns = round(parameters.min_lead * SECOND)

    def tick(self, now_ns: int, clock: Callable[[], int]) -> Tick:
        """Answer the newest observation, if one is due: after the executed part of a chunk."""
        take = self.cache.take(now_ns, self._interval_ns)
        if take.observation is None:
            return Tick(take.reason)
        chunk, stats = self._engine.step(take.observation)
        command = self._commands.build(chunk, take.observation)
        assert isinstance(command, EndEffectorCommand)  # the harness refuses other policies
        keep = command.times_ns >= clock() + self._lead_ns
        if not keep.any():
            return Tick('late', chunk, None, None, stats, take.observation)
        gripper = None if command.gripper is None else command.gripper[keep]
        command = replace(command, poses=command.poses[keep], times_ns=command.times_ns[keep],
                          gripper=gripper)
        return Tick('', chunk, command, None, stats, take.observation)

    def sent(self, tick: Tick, now_ns: int) -> None:
        """The command of a tick was sent."""
        assert tick.command is not None
        self.coverage_ns = int(tick.command.times_ns[-1])
