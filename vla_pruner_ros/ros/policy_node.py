# SPDX-License-Identifier: Apache-2.0
"""The node ``pruned_policy``: life cycle, parameters and start; the work is done by ``Session``.

Imports no model code until it is configured, so that ``main`` can still set the process
environment (OpenMP reads its policy when it is loaded).
"""
from collections.abc import Callable
import sys
import threading
import traceback
from typing import Any, TYPE_CHECKING

from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from std_srvs.srv import Trigger

from vla_pruner_ros.core.errors import ConfigError, VlaPrunerError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.ros.diagnostics_publisher import Reporter
from vla_pruner_ros.ros.parameter_changes import LiveParameters
from vla_pruner_ros.ros.ros_process import ros_process

if TYPE_CHECKING:
    from vla_pruner_ros.core.backend_interface import Backend
    from vla_pruner_ros.ros.policy_session import Session

PAUSE_AFTER_ERROR = 0.05  # seconds; a callback that fails again and again leaves time for others
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def _load(parameters: Parameters) -> 'Backend':
    from vla_pruner_ros.backends import load_backend
    return load_backend(parameters)


class PolicyNode(LifecycleNode):
    """Managed node around one policy.

    Args:
        load: parameters -> backend.
        node_name: default name.
        options: of ``rclpy.node.Node``.

    Raises:
        ConfigError: a parameter given at start is refused.
    """

    def __init__(self, load: 'Callable[[Parameters], Backend]' = _load,
                 node_name: str = 'pruned_policy', **options: Any):
        super().__init__(node_name, **options)
        self.session: Session | None = None
        self._load = load
        self.state = 'unconfigured'
        self._failure = ''
        self.live = LiveParameters(self)
        self._reporter = Reporter(self)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self._wall_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._report_timer = self.create_timer(1 / self.live.snapshot.status_rate, self._report,
                                               clock=self._wall_clock)
        self._show()

    def autostart(self) -> bool:
        """Configure and activate if the parameter says so; False when that failed."""
        if not self.live.snapshot.autostart:
            return True
        return bool(self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS)

    # ---- transitions; rclpy swallows their exceptions, so each is logged here

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up the policy, open its topics; on failure stay unconfigured."""
        from vla_pruner_ros.ros.policy_session import Session
        try:
            self.live.configured = True  # nothing that shapes the model may change from here on
            self.session = Session(self, self.live, self._load, self._reporter)
            self.live.fits = self.session.fits
            super().on_configure(state)
        except Exception as error:
            self._teardown()
            # The first line says what to do; the traceback is for whoever wrote the backend.
            self._failure = str(error) if isinstance(error, VlaPrunerError) else repr(error)
            self.get_logger().error(f'configuration failed: {self._failure}\n'
                                    f'{traceback.format_exc()}')
            return self._entered('unconfigured', FAILURE)
        self._failure = ''
        self.destroy_timer(self._report_timer)
        self._report_timer = self.create_timer(1 / self.live.snapshot.status_rate, self._report,
                                               clock=self._wall_clock)
        self.get_logger().info(f'policy {self.session.spec.name!r} is ready')
        return self._entered('inactive', SUCCESS)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget everything old, then answer images."""
        return self._guarded('activate', state, 'active')

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop; publish the safe action."""
        return self._guarded('deactivate', state, 'inactive')

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and withdraw the topics."""
        self._teardown()
        return self._entered('unconfigured', SUCCESS)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As cleanup, from any state."""
        self._teardown()
        return self._entered('finalized', SUCCESS)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As cleanup; the node can be configured again."""
        self._teardown()
        return self._entered('unconfigured', SUCCESS)

    def _guarded(self, verb: str, state: LifecycleState, after: str) -> TransitionCallbackReturn:
        assert self.session is not None  # the state machine allows this only when configured
        try:
            if verb == 'activate':
                super().on_activate(state)  # enables the publishers
                self.session.activate()
            else:
                self.session.deactivate()
                super().on_deactivate(state)
        except Exception:
            self.get_logger().error(f'{verb} failed:\n{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        return self._entered(after, SUCCESS)

    def _teardown(self) -> None:
        session, self.session = self.session, None
        self.live.fits = lambda parameters: None
        try:
            if session is not None:
                session.close()
        except Exception:
            self.get_logger().error(f'clean-up failed:\n{traceback.format_exc()}')
        self.live.configured = False

    def _entered(self, state: str, result: TransitionCallbackReturn) -> TransitionCallbackReturn:
        self.state = state
        self._show()
        return result

    # ---- what the node says

    def facts(self) -> dict[str, Any]:
        """Plain data for diagnostics and status."""
        facts: dict[str, Any] = {'state': self.state, 'failure': self._failure,
                                 'revision': self.live.current[0]}
        return {**facts, **self.session.facts()} if self.session is not None else facts

    def _show(self) -> None:
        self._reporter.status(self.facts())

    def _report(self) -> None:
        self._reporter.diagnose(self.facts())

    def survive(self, error: BaseException) -> None:
        """A callback failed: stop the robot, say it, and go on."""
        try:
            if self.session is not None:
                self.session.stop_for(f'exception:{type(error).__name__}')
        finally:
            self.get_logger().error(
                f'a callback failed, the robot is stopped: {error!r}\n'
                + ''.join(traceback.format_exception(type(error), error, error.__traceback__)),
                throttle_duration_sec=5.0)

    def end(self) -> None:
        """Shut down; whatever fails on the way there, the safe action is tried."""
        try:
            if self.state != 'finalized':
                self.trigger_shutdown()
        finally:
            self._teardown()

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.session is None:
            response.success, response.message = False, f'the node is {self.state}'
        else:
            self.session.request_reset()
            response.success = True
            response.message = 'the policy forgets everything before its next step'
        return response


def _spin(node: PolicyNode, executor: SingleThreadedExecutor, stop: threading.Event) -> None:
    """Serve callbacks until ``stop``; one that fails stops the robot, not the node."""
    while not stop.is_set():
        try:
            executor.spin_once(timeout_sec=0.1)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # of a library in another language, too
            node.survive(error)
            stop.wait(PAUSE_AFTER_ERROR)


def main(args: list[str] | None = None,
         load: 'Callable[[Parameters], Backend]' = _load) -> int:
    """Run the node until SIGINT, SIGTERM or SIGHUP; all stop it cleanly, after a safe action.

    So does everything else that ends it: nothing leaves this function with a robot in motion.

    Returns:
        0, or 2 when a parameter given at start is refused.

    Raises:
        ConfigError: ROS refuses its arguments or cannot start.
    """
    with ros_process(args) as stop:
        try:
            node = PolicyNode(load)
        except ConfigError as error:
            get_logger('pruned_policy').fatal(str(error))
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            node.autostart()
            _spin(node, executor, stop)
        finally:
            node.end()
        executor.shutdown()
        node.destroy_node()
    return 0


if __name__ == '__main__':
    sys.exit(main())
