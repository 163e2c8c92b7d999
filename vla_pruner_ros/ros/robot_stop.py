# SPDX-License-Identifier: Apache-2.0
"""Stopping the robot: when there is something to stop, on which topics, with what.

The caller holds the session's gate.
"""
from collections.abc import Callable
import traceback

from vla_pruner_ros.core.parameter_table import Parameters
from vla_pruner_ros.ros.command_publishers import Publishers
from vla_pruner_ros.runtime.motion.proposal import Proposal
from vla_pruner_ros.runtime.policy_runner import PolicyRunner

NOTHING = 'nothing to hold: no motion under way and no fresh measurement of the robot'


class RobotStop:
    """Publishes the safe action, and remembers whether the robot is in motion by our doing.

    Args:
        runner: knows the motion under way and where the robot is.
        publishers: of the robot's topics and of the dry run's.
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

        What can still be said is said, whatever else fails: a hold that cannot be planned or
        written down must not take the zero velocity with it.

        Raises:
            Exception: not everything could be published.
        """
        action, motion = parameters.watchdog_action, self._runner.motion
        proposal = self._plan(now_ns)
        targets = [True] if parameters.dry_run else [False]
        if self.driving and parameters.dry_run:
            targets = [False, True]
        sent = [self._send(action, now_ns, proposal, dry_run) for dry_run in targets]
        if action == 'none':
            return
        self.driving = False
        holds = action == 'hold' or self._publishers.spec.action_kind == 'joint_position'
        if proposal is not None and holds:
            motion.commit(proposal)
        else:
            motion.halt(now_ns)
        if not all(sent) or (proposal is None and holds):
            self._log('safe_action', NOTHING)

    def _plan(self, now_ns: int) -> Proposal | None:
        try:
            return self._runner.motion.stop(now_ns, self._runner.measured(now_ns))
        except Exception:
            self._log('safe_action', f'a hold could not be planned:\n{traceback.format_exc()}')
            return None

    def _send(self, action: str, now_ns: int, proposal: Proposal | None, dry_run: bool) -> bool:
        held = None if proposal is None else proposal.command
        try:
            return self._publishers.safe_action(action, now_ns, held, dry_run)
        except Exception:
            self._publishers.safe_action(action, now_ns, None, dry_run)
            raise
