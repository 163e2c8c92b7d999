# SPDX-License-Identifier: Apache-2.0
"""The outputs of one rate, told in every cycle: velocities, poses, forward controllers, grippers.

A thread of its own at a steady rate, so a busy executor does not make the robot stutter.  All
messages of one moment are made first and then sent.  A goal for a gripper is sent only when it
asks for something else than the last one.
"""
from collections.abc import Callable, Sequence
import threading
import time
from typing import Any

from vla_pruner_ros.ros.message_encoding import encode_sample
from vla_pruner_ros.ros.outputs.action_sender import ActionSender
from vla_pruner_ros.ros.outputs.topic_sender import TopicSender
from vla_pruner_ros.runtime.gripper_track import GripperTrack
from vla_pruner_ros.runtime.motion.timed_path import TimedPath
from vla_pruner_ros.runtime.output_lines import VELOCITY
from vla_pruner_ros.runtime.plan_player import PlanPlayer, Sample
from vla_pruner_ros.runtime.policy_runner import PolicyRunner
from vla_pruner_ros.runtime.steady_ticker import SteadyTicker

#: A gripper that is asked for every position between gets a goal for each hundredth of its range.
FINEST = 0.01


class PlanStream:
    """Plays the plan to some outputs.

    Args:
        senders: of one rate, at least one.
        runner: has the plan and the newest measurement.
        gripper: what it is told when.
        clock: node time in nanoseconds.
        on_error: told what a cycle raised; the stream goes on.
    """

    def __init__(self, senders: Sequence[TopicSender | ActionSender], runner: PolicyRunner,
                 gripper: GripperTrack, clock: Callable[[], int],
                 on_error: Callable[[BaseException], None]):
        """Start the thread; it says nothing before ``follow``."""
        self._senders, self._gripper, self._clock = senders, gripper, clock
        self._frame = runner.parameters.base_frame
        self._step = FINEST * abs(runner.parameters.gripper_open
                                  - runner.parameters.gripper_closed)
        self._lock = threading.Lock()
        self._rested = threading.Condition(self._lock)
        self._dry_run = True
        self._told: dict[str, float] = {}  # output -> what its gripper was asked for
        self._ticker = SteadyTicker('plan stream', senders[0].line.rate, self._tick, on_error)
        boxed = any(sender.line.kind in VELOCITY for sender in senders)
        self._player = PlanPlayer(runner.motion, self._ticker.period_ns,
                                  runner.measured if boxed else lambda now: None)
        self._ticker.start()

    def follow(self, dry_run: bool) -> None:
        """A command was sent: play it, to the robot or to ``~/dry_run``."""
        with self._lock:
            self._dry_run = dry_run
            self._player.follow()

    def stop(self, path: TimedPath | None, dry_run: bool) -> None:
        """End the motion: play ``path``, or brake where there is none."""
        with self._lock:
            self._dry_run = dry_run
            self._player.stop(path)

    def finish(self, timeout: float) -> None:
        """Stop, wait until that has been played to its end, then say nothing more.

        Nothing behind these outputs would end a motion: what has not come to rest by then is told
        to stand still.
        """
        with self._rested:
            if self._player.following:
                self._player.stop()
            if not self._rested.wait_for(self._is_over, timeout):
                self._say(self._player.still(), self._clock())
        self.silence()

    def silence(self) -> None:
        """Say nothing more."""
        with self._lock:
            self._player.silence()
            self._told.clear()

    def close(self) -> None:
        """End the thread."""
        self._ticker.close()

    def _tick(self, planned_ns: int) -> None:
        with self._lock:
            now = self._clock()
            moment = now - max(time.monotonic_ns() - planned_ns, 0)
            sample = self._player.sample(moment, planned_ns)
            if sample is not None:
                self._say(sample, now)
            self._rested.notify_all()

    def _is_over(self) -> bool:
        return not self._player.stopping or self._player.rested

    def _say(self, sample: Sample, now: int) -> None:
        gripper = self._gripper.at(sample.time_ns)
        out = [(sender, self._message(sender, sample, gripper, now)) for sender in self._senders]
        for sender, message in out:
            if message is not None:
                sender.send(message, self._dry_run)

    def _message(self, sender: TopicSender | ActionSender, sample: Sample, gripper: float | None,
                 now: int) -> Any:
        line = sender.line
        message = encode_sample(line, sample, gripper, now, self._frame)
        if message is None or not isinstance(sender, ActionSender):
            return message
        wanted, told = message.points[0].positions[0], self._told.get(line.name)
        resting = not sample.velocity.any()
        if told is not None and not sender.again() and (
                abs(wanted - told) < self._step and not (resting and wanted != told)):
            return None
        self._told[line.name] = wanted
        return message
