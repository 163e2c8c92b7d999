# SPDX-License-Identifier: Apache-2.0
"""What "now" is while a bag is read: its log times, or the stamps inside its messages.

Log times are when a message reached the recorder: the same delays as live.  They are useless
where stamps come from another clock (a simulation slower than real time, unsynchronised machines),
because then every image looks old; there time is the newest stamp seen so far.
"""
from collections.abc import Iterator
from typing import Any

from vla_pruner_ros.replay.bag_reader import Bag
from vla_pruner_ros.replay.bag_topics import Wiring
from vla_pruner_ros.runtime.message_history import stamp_of
from vla_pruner_ros.runtime.stamp_order import BACK, StampOrder

CLOCKS = ('auto', 'log', 'stamps')
SECOND = 10**9
SAMPLES = 50  # camera messages that 'auto' looks at


def choose_clock(bag: Bag, wiring: Wiring, asked: str, max_age: float) -> tuple[str, float]:
    """Return the clock to use, and the largest difference in seconds of log time and stamp.

    Args:
        bag: open bag.
        wiring: gives the camera topics.
        asked: one of ``CLOCKS``; ``'auto'`` takes the log times unless a camera message is further
            than ``max_age`` from its log time.
        max_age: seconds.
    """
    if asked != 'auto':
        return asked, 0.0
    worst = 0.0
    for number, (_, log_ns, message) in enumerate(bag.messages(tuple(wiring.cameras))):
        stamp = stamp_of(message)
        if stamp > 0:
            worst = max(worst, abs(log_ns - stamp) / SECOND)
        if number + 1 >= SAMPLES:
            break
    return ('stamps' if worst > max_age else 'log'), worst


def instants(bag: Bag, wiring: Wiring,
             clock: str) -> Iterator[tuple[str, int | None, Any]]:
    """Yield (topic, now in ns, message) in log-time order.

    With ``'stamps'``, now is the newest stamp so far (None before the first one); it falls back
    only where the stamps of a topic jump back (a bag that holds two takes), by the rule that the
    policy's inputs have for a clock (``runtime/stamp_order.py``), with log times to measure by.
    """
    newest: int | None = None
    orders: dict[str, StampOrder] = {}
    for topic, log_ns, message in bag.messages(wiring.topics):
        if clock == 'log':
            yield topic, log_ns, message
            continue
        stamp = stamp_of(message)
        if stamp > 0:
            if orders.setdefault(topic, StampOrder()).put(stamp, log_ns) == BACK:
                orders.clear()
                newest = stamp
            newest = stamp if newest is None else max(newest, stamp)
        yield topic, newest, message
