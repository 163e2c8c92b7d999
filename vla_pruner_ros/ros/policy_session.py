# SPDX-License-Identifier: Apache-2.0
"""One configured policy: model thread, inputs, outputs, watchdog.

Made when the node is configured, closed when it is cleaned up; everything that was set up is
undone by the same ``close``, also when setting up failed half-way.  Two threads: the executor
(callbacks, heartbeat) and the inference thread (``_step``).  Commands are sent under ``_gate``,
streams (``ros/outputs``) are waited for: nothing leaves after ``deactivate`` has returned.
"""
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
import threading
import time
import traceback
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from vla_pruner_ros.core.backend_interface import Backend
from vla_pruner_ros.core.parameter_check import check_parameters
from vla_pruner_ros.core.parameter_table import Parameters
from vla_pruner_ros.ros.command_publishers import Publishers
from vla_pruner_ros.ros.diagnostics_publisher import Reporter
from vla_pruner_ros.ros.live_parameters import LiveParameters
from vla_pruner_ros.ros.status_facts import step_facts
from vla_pruner_ros.ros.subscriptions import Inputs
from vla_pruner_ros.runtime.inference_thread import Worker
from vla_pruner_ros.runtime.input_faults import WAITING
from vla_pruner_ros.runtime.output_lines import parse_outputs
from vla_pruner_ros.runtime.policy_runner import PolicyRunner, Tick
from vla_pruner_ros.runtime.stamp_order import JUMP_BACK
from vla_pruner_ros.runtime.watchdog import Watchdog

SECOND = 10**9
HEARTBEAT = 1 / 30  # seconds
CLOCK_PATIENCE = 0.5  # seconds of wall time in which the node's clock may stand still
IDLE_WAIT = 0.1  # seconds until an idle inference thread looks again whether inputs went stale
LOG_EVERY = 30.0  # seconds between repeats of a message
LOG_GAP = 2.0  # seconds after a recovery until the same trouble is logged again
PAUSE_AFTER_ERROR = 0.05  # seconds; keeps a step that fails at once from spinning

#: Reasons of a tick (what stands before a colon) after which the robot is stopped at once.
FAILED = ('unsafe_action', 'backend_error', 'internal_error', 'no_server', 'no_answer')
#: Parameters that act on the motion under way when they change.
MOTION_LIMITS = ('max_step', 'max_velocity', 'max_acceleration', 'position_low', 'position_high')

Load = Callable[[Parameters], Backend]


