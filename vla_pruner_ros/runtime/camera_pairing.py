# SPDX-License-Identifier: Apache-2.0
"""The newest frame of every camera, and whether they belong together.

A policy with several cameras must see one moment.  The newest frame of each camera is paired with
the newest of the others; frames further apart than the allowed skew are no pair, and the camera
that is behind is waited for.  Nothing here decodes an image or knows the robot's state.  Not
thread-safe; ``observation_cache.py`` holds the lock.
"""
from collections.abc import Sequence
from typing import Any

from vla_pruner_ros.runtime.message_history import FrameLoss

SECOND = 10**9


class Camera:
    """Newest frame of one camera.

    Attributes:
        message: it; None when never seen, used up, or broken.
        stamp_ns: of the newest frame, used or not.
        shape: of the frame used last.
        skipped: frames never used, because a newer one came or no step was due.
        loss: frames received and lost.
    """

    def __init__(self) -> None:
        self.message: Any = None
        self.stamp_ns: int | None = None
        self.shape: tuple[int, ...] | None = None
        self.skipped = 0
        self.loss = FrameLoss()


class CameraPairing:
    """Newest frames of all cameras of a policy.

    Args:
        roles: cameras, in the order of the policy.
    """

    def __init__(self, roles: Sequence[str]):
        self.cameras = {role: Camera() for role in roles}

    def put(self, role: str, message: Any, stamp_ns: int, pause_ns: int) -> None:
        """Keep a frame that is newer than the one before; a gap of ``pause_ns`` is no loss."""
        camera = self.cameras[role]
        camera.skipped += camera.message is not None
        camera.message, camera.stamp_ns = message, stamp_ns
        camera.loss.put(stamp_ns, pause_ns)

    @property
    def stamps(self) -> list[int]:
        """Stamps of the newest frames of the cameras that have sent one."""
        return [one.stamp_ns for one in self.cameras.values() if one.stamp_ns is not None]

    def frames(self) -> dict[str, tuple[Any, int | None]]:
        """Role -> (message, stamp) of now."""
        return {role: (one.message, one.stamp_ns) for role, one in self.cameras.items()}

    def missing(self, now_ns: int, age_ns: int) -> str:
        """Say which camera has no frame of now, or none that was not used yet; ``''`` = none."""
        for role, one in self.cameras.items():
            if one.stamp_ns is None:
                return f'missing_camera:{role}'
            if now_ns - one.stamp_ns > age_ns:
                return f'stale_camera:{role}'
            if one.stamp_ns - now_ns > age_ns:
                return f'future_camera:{role}'
        if any(one.message is None for one in self.cameras.values()):
            return 'no_new_frame'
        return ''

    def discard(self, role: str, message: Any) -> None:
        """Forget a frame that was used or cannot be; a newer one may have come meanwhile."""
        camera = self.cameras[role]
        if camera.message is message:
            camera.message = None

    def reshaped(self, role: str, shape: tuple[int, ...]) -> bool:
        """Note the shape of a used frame; True when it is not that of the one before."""
        camera = self.cameras[role]
        changed = camera.shape not in (None, shape)
        camera.shape = shape
        return changed

    def clear(self, kept: frozenset[str] = frozenset()) -> None:
        """Forget frames but of the streams (``camera:ROLE``) that are ``kept``."""
        for role, one in self.cameras.items():
            if f'camera:{role}' not in kept:
                one.message = one.stamp_ns = None
                one.loss.restart()

    def counts(self) -> dict[str, dict[str, float]]:
        """Per camera: frames received, skipped, lost (estimate), expected Hz (0 = unknown)."""
        return {role: {'received': one.loss.received, 'skipped': one.skipped,
                       'lost': one.loss.lost, 'rate_hz': SECOND / period if period else 0.0}
                for role, one in self.cameras.items() for period in (one.loss.period_ns,)}
