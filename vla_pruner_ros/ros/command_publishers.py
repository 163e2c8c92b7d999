# SPDX-License-Identifier: Apache-2.0
"""Everything that leaves the policy node towards a robot, and the picture for people.

The lines of ``outputs`` say which controllers there are.  All messages of one command are encoded
first and then sent, so half a command never reaches hardware.  In dry run the same messages go to
``~/dry_run/...`` and the robot gets nothing.
"""
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import Observation, StepStats
from vla_pruner_ros.ros import message_encoding as messages
from vla_pruner_ros.ros import qos_profiles as qos
from vla_pruner_ros.ros.outputs.action_sender import ActionSender, Trouble
from vla_pruner_ros.ros.outputs.messages_of_a_stop import stop_messages
from vla_pruner_ros.ros.outputs.plan_stream import PlanStream
from vla_pruner_ros.ros.outputs.topic_sender import TopicSender
from vla_pruner_ros.runtime.gripper_track import GripperTrack
from vla_pruner_ros.runtime.motion.proposal import Proposal
from vla_pruner_ros.runtime.output_lines import parse_outputs
from vla_pruner_ros.runtime.policy_runner import PolicyRunner
from vla_pruner_ros.runtime.token_overlay import draw_overlay, side_by_side

LONGEST_STOP = 3.0  # seconds that the end of a stop is waited for


class Publishers:
    """Outputs of one policy.

    Args:
        node: makes publishers and action clients.
        runner: policy, plan and measurements.
        parameters: names and frames (fixed while configured).
        clock: node time in nanoseconds.
        trouble: told when the robot does not do what was planned; may come from any thread.

    Raises:
        ConfigError: ``outputs`` cannot be used.
    """

    def __init__(self, node: LifecycleNode, runner: PolicyRunner, parameters: Parameters,
                 clock: Callable[[], int], trouble: Trouble):
        """Advertise the topics and look for the actions."""
        self.spec = runner.spec
        self._node, self._frame, self._trouble = node, parameters.base_frame, trouble
        self._gripper = GripperTrack()
        self.lines = parse_outputs(parameters, self.spec, node.resolve_topic_name)
        self._senders: dict[str, TopicSender | ActionSender] = {}
        self._streams: list[PlanStream] = []
        self._overlay = node.create_publisher(Image, '~/overlay', qos.overlay())
        try:
            for line in self.lines:
                self._senders[line.name] = (
                    ActionSender(node, line, parameters.gripper_effort, trouble) if line.action
                    else TopicSender(node, line))
        except BaseException:
            self.close()
            raise
        rates = defaultdict(list)
        for sender in self._senders.values():
            rates[sender.line.rate].append(sender)
        self._streams = [PlanStream(senders, runner, self._gripper, clock, self._stream_failed)
                         for rate, senders in rates.items() if rate]

    def close(self) -> None:
        """Withdraw everything, once what was sent has arrived."""
        for stream in self._streams:
            stream.close()
        for sender in self._senders.values():
            sender.close()
        self._node.destroy_publisher(self._overlay)

    def missing(self, dry_run: bool) -> str:
        """Why no command may be sent now, e.g. ``'no_server:left'``; '' if one may."""
        reasons = () if dry_run else (sender.missing() for sender in self._senders.values())
        return next((reason for reason in reasons if reason), '')

    def command(self, command: Any, dry_run: bool) -> None:
        """Send all messages of a command."""
        filled = self._gripper.filled(command)
        out = [(line.name, messages.encode(line, filled, self._frame))
               for line in self.lines if not line.rate]
        for name, message in out:
            if message is not None:
                self._senders[name].send(message, dry_run)
        self._gripper.put(filled)

    def follow(self, dry_run: bool) -> None:
        """The command was noted as the motion under way: streams play it from now on."""
        for stream in self._streams:
            stream.follow(dry_run)

    def stop(self, action: str, now_ns: int, stop: Proposal | None,
             targets: Sequence[bool]) -> bool:
        """Send what ends a motion; see ``messages_of_a_stop.stop_messages``.

        What can still be said is said, whatever else fails: streams come first, because they would
        play on, and an output that cannot be written to does not take the others with it.

        Args:
            action: the watchdog's.
            now_ns: node time.
            stop: braking and holding; None where nothing is known to hold.
            targets: for each, whether it is ``~/dry_run``; streams stop on the first.

        Returns:
            Whether anything was sent; without anything to hold a joint policy cannot.

        Raises:
            Exception: the first that kept an output from being told.
        """
        self._gripper.stop(now_ns)
        told: list[str] = []
        with ExitStack() as calls:  # all are called, whatever the others raise, the last one first
            calls.callback(self._hold, action, stop, targets, told)
            for stream in self._streams:
                calls.callback(stream.stop, None if stop is None else stop.path, targets[0])
        return bool(told or self._streams)

    def _hold(self, action: str, stop: Proposal | None, targets: Sequence[bool],
              told: list[str]) -> None:
        """Tell outputs that are sent whole trajectories to hold; note which in ``told``."""
        with ExitStack() as calls:
            if False in targets:
                calls.callback(self._cancel, told)
            held = None if stop is None else self._gripper.filled(stop.command)
            for name, message in stop_messages(self.lines, action, self._frame, held):
                for dry_run in targets:
                    calls.callback(self._senders[name].send, message, dry_run, stop=True)
                told.append(name)

    def _cancel(self, told: list[str]) -> None:
        """End what cannot be told to hold: its controller holds by itself."""
        for name, sender in self._senders.items():
            if name not in told:
                sender.cancel()

    def forget(self) -> None:
        """What was said in another life or in dry run is not what the robot was told."""
        self._gripper.clear()
        for stream in self._streams:
            stream.silence()

    def finish(self) -> None:
        """Wait until streams have played a stop to its end; they say nothing after it."""
        for stream in self._streams:
            stream.finish(LONGEST_STOP)

    def facts(self) -> dict[str, Any]:
        """What became of goals, by output; plain data."""
        return {name: facts for name, facts in (
            (name, sender.facts()) for name, sender in self._senders.items()) if facts}

    def overlay_wanted(self) -> bool:
        """Whether somebody looks at the overlay."""
        return bool(self._overlay.get_subscription_count() > 0)

    def overlay(self, observation: Observation, stats: StepStats) -> None:
        """Draw and publish the kept tokens of all cameras, side by side."""
        pictures: list[np.ndarray] = [
            draw_overlay(observation.images[camera.role], kept, self.spec.grid_rows,
                         self.spec.grid_cols)
            for camera, kept in zip(self.spec.cameras, stats.kept)]
        if pictures:
            self._overlay.publish(messages.image(side_by_side(pictures), observation.stamp_ns,
                                                 self.spec.cameras[0].role))

    def _stream_failed(self, error: BaseException) -> None:
        self._trouble(f'exception:{type(error).__name__}', f'a stream failed: {error!r}')
