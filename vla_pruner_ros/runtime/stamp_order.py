# SPDX-License-Identifier: Apache-2.0
"""Stragglers told from a clock that jumped, by stamps and receive times alone.

A message that is older than the newest of its stream says little by itself: networks reorder, and
two senders of one joint need not agree.  It is late, and it is not used.  The clock has jumped,
once, when one of these holds:

1. The node's clock fell back by more than ``JUMP_BACK``, and a stream is still ahead of it (a bag
   that loops or a simulator that is reset, with /clock).
2. A stream sends late stamps that grow, for ``JUMP_TIME`` of the node's clock, and no newer one in
   between (a bag played again without /clock, a driver whose time base was set back, what follows
   one stamp from the far future).
3. In lock step, where no image is sent before the last one was answered: all cameras are late.
   To take the first image of a new episode for a straggler would let the simulator wait for ever.

No wall time and no count of messages decides, so a recording gives the same answer every time.
Not thread-safe; ``observation_cache.py`` holds the lock.
"""
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

SECOND = 10**9
JUMP_BACK = SECOND // 10  # a clock that falls back by less was corrected, it has not jumped
JUMP_TIME = SECOND // 2
KEPT_TIME = SECOND
MOST_KEPT = 32  # late messages, one per sender
NEW, SAME, LATE, BACK = 'new', 'same', 'late', 'back'


class StampOrder:
    """Order of the stamps of one stream.

    Attributes:
        newest: stamp that counts as newest; None before the first.
        behind_ns: how late the last message was; 0 = it was not.
    """

    def __init__(self) -> None:
        """Start without stamps."""
        self.newest: int | None = None
        self.behind_ns = 0
        self._lowest = 0
        self._since = 0
        self._seen = 0

    def put(self, stamp_ns: int, received_ns: int) -> str:
        """Say what a stamp is: ``NEW``, the ``SAME`` again, ``LATE``, or a stream gone ``BACK``.

        Args:
            stamp_ns: of the message.
            received_ns: the node's clock on its arrival.
        """
        if self.newest is None or stamp_ns >= self.newest:
            fresh = stamp_ns != self.newest
            self.newest, self.behind_ns, self._seen = stamp_ns, 0, received_ns
            return NEW if fresh else SAME
        if not self.behind_ns:
            self._since, self._lowest = received_ns, stamp_ns
        self.behind_ns = self.newest - stamp_ns
        self._lowest = min(self._lowest, stamp_ns)
        grows = stamp_ns > self._lowest
        return BACK if grows and received_ns - self._since >= JUMP_TIME else LATE

    def fits(self, stamp_ns: int, received_ns: int) -> bool:
        """Whether it is lately of the time of a stamp that another stream received."""
        return (self.newest is not None and not self.behind_ns
                and stamp_ns - KEPT_TIME <= self.newest <= stamp_ns
                and received_ns - self._seen <= KEPT_TIME)


@dataclass(frozen=True)
class _Late:
    """A late message, and how to offer it again should the clock turn out to have jumped."""

    stamp_ns: int
    offer: Callable[[], None]


class Arrivals:
    """Order of all streams, and the late messages that a jump of the clock makes good.

    Args:
        cameras: streams that decide in lock step.
        state: streams of the robot's state that the policy needs.  Any other stream may come and
            go, and follow its own time: it never tells a jump.
    """

    def __init__(self, cameras: Iterable[str], state: Iterable[str]):
        self._cameras = tuple(cameras)
        self._watched = frozenset((*self._cameras, *state))
        self._orders: dict[str, StampOrder] = {}
        self._clocks: dict[str, int] = {}
        self._late: dict[tuple[str, ...], _Late] = {}

    def fell_back(self, clock: str, now_ns: int) -> bool:
        """Rule 1.  ``clock``: who read the node's clock; two threads may overtake each other."""
        if now_ns <= 0:  # use_sim_time, and no /clock yet
            return False
        before, self._clocks[clock] = self._clocks.get(clock, now_ns), now_ns
        if now_ns >= before - JUMP_BACK:
            return False
        newest = [self._orders[one].newest for one in self._watched if one in self._orders]
        return any(one is not None and one > now_ns + JUMP_BACK for one in newest)

    def put(self, streams: Sequence[str], stamp_ns: int, received_ns: int, lock_step: bool,
            offer: Callable[[], None]) -> tuple[list[str], str]:
        """Take the stamp of one message.

        Args:
            streams: that the message has news of.
            stamp_ns: of the message.
            received_ns: the node's clock on its arrival.
            lock_step: rule 3 holds.
            offer: puts the message once more; kept while it is late.

        Returns:
            (streams that the message is news for; ``LATE`` when it is late for one that the
            policy needs, ``BACK`` when the clock has jumped, else ``NEW``).
        """
        found = {one: self._judge(one, stamp_ns, received_ns) for one in streams}
        fresh = [one for one in streams if found[one] == NEW]
        told = [found[one] for one in streams if one in self._watched]
        senders = tuple(streams)
        self._late.pop(senders, None)
        if BACK not in told and LATE not in told:
            return fresh, NEW
        self._late[senders] = _Late(stamp_ns, offer)
        if len(self._late) > MOST_KEPT:
            del self._late[next(iter(self._late))]
        jumped = BACK in told or (lock_step and all(
            self._of(one).behind_ns for one in self._cameras))
        return fresh, BACK if jumped else LATE

    def restart(self, now_ns: int, received_ns: int | None = None,
                told: Sequence[str] = ()) -> tuple[frozenset[str], list[Callable[[], None]]]:
        """Forget the time before a jump.

        Args:
            now_ns: the clock that fell back, or the stamp that told the jump.
            received_ns: the node's clock, where a stamp told the jump; None where it fell back.
            told: streams of the message with that stamp; it is among those offered again.

        Returns:
            (streams that are of the time that begins already, what offers its late messages).
        """
        late = sorted(self._late.values(), key=lambda one: one.stamp_ns)
        self._late.clear()
        self._clocks.clear()  # the other reader has not seen it yet
        self._orders = {stream: one for stream, one in self._orders.items()
                        if received_ns is not None and stream not in told
                        and one.fits(now_ns, received_ns)}
        return frozenset(self._orders), [
            one.offer for one in late
            if now_ns - KEPT_TIME <= one.stamp_ns <= now_ns + JUMP_BACK]

    def clear(self) -> None:
        """Forget everything (activation)."""
        self._orders.clear()
        self._late.clear()
        self._clocks.clear()

    def _of(self, stream: str) -> StampOrder:
        return self._orders.setdefault(stream, StampOrder())

    def _judge(self, stream: str, stamp_ns: int, received_ns: int) -> str:
        verdict = self._of(stream).put(stamp_ns, received_ns)
        if verdict == BACK and stream not in self._watched:
            self._orders[stream] = StampOrder()
            return self._orders[stream].put(stamp_ns, received_ns)
        return verdict
