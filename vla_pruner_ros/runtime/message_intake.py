# SPDX-License-Identifier: Apache-2.0
"""What becomes of a message that arrives: kept as news, refused by name, or too late to be used.

A message that is stamped too far ahead, or a pose in another frame, is refused; one that is older
than what is known of its stream is late (``stamp_order.py``) and never replaces it.  When the late
ones tell that the clock has jumped, everything is forgotten and they are taken after all.
Not thread-safe; ``observation_cache.py`` holds the lock.
"""
from collections.abc import Callable, Sequence
from typing import Any

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.runtime.camera_pairing import CameraPairing
from vla_pruner_ros.runtime.input_faults import InputFaults
from vla_pruner_ros.runtime.input_mapping import state_sources
from vla_pruner_ros.runtime.measured_state import joint_positions, MeasuredState
from vla_pruner_ros.runtime.message_history import stamp_of
from vla_pruner_ros.runtime.robot_state import StateStreams
from vla_pruner_ros.runtime.stamp_order import Arrivals, BACK, LATE

SECOND = 10**9


class MessageIntake:
    """Puts messages where they belong.

    Args:
        spec: what the policy needs.
        parameters: limits, frame and state sources.
        on_news: called when something was kept.
        on_jump: called when the clock has jumped and everything was forgotten.

    Attributes:
        parameters: those of now.
        pairing: newest frames.
        state: joints and poses of the last moments that the policy needs.
        measured: newest position of everything.
        faults: what was refused, and what is wrong with what was not.

    Raises:
        ConfigError: ``state_sources`` does not fit the policy.
    """

    def __init__(self, spec: PolicySpec, parameters: Parameters, on_news: Callable[[], None],
                 on_jump: Callable[[], None]):
        self.parameters = parameters
        self.pairing = CameraPairing([camera.role for camera in spec.cameras])
        self.state = StateStreams(spec, state_sources(parameters, spec),
                                  bool(parameters.pose_topic))
        self.measured = MeasuredState()
        self.faults = InputFaults()
        self._arrivals = Arrivals([f'camera:{camera.role}' for camera in spec.cameras],
                                  self.state.streams)
        self._unstamped: set[str] = set()
        self._on_news, self._on_jump = on_news, on_jump

    def clear(self) -> None:
        """Forget all messages (activation)."""
        self._forget()
        self._arrivals.clear()
        self._unstamped.clear()
        self.faults.clear()

    @property
    def stamped(self) -> bool:
        """Whether the newest message of every sensor carried a stamp."""
        return not self._unstamped

    def look_at_clock(self, reader: str, now_ns: int) -> None:
        """Notice a clock that fell back; ``reader``: who read it."""
        if self._arrivals.fell_back(reader, now_ns):
            self._jump(now_ns)

    def image(self, role: str, message: Any, received_ns: int) -> None:
        """Take a camera's frame."""
        streams = [f'camera:{role}']
        stamp = self._stamp(role, f'camera:{role}', streams, message, received_ns)
        if stamp is None:
            return

        def put() -> None:
            if self._news(role, streams, stamp, received_ns, put):
                pause = int(self.parameters.max_gap * SECOND)
                self.pairing.put(role, message, stamp, pause)
                self._on_news()
        put()

    def joints(self, message: Any, received_ns: int) -> None:
        """Take a JointState: of each joint what is news, whoever else sends that joint."""
        positions = {f'joint:{name}': (name, value)
                     for name, value in joint_positions(message).items()}
        streams = list(positions)
        stamp = self._stamp('joint_state', 'joint_state', streams, message, received_ns)
        if stamp is None:
            return

        def put() -> None:
            news = self._news('joint_state', streams, stamp, received_ns, put)
            values = dict(positions[one] for one in news)
            self.measured.put_joints(stamp, values)
            if self.state.put_joints(stamp, values):
                self._on_news()
        put()

    def pose(self, message: Any, received_ns: int) -> None:
        """Take a PoseStamped in ``base_frame``."""
        stamp = self._stamp('pose', 'pose', ['pose'], message, received_ns)
        if stamp is None or not self._in_base_frame(message):
            return

        def put() -> None:
            if self._news('pose', ['pose'], stamp, received_ns, put):
                self.state.put_pose(stamp, message.pose)
                self.measured.put_pose(stamp, message.pose)
                self._on_news()
        put()

    def _stamp(self, name: str, kind: str, streams: Sequence[str], message: Any,
               received_ns: int) -> int | None:
        """Stamp of a message; None where it is too far ahead of the node's clock to be used."""
        self.look_at_clock('receiver', received_ns)
        stamp = stamp_of(message)
        if stamp <= 0:
            self.faults.warnings[f'zero_stamp:{name}'] += 1
            self._unstamped.add(name)
            return received_ns
        self._unstamped.discard(name)
        ahead = stamp - received_ns
        # In lock step stamps run by simulated time.  A node at 0 has not heard /clock yet: what it
        # kept until then could be hours ahead, and all that follows would be late.
        if (not self.parameters.lock_step
                and ahead > int(self.parameters.max_image_age * SECOND)):
            self.faults.refuse(streams, f'future_{kind}', f'{kind}: a stamp {ahead / SECOND:.3g} '
                               "s ahead of the node's clock; synchronise the clocks, and set "
                               'use_sim_time where stamps are simulated time')
            return None
        return stamp

    def _in_base_frame(self, message: Any) -> bool:
        frame, base = message.header.frame_id.lstrip('/'), self.parameters.base_frame.lstrip('/')
        if not frame:
            self.faults.warnings['empty_frame:pose'] += 1
        elif frame != base:
            self.faults.refuse(['pose'], f'pose_frame:{frame}', f'the pose is in frame {frame!r}, '
                               f'base_frame is {base!r}: publish it in {base!r}, or set '
                               f'base_frame to {frame!r} if commands are to be in it, too')
            return False
        return True

    def _news(self, name: str, streams: Sequence[str], stamp: int, received_ns: int,
              put: Callable[[], None]) -> list[str]:
        """Streams that a message is news for; one that is late is counted, or tells a jump."""
        news, verdict = self._arrivals.put(streams, stamp, received_ns,
                                           self.parameters.lock_step, put)
        if verdict == BACK:
            self._jump(stamp, received_ns, streams)  # this message is put again
            return []
        if verdict == LATE:
            self.faults.drops[f'out_of_order:{name}'] += 1
        self.faults.accept(news)
        return news

    def _jump(self, now_ns: int, received_ns: int | None = None,
              told: Sequence[str] = ()) -> None:
        """Forget the time before; go on with what was late in it and is of now."""
        kept, late = self._arrivals.restart(now_ns, received_ns, told)
        self._forget(kept)
        self._on_jump()
        for put in late:
            put()

    def _forget(self, kept: frozenset[str] = frozenset()) -> None:
        self.pairing.clear(kept)
        self.state.clear(kept)
        self.measured.clear(kept)
