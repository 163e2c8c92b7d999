# SPDX-License-Identifier: Apache-2.0
"""Newest messages in, one complete observation out.

Callbacks of any thread ``put`` messages; one inference thread ``take``s.  The newest frame wins, a
frame is used once, and only the frame that is used is decoded.  What cannot be used is a counted
reason, never an exception, and the next good message is used as if nothing had happened.
Times are message stamps on the node's clock (or the bag's); a zero stamp falls back to the receive
time.  This file knows no ROS: messages are read by attribute.
"""
from collections.abc import Sequence
from dataclasses import dataclass
import threading
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import ConfigError, InputError, VlaPrunerError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import Observation, PolicySpec
from vla_pruner_ros.runtime.image_decoding import to_rgb
from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.message_intake import MessageIntake

SECOND = 10**9
MAX_INSTRUCTION_CHARACTERS = 4096


@dataclass(frozen=True)
class Take:
    """Answer of ``ObservationCache.take``.

    Attributes:
        observation: None where no step is possible now.
        reason: why not; ``''`` with an observation.
        resets: what happened since the last observation that makes the policy's memory worthless;
            only with an observation.
        message: one sentence for the log where messages were refused or a frame not decoded.
    """

    observation: Observation | None
    reason: str = ''
    resets: tuple[str, ...] = ()
    message: str = ''


