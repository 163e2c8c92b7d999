# SPDX-License-Identifier: Apache-2.0
"""One controller that is told by goals of an action; a new goal takes the place of the last.

Nobody waits for an answer.  What becomes of goals is counted and shown, and a goal for the arm
that was refused or given up stops the robot: the plan is not what the robot does any more.  In dry
run the same trajectory goes to a topic.
"""
from collections import Counter
from collections.abc import Callable
from functools import partial
import threading
import time
from typing import Any

from rclpy.action import ActionClient
from rclpy.lifecycle import LifecycleNode
from trajectory_msgs.msg import JointTrajectory

from vla_pruner_ros.ros import qos_profiles as qos
from vla_pruner_ros.ros.outputs.control_actions import action_type, goal_for
from vla_pruner_ros.runtime.output_lines import GRIPPER, KINDS, OutputLine

ABORTED = 6  # of action_msgs/GoalStatus
PATIENCE = 1.0  # seconds that an answer may take, and until a refused gripper goal is tried again
FLUSH = 0.2  # seconds in which a last goal leaves the process

#: Called with a reason and a sentence when the robot does not do what was planned.
Trouble = Callable[[str, str], None]


class OrderlyClient(ActionClient):
    """An action client that may be used by other threads than the executor's.

    rclpy notes a goal after it has sent it; an answer that is faster would be thrown away.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._sending = threading.Lock()
        super().__init__(*args, **kwargs)

    def send_goal_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send a goal; its answer is looked at afterwards."""
        with self._sending:
            return super().send_goal_async(*args, **kwargs)

    async def execute(self, taken_data: Any) -> Any:
        """Handle what arrived, once no goal is half sent."""
        with self._sending:
            pass
        return await super().execute(taken_data)


class ActionSender:
    """Sends the goals of one line of ``outputs``.

    Args:
        node: makes client and publisher.
        line: which action.
        effort: of gripper goals.
        trouble: told when a goal for the arm is refused or given up.

    Raises:
        ConfigError: control_msgs does not have the action.
    """

    def __init__(self, node: LifecycleNode, line: OutputLine, effort: float, trouble: Trouble):
        """Look for the action; nobody needs to be there yet."""
        self.line = line
        self.counts: Counter[str] = Counter()
        self._node, self._effort, self._trouble = node, effort, trouble
        self._type = action_type(line)
        self._gripper = KINDS[line.kind].feeds == GRIPPER
        self._number = 0  # of the newest goal
        self._open: dict[int, tuple[float, Any]] = {}  # goals without an answer, and since when
        self._bad = ''  # what became of the newest goal that was answered, if it is not well
        self._refused_at: float | None = None
        self._handle: Any = None  # of the newest goal that was accepted
        self._client = OrderlyClient(node, self._type, line.target)
        self._dry = node.create_lifecycle_publisher(JointTrajectory, line.dry_target,
                                                    qos.command())

    def missing(self) -> str:
        """Why nothing should be sent now: ``'no_server:NAME'``, ``'no_answer:NAME'`` or ``''``."""
        if not self._client.server_is_ready():
            return f'no_server:{self.line.name}'
        if self._overdue() and not self._gripper:
            return f'no_answer:{self.line.name}'
        return ''

    def send(self, message: JointTrajectory, dry_run: bool, stop: bool = False) -> None:
        """Send a goal; ``stop`` says that it ends a motion, so that nothing follows a refusal."""
        if dry_run:
            self._dry.publish(message)
            return
        if not self._client.server_is_ready():
            self.counts['lost'] += 1
            return
        self._number += 1
        self.counts['goals'] += 1
        number = self._number
        future = self._client.send_goal_async(
            goal_for(self._type, self.line.kind, message, self._effort))
        self._open[number] = time.monotonic(), future
        future.add_done_callback(partial(self._answered, number, stop))

    def cancel(self) -> None:
        """Cancel the arm's newest goal: the controller holds by itself."""
        if self._handle is not None and not self._gripper:
            self._handle.cancel_goal_async()

    def again(self) -> bool:
        """Whether a refused goal should be tried again now; true once."""
        if self._refused_at is None or time.monotonic() - self._refused_at < PATIENCE:
            return False
        self._refused_at = None
        return True

    def facts(self) -> dict[str, Any]:
        """Plain data for diagnostics; ``trouble`` is '' while all is well."""
        trouble = self._bad
        if not self._client.server_is_ready():
            trouble = 'no_server'
        elif self._late():
            trouble = 'no_answer'
        return {'action': self.line.target, 'trouble': trouble,
                **{name: self.counts[name] for name in (
                    'goals', 'rejected', 'aborted', 'unanswered', 'lost')}}

    def close(self) -> None:
        """Give the last goal time to leave, then go."""
        if self._number:
            threading.Event().wait(FLUSH)
        self._client.destroy()
        self._node.destroy_lifecycle_publisher(self._dry)

    def _late(self) -> list[int]:
        """Numbers of the goals that were not answered in time."""
        now = time.monotonic()
        return [number for number, (since, _) in self._open.copy().items()
                if now - since > PATIENCE]

    def _overdue(self) -> bool:
        """Give up goals that nobody answered; whether there were any."""
        late = self._late()
        for number in late:
            found = self._open.pop(number, None)
            if found is not None:
                found[1].cancel()
                self.counts['unanswered'] += 1
        return bool(late)

    # ---- executor thread

    def _answered(self, number: int, stop: bool, future: Any) -> None:
        if self._open.pop(number, None) is None or future.cancelled():
            return
        handle = future.result()
        if not handle.accepted:
            self._refused('rejected', 'the controller rejected a goal', stop)
            return
        self._bad, self._handle = '', handle
        if not self._gripper:  # a gripper that meets its object may call that a failure
            handle.get_result_async().add_done_callback(partial(self._ended, number, stop))

    def _ended(self, number: int, stop: bool, future: Any) -> None:
        """A goal is over; one that a newer goal has replaced does not matter."""
        if number != self._number or future.cancelled():
            return
        answer = future.result()
        if answer.status == ABORTED:
            words = getattr(answer.result, 'error_string', '')
            self._refused('aborted', f'the controller gave up a goal: {words}', stop)

    def _refused(self, what: str, words: str, stop: bool) -> None:
        self.counts[what] += 1
        self._bad, self._refused_at = what, time.monotonic()
        if not stop and not self._gripper:
            self._trouble(f'goal_{what}:{self.line.name}', f'{words} ({self.line.target})')