class Session:
    """A loaded policy on its topics.

    Args:
        node: owns clock, logger and topics.
        live: parameters.
        load: parameters -> backend; runs on the inference thread.
        reporter: status after each step.

    Raises:
        VlaPrunerError: parameters, checkpoint or policy do not fit; nothing is left behind.
    """

    def __init__(self, node: LifecycleNode, live: LiveParameters, load: Load, reporter: Reporter):
        self.node = node
        self.live = live
        self.reporter = reporter
        self.watchdog = Watchdog()
        self.active = False
        self.reason = ''
        self.exceptions = 0
        self.last_step: dict[str, Any] = {}
        self.revision = -1
        self._epoch = 0
        self._failing = False
        self._dry_run = live.snapshot.dry_run
        self._driving = False  # the robot was sent a motion that nothing has ended yet
        self._clock = (0, 0.0)  # node time seen last, and wall time when it changed
        self._stalled = False
        self._gate = threading.RLock()
        self._logged: dict[str, float] = {}
        self._lost = ''  # trouble that was logged last and is not over
        self._limited_by = self._limits_of(live.snapshot)
        self._stack = ExitStack()
        try:
            self._build(load)
        except BaseException:
            self._stack.close()
            raise

    def _build(self, load: Load) -> None:
        revision, parameters = self.live.current
        self.worker = Worker('inference', self._on_error)
        self._stack.callback(self.worker.close)
        backend = self.worker.call(lambda: load(parameters))
        self._stack.callback(self.worker.call, backend.close)
        if backend.memory:
            self.node.get_logger().info(backend.memory)
        self.spec = backend.spec
        self.runner = self.worker.call(lambda: PolicyRunner(backend, parameters))
        self.revision = revision
        self.worker.wake = self.runner.cache.wake
        self.worker.call(self._warm_up)
        self.publishers = Publishers(self.node, self.runner, parameters, self.now, self.trouble)
        self._stack.callback(self.publishers.close)
        self.inputs = Inputs(self.node, self.spec, parameters, self.runner.cache)
        self._stack.callback(self.inputs.close)
        # Wall time: a paused /clock must not stop the heartbeat, only what it measures.
        timer = self.node.create_timer(HEARTBEAT, self._heartbeat,
                                       clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._stack.callback(self.node.destroy_timer, timer)
        # First of all when closing: let the step under way end, it may still draw an overlay.
        self._stack.callback(self.worker.call, lambda: None)

    def _warm_up(self) -> None:
        """Run the policy until it is warm, and plan for the time that it takes."""
        self.runner.expect_delay(self.runner.warm_up())

    def close(self) -> None:
        """Undo everything: stop, forget, free the model, withdraw the topics."""
        self.deactivate()
        self._stack.close()

    def now(self) -> int:
        """Node time in nanoseconds."""
        return int(self.node.get_clock().now().nanoseconds)

    def activate(self) -> None:
        """Start answering images, from a clean state."""
        with self._gate:
            self.runner.activate()
            self.publishers.forget()
            self.active = True
            self.reason = ''
            self._failing = False
            self._epoch += 1
            self._dry_run = self.live.snapshot.dry_run
        self.worker.repeat(self._step)

    def deactivate(self) -> None:
        """Stop; the last thing a robot hears is the safe action.  Harmless when not active."""
        with self._gate:
            if not self.active:
                return
            self.active = False
            self._epoch += 1
            self.watchdog.disarm()
            self._safe_action()
            self.publishers.finish()  # nothing follows
            self.runner.motion.clear()
        self.worker.repeat(None)
        self.runner.cache.clear()

    def request_reset(self) -> None:
        """Clear the policy's memory before its next step; an answer under way is not sent."""
        with self._gate:
            self._epoch += 1
            self.runner.reset('request')

    def fits(self, parameters: Parameters) -> None:
        """Refuse a snapshot that the loaded policy cannot run with.

        Raises:
            ConfigError: names the parameter and what is accepted.
        """
        check_parameters(parameters, self.spec)
        parse_outputs(parameters, self.spec, self.node.resolve_topic_name)

    def facts(self) -> dict[str, Any]:
        """Everything about the configured policy, for diagnostics and status; plain data."""
        parameters, now = self.live.snapshot, self.now()
        counts = self.runner.diagnostics()
        cameras = counts.pop('cameras')
        return {
            'backend': self.spec.name,
            'action_kind': self.spec.action_kind,
            'pruner': parameters.pruner,
            'token_budget': parameters.token_budget,
            'revision': self.live.current[0],
            'dry_run': parameters.dry_run,
            'target_period': parameters.target_period,
            'time_ns': now,
            'reason': self.reason,
            'exceptions': self.exceptions,
            'watchdog_trips': self.watchdog.trips,
            'watchdog_tripped': self.watchdog.tripped,
            'silence_s': self.watchdog.silence_ns(now) / SECOND,
            'reuse_rate': counts['reused'] / counts['steps'] if counts['steps'] else 0.0,
            'outputs': self.publishers.facts(),
            **counts,
            'cameras': {camera.role: {
                'topic': camera.topic,
                'middleware_lost': self.inputs.middleware_lost[camera.role],
                **cameras[camera.role]} for camera in self.inputs.cameras},
            'last_step': self.last_step,
        }

    # ---- inference thread

    def _step(self) -> None:
        self.runner.cache.wait(IDLE_WAIT)
        epoch = self._epoch
        revision, parameters = self.live.current
        if revision != self.revision:
            self.runner.update(parameters)
            self.revision = revision
        tick = self.runner.tick(self.now(), self.now)
        with self._gate:
            if not self.active or self._epoch != epoch:
                return
            tick = self._sendable(tick)
            self._note(tick)
            if tick.command is not None:
                self._publish(tick)
            if tick.stats is not None:
                self.last_step = step_facts(tick, tick.stats, self.revision)
                self.reporter.status({'state': 'active', 'failure': '', **self.facts()})
        if (tick.stats is not None and tick.observation is not None
                and parameters.publish_overlay and self.publishers.overlay_wanted()):
            self.publishers.overlay(tick.observation, tick.stats)

    def _sendable(self, tick: Tick) -> Tick:
        """The tick without its command where that must not be sent."""
        void = self._follow_dry_run() and tick.proposal is not None
        if void or tick.command is None:
            return replace(tick, command=None, proposal=None)
        missing = self.publishers.missing(self._dry_run)
        if not missing:
            return tick
        self.runner.counters.failure(missing)
        return replace(tick, reason=missing, command=None, proposal=None,
                       message='its action server is not there or does not answer')

    def _publish(self, tick: Tick) -> None:
        self.publishers.command(tick.command, self._dry_run)
        self.runner.sent(tick, self.now())
        if tick.proposal is not None:
            self.publishers.follow(self._dry_run)
        self._driving = self._driving or not self._dry_run
        self._failing = False
        if self.watchdog.feed(self.now()):
            self.node.get_logger().info('chunks flow again')

    def _note(self, tick: Tick) -> None:
        """Keep why there is no command; log it when it begins and ends, and now and then."""
        if tick.reason in WAITING:
            return
        if tick.reason:
            words = f'no command: {tick.reason}' + (f' ({tick.message})' if tick.message else '')
            self._log(tick.reason, words)
        elif self._lost:
            self.node.get_logger().info(f'recovered from {self._lost}')
            # A loss right after this one is the same trouble; a later one is worth a line.
            self._logged[self._lost] = time.monotonic() - LOG_EVERY + LOG_GAP
            self._lost = ''
        if tick.resets:
            self.node.get_logger().info(f'policy memory cleared: {", ".join(tick.resets)}')
        self.reason = tick.reason
        if tick.reason.partition(':')[0] in FAILED and not self._failing and self._driving:
            self._failing = True  # a policy that fails must not leave the robot in motion
            self._safe_action()

    def _log(self, key: str, words: str) -> None:
        now = time.monotonic()
        if now - self._logged.get(key, -LOG_EVERY) >= LOG_EVERY:
            self._logged[key] = now
            self._lost = key
            self.node.get_logger().warning(words)

    def _on_error(self, error: BaseException) -> None:
        """Anything unexpected in a step: say it, stop the robot, go on."""
        self.exceptions += 1
        kind = f'exception:{type(error).__name__}'
        details = ''.join(traceback.format_exception(type(error), error, error.__traceback__))
        with self._gate:
            self._log(kind, f'the control step failed:\n{details}')
            if self.active:
                self.reason = kind
                if not self._failing:
                    self._failing = True
                    self._safe_action()
        threading.Event().wait(PAUSE_AFTER_ERROR)

    def stop_for(self, reason: str) -> None:
        """Something outside the control step failed: stop the robot, go on (any thread)."""
        with self._gate:
            self.exceptions += 1
            if self.active:
                self.reason = reason
                self._safe_action()

    def trouble(self, reason: str, words: str) -> None:
        """The robot does not do what was planned: stop it, go on (any thread)."""
        with self._gate:
            self._log(reason, words)
            if self.active:
                self.reason = reason
                self.runner.counters.failure(reason)
                if self._driving:
                    self._safe_action()

    # ---- executor thread

    def _heartbeat(self) -> None:
        with self._gate:
            if not self.active:
                return
            now, parameters = self.now(), self.live.snapshot
            if now == 0:  # use_sim_time, and no /clock yet: nothing can be timed
                return
            if not self.watchdog.armed:
                self.watchdog.arm(now)
            if not self._clock_runs(now, parameters.lock_step):
                return
            self._follow_dry_run()
            timeout = int(parameters.watchdog_timeout * SECOND)
            # In lock step the robot waits for the policy: silence moves nothing.
            if not parameters.lock_step and self.watchdog.check(now, timeout):
                self.node.get_logger().error(
                    f'no chunk for {self.watchdog.silence_ns(now) / SECOND:.2f} s '
                    f'({self.reason or "no input"}); watchdog action: '
                    f'{parameters.watchdog_action}')
                self._safe_action()
            self._tighten(now, parameters)

    def _follow_dry_run(self) -> bool:
        """Switch between robot and dry run; whether there was anything to switch."""
        wanted = self.live.snapshot.dry_run
        if wanted == self._dry_run:
            return False
        if wanted:
            self._safe_action()  # the robot must not run on with its last chunk
            self.publishers.finish()
        else:
            self.runner.motion.clear()  # the robot was never there
            self.publishers.forget()
        self._dry_run = wanted
        return True

    def _clock_runs(self, now: int, lock_step: bool) -> bool:
        """Whether node time goes on; a clock that stands still or jumps back stops the robot.

        Measured by wall time: a motion timed by a clock that stands still would never end.
        """
        seen, when = self._clock
        wall = time.monotonic()
        if now != seen:
            self._clock = (now, wall)
            if self._stalled:
                self._stalled = False
                self.node.get_logger().info('the clock goes on')
            if now < seen - JUMP_BACK:
                self.runner.motion.clear()  # its times mean nothing any more
                self._safe_action(by_plan=False)
            return True
        if not lock_step and wall - when > CLOCK_PATIENCE and not self._stalled:
            self._stalled = True
            self.reason = 'clock_stopped'
            self._log('clock_stopped', 'the clock stands still (use_sim_time without /clock, or a '
                      'paused simulation): the robot is stopped')
            self._safe_action()
        return not self._stalled

    def _tighten(self, now: int, parameters: Parameters) -> None:
        """A limit that was changed acts on the motion under way, not only on the next chunk."""
        if self._limits_of(parameters) == self._limited_by:
            return
        self._limited_by = self._limits_of(parameters)
        motion = self.runner.motion
        motion.update(parameters)
        proposal = motion.relimit(now, self.runner.measured(now))
        if proposal is not None:
            self.publishers.command(proposal.command, parameters.dry_run)
            motion.commit(proposal)

    @staticmethod
    def _limits_of(parameters: Parameters) -> tuple[Any, ...]:
        return tuple(getattr(parameters, name) for name in MOTION_LIMITS)

    def _safe_action(self, by_plan: bool = True) -> None:
        """Stop the robot now, wherever the last motion went (the gate is held)."""
        parameters, now = self.live.snapshot, self.now()
        motion = self.runner.motion
        proposal = motion.stop(now, self.runner.measured(now))
        targets = [False] if self._driving or not parameters.dry_run else []
        targets += [True] if parameters.dry_run else []
        sent = self.publishers.stop(parameters.watchdog_action, now, proposal, targets, by_plan)
        if parameters.watchdog_action != 'none':
            self._driving = False
            if proposal is not None and not parameters.lock_step:
                motion.commit(proposal)  # the next chunk goes on from where it is held
            else:
                motion.clear()
            if not sent or (proposal is None and parameters.watchdog_action == 'hold'):
                self._log('safe_action', 'nothing to hold: no motion under way and no fresh '
                          'measurement of the robot')
