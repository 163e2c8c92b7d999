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
import traceback
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from vla_pruner_ros.core.backend_interface import Backend
from vla_pruner_ros.core.parameter_check import check_parameters
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.ros.command_publishers import Publishers
from vla_pruner_ros.ros.diagnostics_publisher import Reporter
from vla_pruner_ros.ros.parameter_changes import LiveParameters
from vla_pruner_ros.ros.robot_stop import RobotStop
from vla_pruner_ros.ros.status_facts import step_facts
from vla_pruner_ros.ros.subscriptions import Inputs
from vla_pruner_ros.ros.trouble_log import TroubleLog
from vla_pruner_ros.runtime.clock_watch import ClockNews, ClockWatch
from vla_pruner_ros.runtime.inference_thread import Worker
from vla_pruner_ros.runtime.input_faults import WAITING
from vla_pruner_ros.runtime.output_lines import parse_outputs
from vla_pruner_ros.runtime.policy_runner import PolicyRunner, Tick
from vla_pruner_ros.runtime.silence_watchdog import Watchdog

SECOND = 10**9
HEARTBEAT = 1 / 30  # seconds
IDLE_WAIT = 0.1  # seconds until an idle inference thread looks again whether inputs went stale
END_PATIENCE = 10.0  # seconds that a step under way may take when everything ends

