# SPDX-License-Identifier: Apache-2.0
"""Proprioception: joint and pose streams -> the policy's state vector at one moment.

The sample nearest to the image's stamp is taken; what is missing, old or not finite is a named
reason.  Not thread-safe; ``observation_cache.py`` holds the lock.
"""
from collections.abc import Mapping, Sequence
import math
from typing import Any

import numpy as np

from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.runtime.input_mapping import StateSource
from vla_pruner_ros.runtime.message_history import History, MIN_QUATERNION_NORM, Pose
from vla_pruner_ros.runtime.pose_fields import pose_field


class StateStreams:
    """Joint values and end-effector poses of the last moments.

    Args:
        spec: what the policy needs.
        sources: one per state name, in order.
        has_pose: a pose topic is configured.
    """

    def __init__(self, spec: PolicySpec, sources: Sequence[StateSource], has_pose: bool):
        self._sources = tuple(sources)
        self._joints: dict[str, History[float]] = {
            source.key: History() for source in sources if source.kind == 'joint'}
        self._poses: History[Pose] = History()
        # Without a pose topic end-effector chunks stay relative (robot_commands.py says so).
        self._needs_pose = any(source.kind == 'pose' for source in sources) or (
            has_pose and spec.action_kind == 'ee_delta')

    @property
    def streams(self) -> list[str]:
        """Streams that the policy needs: ``'pose'`` and ``'joint:NAME'``."""
        return [*(['pose'] if self._needs_pose else []), *map('joint:{}'.format, self._joints)]

    def put_joints(self, stamp_ns: int, values: Mapping[str, float]) -> bool:
        """Keep the positions that are needed; False when there was none."""
        needed = [name for name in values if name in self._joints]
        for name in needed:
            self._joints[name].put(stamp_ns, values[name])
        return bool(needed)

    def put_pose(self, stamp_ns: int, pose: Any) -> None:
        """Keep one geometry_msgs/Pose."""
        point, turn = pose.position, pose.orientation
        self._poses.put(stamp_ns, ((float(point.x), float(point.y), float(point.z)),
                                   (float(turn.x), float(turn.y), float(turn.z), float(turn.w))))

    def covers(self, stamp_ns: int) -> bool:
        """Say whether every stream has reached ``stamp_ns``.

        In lock step the image may overtake the state published with it, and the older sample would
        make the episode depend on thread timing.
        """
        newest = [one.newest_ns for one in self._joints.values()]
        if self._needs_pose:
            newest.append(self._poses.newest_ns)
        return all(one is not None and one >= stamp_ns for one in newest)

    def clear(self, kept: frozenset[str] = frozenset()) -> None:
        """Forget the samples but of the streams that are ``kept``."""
        if 'pose' not in kept:
            self._poses.clear()
        for name, one in self._joints.items():
            if f'joint:{name}' not in kept:
                one.clear()

    def at(self, stamp_ns: int, now_ns: int, age_limit: int,
           skew: int) -> tuple[str, np.ndarray | None, Pose | None]:
        """Return (reason or '', state (D,) float64, pose) for an image taken at ``stamp_ns``."""
        pose: Pose | None = None
        if self._needs_pose:
            reason, pose = _pick(self._poses, 'pose', stamp_ns, now_ns, age_limit, skew)
            if reason:
                return reason, None, None
        if pose is not None:
            if not all(math.isfinite(one) for part in pose for one in part):
                return 'pose_not_finite', None, None
            norm = math.sqrt(sum(one * one for one in pose[1]))
            if norm < MIN_QUATERNION_NORM:
                return 'pose_bad_quaternion', None, None
            x, y, z, w = (one / norm for one in pose[1])
            pose = (pose[0], (x, y, z, w))
        state = np.empty(len(self._sources))
        for index, source in enumerate(self._sources):
            if source.kind == 'const':
                state[index] = source.value
            elif source.kind == 'pose' and pose is not None:
                state[index] = pose_field(pose, source.key)
            else:
                reason, value = _pick(self._joints[source.key], f'joint:{source.key}', stamp_ns,
                                      now_ns, age_limit, skew)
                if value is None:
                    return reason, None, None
                if not math.isfinite(value):
                    return f'not_finite_joint:{source.key}', None, None
                state[index] = value
        return '', state, pose


def _pick(history: 'History[Any]', stream: str, stamp_ns: int, now_ns: int, age_limit: int,
          skew: int) -> tuple[str, Any]:
    """Nearest sample, or the reason why there is none that fits."""
    item = history.nearest(stamp_ns)
    newest = history.newest_ns
    if item is None or newest is None:
        return f'missing_{stream}', None
    if now_ns - newest > age_limit:
        return f'stale_{stream}', None
    if abs(item[0] - stamp_ns) > skew:
        return f'skew_{stream}', None
    return '', item[1]
