# SPDX-License-Identifier: Apache-2.0
"""Action reuse: answer a stable control step without running the model.

FlashVLA (arXiv 2505.21200) repeats the last action when the last two actions point the same way
and the last two kept token sets overlap: nothing in motion or attention has changed, so the model
would most likely repeat itself.  The published rule looks at the past only; a robot needs more
reasons to think again, so ours also looks at the gripper, at how much every camera image changed
since the model last saw it, and never reuses more than a fixed number of times in a row.  For
chunks, reuse means to keep executing the part of the last chunk that was not executed yet.

The vetoes, in the order they are tried:

``off``              the ``reuse`` parameter is false
``instruction``      the instruction changed, so memories were cleared; first step after it
``reset``            the same after any other reset
``no_history``       fewer than two model runs to compare
``cap``              ``max_consecutive_reuses`` steps in a row were reused already
``chunk_exhausted``  less than one execution horizon of the last chunk is left
``coverage``         what is left would end before the answer to the next observation is there
``gripper``          the gripper opens or closes in the last two steps or in what would be executed
``angle``            the last two actions differ in direction by ``reuse_angle`` or more, or the
                     robot just started or stopped moving
``overlap``          the last two kept token sets share less than ``reuse_overlap``
``no_image``         the image gate is on and has no comparable thumbnail of every camera
``image_change``     a camera image changed by more than ``reuse_image_change``
``reused``           none of these: reuse

The angle leaves the gripper out and is taken of translation and rotation apart, because metres and
radians make no common direction; actions shorter than ``reuse_min_norm`` count as standing still
and have no direction to compare.  Absolute joint targets are compared as motions (differences),
because two joint postures of a slow robot are always nearly parallel.  Memories are frozen while
steps are reused: both actions, both token sets and the thumbnails stay those of the last model
runs.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math

import numpy as np

from vla_pruner_ros.core.action_limits import motion_columns
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec

OFF = 'off'
INSTRUCTION = 'instruction'
RESET = 'reset'
NO_HISTORY = 'no_history'
CAP = 'cap'
CHUNK_EXHAUSTED = 'chunk_exhausted'
COVERAGE = 'coverage'
GRIPPER = 'gripper'
ANGLE = 'angle'
OVERLAP = 'overlap'
NO_IMAGE = 'no_image'
IMAGE_CHANGE = 'image_change'
REUSED = 'reused'

#: Pixels per side of a thumbnail.
THUMBNAIL_SIZE = 32


@dataclass(frozen=True)
class _Run:
    """What is remembered of one model run."""

    motion: np.ndarray  # (rows, D without gripper), executed rows only
    gripper_open: np.ndarray  # (rows,) bool; empty without a gripper
    kept: tuple[np.ndarray, ...]


class ReuseGate:
    """Decides per control step, and hands out what is left of the last chunk.

    Args:
        spec: of the policy; gives the action kind and the gripper's column and ends.
    """

    def __init__(self, spec: PolicySpec):
        self._spec = spec
        self._empty = NO_HISTORY
        self._runs: list[_Run] = []  # at most two, older first
        self._chunk = np.empty((0, 0))
        self._consecutive = 0
        self._thumbnails: Mapping[str, np.ndarray] = {}

    def decide(self, parameters: Parameters, thumbnails: Mapping[str, np.ndarray],
               first_row: int, lead_rows: int = 0) -> str:
        """Return ``'reused'`` or the name of the first veto.

        Args:
            parameters: snapshot with its preset applied.
            thumbnails: role -> grey image of now.
            first_row: row of the last chunk that is executed from now on.
            lead_rows: rows that pass until an observation is answered.
        """
        if not parameters.reuse:
            return OFF
        if not self._runs:
            return self._empty
        if len(self._runs) < 2:
            return NO_HISTORY
        if self._consecutive >= parameters.max_consecutive_reuses:
            return CAP
        before, last = self._runs
        remaining, rows = self._remaining(first_row), self._rows(parameters.execution_horizon)
        if len(remaining) < rows:
            return CHUNK_EXHAUSTED
        if len(remaining) <= lead_rows:
            return COVERAGE
        planned = self._gripper_open(remaining[:rows])
        gripper = np.concatenate([before.gripper_open, last.gripper_open, planned])
        if len(gripper) and gripper.any() != gripper.all():
            return GRIPPER
        if not all(steady(one, two, parameters.reuse_angle, parameters.reuse_min_norm)
                   for one, two in zip(self._parts(before.motion), self._parts(last.motion))):
            return ANGLE
        if overlap(before.kept, last.kept) < parameters.reuse_overlap:
            return OVERLAP
        if parameters.reuse_image_change > 0.0:
            change = image_change(self._thumbnails, thumbnails)
            if change is None:
                return NO_IMAGE
            if change > parameters.reuse_image_change:
                return IMAGE_CHANGE
        return REUSED

    def record(self, actions: np.ndarray, kept: Sequence[np.ndarray], execution_horizon: int,
               thumbnails: Mapping[str, np.ndarray], start: np.ndarray | None = None) -> None:
        """Remember a model run.

        Args:
            actions: (H, D) the chunk.
            kept: per image, kept token indices.
            execution_horizon: rows of it that will be executed before the next step.
            thumbnails: role -> grey image the model saw.
            start: (D without gripper,) joint positions at that time, for absolute joint targets.
        """
        self._chunk = np.array(actions, dtype=np.float64)
        executed = self._chunk[:self._rows(execution_horizon)]
        run = _Run(self._motion(executed, start), self._gripper_open(executed), tuple(kept))
        self._runs = [*self._runs[-1:], run]
        self._consecutive = 0
        self._thumbnails = dict(thumbnails)

    def take(self, first_row: int) -> np.ndarray:
        """Hand out the next rows (n, D) after ``decide`` answered ``'reused'``.

        All rows that are left are returned, although only an execution horizon of them is meant to
        be executed; a policy without chunks gives its action again.
        """
        self._consecutive += 1
        return np.array(self._remaining(first_row))

    def clear(self, reason: str = RESET) -> None:
        """Forget all runs; the next step is vetoed with ``instruction`` or ``reset``."""
        self._empty = INSTRUCTION if reason == INSTRUCTION else RESET
        self._runs = []
        self._chunk = np.empty((0, 0))
        self._consecutive = 0
        self._thumbnails = {}

    def _rows(self, execution_horizon: int) -> int:
        return min(execution_horizon, len(self._chunk))

    def _remaining(self, first_row: int) -> np.ndarray:
        if len(self._chunk) == 1:
            return self._chunk
        rows: np.ndarray = self._chunk[max(first_row, 0):]
        return rows

    def _motion(self, executed: np.ndarray, start: np.ndarray | None) -> np.ndarray:
        moving: np.ndarray = executed[:, motion_columns(self._spec)]
        if self._spec.action_kind != 'joint_position':
            return moving
        path = moving if start is None else np.vstack([start, moving])
        motion: np.ndarray = path[1:] - path[:-1]
        return motion

    def _parts(self, motion: np.ndarray) -> list[np.ndarray]:
        """Columns that may be compared as one direction: metres and radians may not."""
        if self._spec.action_kind != 'ee_delta' or motion.ndim < 2 or motion.shape[1] < 6:
            return [motion]
        return [motion[:, :3], motion[:, 3:]]

    def _gripper_open(self, actions: np.ndarray) -> np.ndarray:
        column = self._spec.gripper_index
        if column is None:
            return np.empty(0, dtype=bool)
        middle = (self._spec.gripper_open + self._spec.gripper_closed) / 2
        above: np.ndarray = actions[:, column] > middle
        return above


def steady(before: np.ndarray, last: np.ndarray, max_angle: float, min_norm: float) -> bool:
    """Tell whether two motions (rows, D) point the same way, or the robot stood still in both.

    A motion stands still when its root-mean-square row norm is below ``min_norm``.  One that
    stands still and one that does not are not steady; neither are motions without rows.
    """
    if before.shape != last.shape or before.size == 0:
        return False
    still = [math.sqrt(float((one ** 2).sum()) / len(one)) < min_norm for one in (before, last)]
    if any(still):
        return all(still)
    norms = float(np.linalg.norm(before) * np.linalg.norm(last))
    if norms == 0.0:  # with min_norm 0, standing still has no direction and proves nothing
        return False
    cosine = float((before * last).sum()) / norms
    return math.acos(min(1.0, max(-1.0, cosine))) < max_angle


def overlap(before: Sequence[np.ndarray], last: Sequence[np.ndarray]) -> float:
    """``|I(s-2) & I(s-1)| / |I(s-1)|`` over the tokens of all images."""
    if len(before) != len(last):
        return 0.0
    shared = sum(len(np.intersect1d(one, two)) for one, two in zip(before, last))
    return shared / max(1, sum(len(one) for one in last))


def image_change(before: Mapping[str, np.ndarray],
                 now: Mapping[str, np.ndarray]) -> float | None:
    """Largest mean absolute difference (0..255) over the cameras; None if not comparable."""
    if not now or before.keys() != now.keys():
        return None
    if any(before[role].shape != now[role].shape for role in now):
        return None
    return max(float(np.abs(before[role] - now[role]).mean()) for role in now)


def thumbnail(image: np.ndarray, size: int = THUMBNAIL_SIZE) -> np.ndarray:
    """Small float32 grey image in 0..255 from (H, W, 3) uint8, by block means.

    Large images are first thinned to every n-th pixel (at least 4 samples per block and axis are
    kept), so that the cost hardly depends on the camera.
    """
    height, width = image.shape[:2]
    thin = image[::max(1, height // (4 * size)), ::max(1, width // (4 * size))]
    grey = thin.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    rows = np.arange(min(size, grey.shape[0])) * grey.shape[0] // min(size, grey.shape[0])
    cols = np.arange(min(size, grey.shape[1])) * grey.shape[1] // min(size, grey.shape[1])
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=0), cols, axis=1)
    counts = np.outer(np.diff(rows, append=grey.shape[0]), np.diff(cols, append=grey.shape[1]))
    small: np.ndarray = (sums / counts).astype(np.float32)
    return small