#: Reasons of a tick (what stands before a colon) after which the robot is stopped at once.
FAILED = ('unsafe_action', 'backend_error', 'internal_error', 'no_server', 'no_answer')

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
        self._clock = ClockWatch(self.now)
        self._hung = False
        self._gate = threading.RLock()
        self._log = TroubleLog(node.get_logger())
        self._stack = ExitStack()
        try:
            self._build(load)
        except BaseException:
            self._stack.close()
            raise

    def _build(self, load: Load) -> None:
        revision, parameters = self.live.current
        self.worker = Worker('inference', self._on_error)
        self._stack.callback(self._end_worker)
        backend = self.worker.call(lambda: load(parameters))
        self._stack.callback(self._finish, backend.close)
        if backend.memory:
            self.node.get_logger().info(backend.memory)
        self.spec = backend.spec
        self.runner = self.worker.call(lambda: PolicyRunner(backend, parameters))
        self.revision = revision
        self.worker.wake = self.runner.cache.wake
        self.worker.call(self._warm_up)
        self.publishers = Publishers(self.node, self.runner, parameters, self.now, self.trouble)
        self._stack.callback(self.publishers.close)
        self.stop = RobotStop(self.runner, self.publishers, self._log.warn)
        self.inputs = Inputs(self.node, self.spec, parameters, self.runner.cache)
        self._stack.callback(self.inputs.close)
        # Wall time: a paused /clock must not stop the heartbeat, only what it measures.
        timer = self.node.create_timer(HEARTBEAT, self._heartbeat,
                                       clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._stack.callback(self.node.destroy_timer, timer)
        # First of all when closing: let the step under way end, it may still draw an overlay.
        self._stack.callback(self._finish, lambda: None)

    def _warm_up(self) -> None:
        """Run the policy until it is warm, and plan for the time that it takes."""
        self.runner.expect_delay(self.runner.warm_up())

    def close(self) -> None:
        """Undo everything: stop, forget, free the model, withdraw the topics."""
        try:
            self.deactivate()
        finally:
            self._stack.close()

    def _finish(self, job: Callable[[], None]) -> None:
        """Run a last job on the inference thread; one that hangs is not waited for for ever."""
        try:
            self.worker.call(job, 0.0 if self._hung else END_PATIENCE)
        except TimeoutError:
            if not self._hung:
                self._hung = True
                self.node.get_logger().error(
                    f'the model has not come back for {END_PATIENCE:g} s and is left behind: it '
                    'is freed when it does; if it never does, restart this process')

    def _end_worker(self) -> None:
        self.worker.close(0.0 if self._hung else END_PATIENCE)

    def now(self) -> int:
        """Node time in nanoseconds."""
        return int(self.node.get_clock().now().nanoseconds)

    def activate(self) -> None:
        """Start answering images, from a clean state."""
        with self._gate:
            self.runner.activate(self.now())
            self.publishers.forget()
            self.active = True
            self.reason = ''
            self._failing = False
            self._epoch += 1
            self._dry_run = self.live.snapshot.dry_run
            self._clock.restart()
        self.worker.repeat(self._step)

    def deactivate(self) -> None:
        """Stop; the last thing a robot hears is the safe action.  Harmless when not active."""
        with self._gate:
            if not self.active:
                return
            self.active = False
            self._epoch += 1
            self.watchdog.disarm()
            self.worker.repeat(None)
            try:
                self._safe_action()
            finally:
                self.publishers.finish()  # nothing follows
                self.runner.motion.clear(self.now())
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
            # While the clock stands still nothing can be timed.
            parameters = self.live.snapshot
            if not self.active or self._epoch != epoch or self._stands(parameters):
                return
            self._switch_dry_run(parameters)
            tick = self._sendable(tick, parameters)
            self._note(tick)
            if tick.command is not None:
                self._publish(tick, parameters)
            if tick.stats is not None:
                self.last_step = step_facts(tick, tick.stats, self.revision)
                self.reporter.status({'state': 'active', 'failure': '', **self.facts()})
            wanted = parameters.publish_overlay and self.publishers.overlay_wanted()
        if wanted and tick.stats is not None and tick.observation is not None:
            self.publishers.overlay(tick.observation, tick.stats)

    def _sendable(self, tick: Tick, parameters: Parameters) -> Tick:
        """The tick as it may be sent now: planned anew, or without its command, if need be."""
        if tick.proposal is not None and not self.runner.motion.fits(tick.proposal, parameters):
            # The robot was stopped meanwhile, or a limit changed: not what was planned before.
            tick = self.runner.again(tick, parameters, self.now())
        missing = '' if tick.command is None else self.publishers.missing(parameters.dry_run)
        if not missing:
            return tick
        self.runner.counters.failure(missing)
        return replace(tick, reason=missing, command=None, proposal=None,
                       message='its action server is not there or does not answer')

    def _publish(self, tick: Tick, parameters: Parameters) -> None:
        self.stop.driving = self.stop.driving or not parameters.dry_run
        self.publishers.command(tick.command, parameters.dry_run)
        self.runner.sent(tick, self.now())
        if tick.proposal is not None:
            self.publishers.follow(parameters.dry_run)
        self._failing = False
        if self.watchdog.feed(self.now()):
            self.node.get_logger().info('chunks flow again')

    def _note(self, tick: Tick) -> None:
        """Keep why there is no command; log it when it begins and ends, and now and then."""
        if tick.reason in WAITING:
            return
        if tick.reason:
            words = f'no command: {tick.reason}' + (f' ({tick.message})' if tick.message else '')
            self._log.warn(tick.reason, words)
        else:
            self._log.well()
        if tick.resets:
            self.node.get_logger().info(f'policy memory cleared: {", ".join(tick.resets)}')
        self.reason = tick.reason
        if tick.reason.partition(':')[0] in FAILED and not self._failing and self.stop.driving:
            self._safe_action()  # a policy that fails must not leave the robot in motion
            self._failing = True

    def _on_error(self, error: BaseException) -> None:
        """Anything unexpected in a step: say it, stop the robot, go on."""
        self.exceptions += 1
        kind = f'exception:{type(error).__name__}'
        details = ''.join(traceback.format_exception(type(error), error, error.__traceback__))
        with self._gate:
            self._log.warn(kind, f'the control step failed:\n{details}')
            if self.active:
                self.reason = kind
                if not self._failing:
                    self._safe_action()
                    self._failing = True

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
            self._log.warn(reason, words)
            if self.active:
                self.reason = reason
                self.runner.counters.failure(reason)
                if self.stop.driving:
                    self._safe_action()

    # ---- executor thread

    def _heartbeat(self) -> None:
        with self._gate:
            if not self.active:
                return
            parameters = self.live.snapshot
            news = self._clock.look(self.node.get_clock().ros_time_is_active)
            now = news.now_ns
            if now == 0 and not self.watchdog.armed:
                return  # use_sim_time, and no /clock yet: nothing can be timed
            if not self.watchdog.armed:
                self.watchdog.arm(now)
            self._heed(news, parameters)
            if self._stands(parameters):
                return
            self._switch_dry_run(parameters)
            timeout = int(parameters.watchdog_timeout * SECOND)
            # In lock step the robot waits for the policy: silence moves nothing.
            if not parameters.lock_step and self.watchdog.check(now, timeout):
                self.node.get_logger().error(
                    f'no chunk for {self.watchdog.silence_ns(now) / SECOND:.2f} s '
                    f'({self.reason or "no input"}); watchdog action: '
                    f'{parameters.watchdog_action}')
                self._safe_action()
            self._tighten(now, parameters)

    def _heed(self, news: ClockNews, parameters: Parameters) -> None:
        """A clock that stands still or was set stops the robot: its times mean nothing any more.

        Judged by wall time: a motion timed by a clock that stands still would never end.
        """
        if news.resumed and not parameters.lock_step:
            self.node.get_logger().info('the clock goes on')
        if news.jump_ns:
            self._log.warn('clock_jump', 'the clock was set by '
                           f'{news.jump_ns / SECOND:.3f} s: the robot is stopped')
            self._epoch += 1  # an answer under way belongs to another time
            self.watchdog.arm(news.now_ns)
            if self.node.get_clock().ros_time_is_active:
                self.runner.motion.clear()  # a simulation began again: nobody knows where
            else:
                self.runner.motion.shift(news.jump_ns)  # the robot is where it was
            self._end_motion()
        elif news.stopped and not parameters.lock_step:
            self.reason = 'clock_stopped'
            self._log.warn('clock_stopped', 'the clock stands still (use_sim_time without /clock, '
                           'or a paused simulation): the robot is stopped')
            self._end_motion()

    def _stands(self, parameters: Parameters) -> bool:
        """Whether a clock that stands still forbids motion; in lock step it waits for us."""
        return self._clock.standing and not parameters.lock_step

    def _end_motion(self) -> None:
        """Stop, and end the velocities also where the safe action is to do nothing."""
        self._safe_action()
        if self.live.snapshot.watchdog_action == 'none':
            self.runner.motion.clear()

    def _switch_dry_run(self, parameters: Parameters) -> None:
        """Between dry run and earnest nothing is carried over: the robot did only one of them."""
        if parameters.dry_run == self._dry_run:
            return
        if parameters.dry_run:
            self._safe_action()  # the robot must not run on with its last chunk
            self.publishers.finish()
        else:
            self.publishers.forget()
        self.runner.motion.clear()
        self._dry_run = parameters.dry_run

    def _tighten(self, now: int, parameters: Parameters) -> None:
        """A limit that was changed acts on the motion under way, not only on the next chunk."""
        motion = self.runner.motion
        if not motion.outdated(parameters):
            return
        motion.update(parameters)
        proposal = motion.relimit(now, self.runner.measured(now))
        if proposal is not None:
            self.publishers.command(proposal.command, parameters.dry_run)
            motion.commit(proposal)

    def _safe_action(self) -> None:
        """Publish the watchdog action now (the gate is held)."""
        parameters = self.live.snapshot
        if not parameters.dry_run:
            self._switch_dry_run(parameters)  # the robot never did what a dry run did
        self.stop.act(parameters, self.now())
