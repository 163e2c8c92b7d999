# SPDX-License-Identifier: Apache-2.0
"""Stopping the robot: when there is something to stop, on which outputs, with what.

The caller holds the session's gate.
"""
from collections.abc import Callable
import traceback

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.ros.command_publishers import Publishers
from vla_pruner_ros.runtime.motion.proposal import Proposal
from vla_pruner_ros.runtime.policy_runner import PolicyRunner

NOTHING = 'nothing to hold: no motion under way and no fresh measurement of the robot'


class RobotStop:
    """Publishes the safe action, and remembers whether the robot is in motion by our doing.

    Args:
        runner: knows the motion under way and where the robot is.
        publishers: of the robot's outputs and of the dry run's.
        log: (kind, words) for what has to be said.

    Attributes:
        driving: the robot was sent a motion that nothing has ended yet.
    """

    def __init__(self, runner: PolicyRunner, publishers: Publishers,
                 log: Callable[[str, str], None]):
        self.driving = False
        self._runner = runner
        self._publishers = publishers
        self._log = log

    def act(self, parameters: Parameters, now_ns: int) -> None:
        """Publish the watchdog action now, wherever the last motion went.

        What can still be said is said, whatever else fails: where a stop cannot be planned,
        streams brake by themselves.

        Raises:
            Exception: not everything could be published; the robot counts as driving on.
        """
        action, motion = parameters.watchdog_action, self._runner.motion
        if action == 'none':
            return
        proposal = self._plan(now_ns)
        targets = [False, True] if self.driving and parameters.dry_run else [parameters.dry_run]
        try:
            sent = self._publishers.stop(action, now_ns, proposal, targets)
        except BaseException:
            motion.clear()  # what was planned is over, whoever heard of it
            raise
        self.driving = False
        if proposal is None or parameters.lock_step:  # in lock step nothing is timed by the plan
            motion.clear()
        else:
            motion.commit(proposal)  # the next chunk goes on from where it is held
        if not sent or (proposal is None and action == 'hold'):
            self._log('safe_action', NOTHING)

    def _plan(self, now_ns: int) -> Proposal | None:
        try:
            return self._runner.motion.stop(now_ns, self._runner.measured(now_ns))
        except Exception:
            self._log('safe_action', f'a hold could not be planned:\n{traceback.format_exc()}')
            return None
