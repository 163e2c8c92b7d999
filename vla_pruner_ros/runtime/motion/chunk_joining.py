# SPDX-License-Identifier: Apache-2.0
"""How the motion that a new chunk wants is joined to the one that is under way.

``replace``   the new chunk from now on, whatever the seam (what naive publishing does)
``linear``    a cross-fade over ``join_time``: p = old + w (new - old), w smooth with zero slope at
              both ends, so that position and velocity are continuous (rotations on the sphere)
``ensemble``  a weighted mean of all chunks that still say something for that moment (temporal
              ensembling of ACT, arXiv 2304.13705: the oldest weighs most), each faded in and out
``rtc``       the policy itself continues the rows that are executed meanwhile (real-time chunking,
              arXiv 2506.07339); what remains of a seam is faded as with ``linear``

Without a motion under way the old one is the place where the robot stands.  Grippers are never
averaged.
"""
from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np

from vla_pruner_ros.runtime.motion.motion_limits import Followed, Wanted
from vla_pruner_ros.runtime.motion.motion_spaces import Space
from vla_pruner_ros.runtime.motion.timed_path import TimedPath

#: Weight of a chunk in an ensemble: exp(-DECAY * its age in chunks counted from the oldest).
DECAY = 0.1
MOST_CHUNKS = 8


def smooth_step(share: float) -> tuple[float, float]:
    """0 to 1 with zero slope at both ends, and its slope, at ``share`` of the way."""
    inside = min(max(share, 0.0), 1.0)
    return inside * inside * (3.0 - 2.0 * inside), 6.0 * inside * (1.0 - inside)


@dataclass(frozen=True)
class Joined:
    """What is wanted from now on: the old motion, fading into the new one.

    Attributes:
        space: of the paths.
        old: motion under way, or the place where the robot stands.
        new: what the chunk wants.
        start_ns: when the fade begins.
        span_ns: how long it lasts; 0 = at once.
    """

    space: Space
    old: Wanted
    new: Wanted
    start_ns: int
    span_ns: int

    def at(self, time_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Point and velocity at a time."""
        if self.span_ns <= 0 or time_ns >= self.start_ns + self.span_ns:
            return self.new.at(time_ns)
        weight, slope = smooth_step((time_ns - self.start_ns) / self.span_ns)
        before, old_speed = self.old.at(time_ns)
        after, new_speed = self.new.at(time_ns)
        apart = self.space.minus(after, before)
        rate = slope / (self.span_ns / 1e9)
        return (self.space.plus(before, weight * apart),
                old_speed + weight * (new_speed - old_speed) + rate * apart)


@dataclass(frozen=True)
class Entry:
    """A chunk in an ensemble: what it wants, and from when on it counts."""

    path: TimedPath
    since_ns: int


@dataclass(frozen=True)
class Ensemble:
    """Weighted mean of the chunks that say something for a moment.

    Attributes:
        space: of the paths.
        entries: oldest first, at least one.
        span_ns: in which a chunk fades in, and out before it ends.
    """

    space: Space
    entries: Sequence[Entry]
    span_ns: int

    def _weight(self, index: int, time_ns: int) -> float:
        entry, span = self.entries[index], max(self.span_ns, 1)
        fade_in = smooth_step((time_ns - entry.since_ns) / span)[0]
        last = index == len(self.entries) - 1
        fade_out = 1.0 if last else smooth_step((entry.path.end_ns - time_ns) / span)[0]
        first = 1.0 if index == 0 else fade_in
        return math.exp(-DECAY * index) * first * fade_out

    def _place(self, time_ns: int) -> np.ndarray:
        weights = [self._weight(index, time_ns) for index in range(len(self.entries))]
        total = sum(weights)
        anchor = self.entries[-1].path.at(time_ns)[0]
        if total <= 0.0:
            return anchor
        mean = np.zeros(self.space.size)
        for weight, entry in zip(weights, self.entries):
            if weight:
                mean += weight / total * self.space.minus(entry.path.at(time_ns)[0], anchor)
        return self.space.plus(anchor, mean)

    def at(self, time_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Point and velocity at a time; the velocity by a difference of a millisecond."""
        half = 500_000
        before, after = self._place(time_ns - half), self._place(time_ns + half)
        return self._place(time_ns), self.space.minus(after, before) * (1e9 / (2 * half))


def join(space: Space, old: Wanted, wanted: TimedPath, now_ns: int, span_ns: int,
         live: Sequence[Entry] | None) -> Joined:
    """The motion under way, faded over ``span_ns`` into what a new chunk wants.

    ``live`` are the chunks that are averaged with the new one; None: it counts alone.
    """
    new: Wanted = wanted
    if live is not None:
        going = [one for one in live if one.path.end_ns > now_ns]
        new = Ensemble(space, (*going, Entry(wanted, now_ns)), span_ns)
    return Joined(space, old, new, now_ns, span_ns)


def end_of(joined: Wanted, wanted: TimedPath, now_ns: int) -> int:
    """When the rows and the fade are over."""
    return max(wanted.end_ns, now_ns + (joined.span_ns if isinstance(joined, Joined) else 0))


def sampled(space: Space, joined: Wanted, wanted: TimedPath, now_ns: int, step_ns: int,
            soonest_ns: int, everywhere: bool) -> Followed:
    """Points of a motion without limits: the rows themselves, and a finer grid in the fade.

    Args:
        space: of the points.
        joined: the motion.
        wanted: what its chunk wants by itself.
        now_ns: time of sending.
        step_ns: of the grid.
        soonest_ns: least time to the first point.
        everywhere: the grid in place of the rows, too.
    """
    fade = joined.span_ns if isinstance(joined, Joined) else 0
    end = max(end_of(joined, wanted, now_ns), now_ns + max(soonest_ns, step_ns))
    fine = np.arange(now_ns + step_ns, end if everywhere else now_ns + fade, step_ns)
    rows = wanted.times_ns[wanted.times_ns > now_ns + fade]
    times = np.concatenate([fine, rows[:0] if everywhere else rows]).astype(np.int64)
    times = np.append(times[(times >= now_ns + soonest_ns) & (times < end)], end)
    found = [joined.at(int(one)) for one in times]
    speeds = np.array([one[1] for one in found]).reshape(-1, space.size)
    speeds[-1] = 0.0
    return Followed(times, np.array([one[0] for one in found]), speeds, {})