class ObservationCache:
    """Ages, skew, resets and drops between the topics and the policy.

    Args:
        spec: what the policy needs.
        parameters: limits and state sources.

    Attributes:
        drops: reason -> messages, or sets of frames, that were not used.
        warnings: reason -> what was wrong with messages that were used all the same.

    Raises:
        ConfigError: ``state_sources`` does not fit the policy.
    """

    def __init__(self, spec: PolicySpec, parameters: Parameters):
        self.spec = spec
        self._condition = threading.Condition()
        self._fresh = False
        self._intake = MessageIntake(spec, parameters, self._notify, self._jumped)
        self._pairing, self._state = self._intake.pairing, self._intake.state
        self._faults = self._intake.faults
        self.drops, self.warnings = self._faults.drops, self._faults.warnings
        self._times = 0  # counts clocks: what was read under another one is not used
        self._instruction = ''
        self._instruction_refusal = 'no_instruction'
        self._resets: list[str] = []
        self._last_stamp: int | None = None
        self._last_instruction = ''
        if parameters.instruction:
            self.put_instruction(parameters.instruction)

    def update(self, parameters: Parameters) -> None:
        """Take live parameters; a changed ``instruction`` counts as one that arrived."""
        with self._condition:
            changed = parameters.instruction != self._parameters.instruction
            self._intake.parameters = parameters
        if changed:
            self.put_instruction(parameters.instruction)

    def clear(self) -> None:
        """Forget all messages but the instruction (activation)."""
        with self._condition:
            self._intake.clear()
            self._jumped()
            self._resets.clear()

    def put_image(self, role: str, message: Any, received_ns: int) -> None:
        """Store the newest frame of a camera; it is decoded only if it is used.

        Raises:
            ConfigError: the policy has no such camera (a wiring mistake, not bad input).
        """
        if role not in self._pairing.cameras:
            raise ConfigError(f'camera role {role!r}; the policy has '
                              f'{list(self._pairing.cameras)}')
        with self._condition:
            self._intake.image(role, message, received_ns)

    def put_joint_state(self, message: Any, received_ns: int) -> None:
        """Store the joints that the policy needs; messages about other joints are no drop."""
        with self._condition:
            self._intake.joints(message, received_ns)

    def put_pose(self, message: Any, received_ns: int) -> None:
        """Store an end-effector pose (PoseStamped) in ``base_frame``; no other can be used."""
        with self._condition:
            self._intake.pose(message, received_ns)

    def put_instruction(self, text: str) -> None:
        """Replace the instruction; an unusable one stops the policy until a usable one comes.

        Going on with the old task after the operator asked for something else would be the less
        safe reading of a broken message.
        """
        text = ' '.join(text.split())
        refusal = ''
        if not text:
            refusal = 'instruction_empty'
        elif (len(text) > MAX_INSTRUCTION_CHARACTERS
              or len(text.split()) > self.spec.max_instruction_words):
            refusal = 'instruction_too_long'
        with self._condition:
            if refusal:
                self.drops[refusal] += 1
            self._instruction, self._instruction_refusal = ('' if refusal else text), refusal
            self._notify()

    def wait(self, timeout: float) -> bool:
        """Block until news since the last ``take``; False after ``timeout`` seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: self._fresh, timeout)

    def wake(self) -> None:
        """Make ``wait`` return (shutdown, parameter change)."""
        with self._condition:
            self._notify()

    def cameras(self) -> dict[str, dict[str, float]]:
        """Per camera: frames received, skipped, lost (estimate), expected Hz (0 = unknown)."""
        with self._condition:
            return self._pairing.counts()

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Copies of ``drops`` and ``warnings``."""
        with self._condition:
            return dict(self.drops), dict(self.warnings)

    @property
    def _parameters(self) -> Parameters:
        return self._intake.parameters

    @property
    def frame_period_ns(self) -> int:
        """Period of the slowest camera as its stamps show it; 0 until it is known."""
        with self._condition:
            return max((one.loss.period_ns or 0 for one in self._pairing.cameras.values()),
                       default=0)

    def measured(self, now_ns: int, joints: Sequence[str] = ()) -> Measured | None:
        """Newest measurement of these joints, or without any of the hand; None if too old."""
        with self._condition:
            age, measured = int(self._parameters.max_image_age * SECOND), self._intake.measured
            if self._parameters.lock_step:  # stamps run by simulated time
                now_ns = 0
            self._faults.gone(measured.stale(joints, now_ns, age))
            return (measured.joints(joints, now_ns, age) if joints
                    else measured.pose(now_ns, age))

    def take(self, now_ns: int, interval_ns: int = 0) -> Take:
        """Build an observation from the newest messages, if they fit together.

        Args:
            now_ns: the clock that ages are measured against.
            interval_ns: frames closer than this to the last observation are left alone: the next
                step is not due yet.
        """
        with self._condition:
            self._fresh = False
            self._intake.look_at_clock('taker', now_ns)
            frames = self._pairing.frames()
            reason, state, pose, stamp_ns = self._examine(now_ns, interval_ns)
            instruction, times = self._instruction, self._times
            if reason:
                refused, message = self._faults.refused(reason, self._state.streams)
                if not refused:
                    self._faults.drop(reason, tuple(stamp for _, stamp in frames.values()))
                return Take(None, refused or reason, message=message)
        images: dict[str, np.ndarray] = {}
        for role, (message, _) in frames.items():
            try:
                images[role] = to_rgb(message)
            except VlaPrunerError as error:
                return self._broken(role, message, error)
        with self._condition:
            if times != self._times:  # the clock jumped while the frames were decoded
                return Take(None, 'no_new_frame')
            resets = self._used(images, frames, stamp_ns, instruction)
        return Take(Observation(images, state, instruction, stamp_ns, pose), '', resets)

    # everything below runs under the lock, except where said otherwise

    def _examine(self, now_ns: int, interval_ns: int) -> tuple[str, Any, Any, int]:
        """Say why no step is possible (or ''), and the state and pose that fit the frames."""
        limits = self._parameters
        age_limit = int(limits.max_image_age * SECOND)
        nothing: tuple[Any, Any, int] = (None, None, 0)
        stamps = self._pairing.stamps
        if limits.lock_step and stamps:
            now_ns = max(stamps)  # physics waits for the policy: only ages between messages count
        missing = self._pairing.missing(now_ns, age_limit)
        if missing:
            return (missing, *nothing)
        stamp_ns, skew = max(stamps), int(limits.max_skew * SECOND)
        if self._last_stamp is not None and stamp_ns < self._last_stamp + interval_ns:
            return ('not_due', *nothing)
        if stamp_ns - min(stamps) > skew:
            return ('skew', *nothing)
        if not self._instruction:
            return (self._instruction_refusal, *nothing)
        # Without stamps nobody can say which state belongs to an image: take the nearest.
        if limits.lock_step and self._intake.stamped and not self._state.covers(stamp_ns):
            return ('waiting_state', *nothing)
        reason, state, pose = self._state.at(stamp_ns, now_ns, age_limit, skew)
        return reason, state, pose, stamp_ns

    def _jumped(self) -> None:
        self._last_stamp = None
        self._times += 1
        if 'clock_jump' not in self._resets:
            self._resets.append('clock_jump')

    def _notify(self) -> None:
        self._fresh = True
        self._condition.notify_all()

    def _broken(self, role: str, message: Any, error: VlaPrunerError) -> Take:
        """Drop an undecodable frame (takes the lock itself)."""
        name = error.reason if isinstance(error, InputError) else 'missing_dependency'
        reason = f'{name}:{role}'
        with self._condition:
            self.drops[reason] += 1
            self._pairing.discard(role, message)
        return Take(None, reason, message=f'camera {role!r}: {error}')

    def _used(self, images: dict[str, np.ndarray], frames: dict[str, tuple[Any, int | None]],
              stamp_ns: int, instruction: str) -> tuple[str, ...]:
        """Mark frames as used and close the list of resets."""
        for role, (message, _) in frames.items():
            self._pairing.discard(role, message)
            if self._pairing.reshaped(role, images[role].shape):
                self._resets.append('camera_change')
        if (self._last_stamp is not None
                and stamp_ns - self._last_stamp > int(self._parameters.max_gap * SECOND)):
            self._resets.append('gap')
        if self._last_instruction and self._last_instruction != instruction:
            self._resets.append('instruction')
        self._last_stamp, self._last_instruction = stamp_ns, instruction
        resets, self._resets = tuple(dict.fromkeys(self._resets)), []
        return resets
