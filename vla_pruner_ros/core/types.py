# SPDX-License-Identifier: Apache-2.0
"""Value types that flow through the package, one way: messages -> Observation -> ActionChunk.

All are frozen.  Times are nanoseconds of one clock (the node's clock, or the bag's).
"""
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class CameraSpec:
    """One image input of a policy: its role name and the size (pixels) the policy sees."""

    role: str
    height: int
    width: int


@dataclass(frozen=True)
class VisualLayout:
    """Visual tokens of the language model's input, image after image without a gap.

    ``start`` is the index of the first visual token; each image has ``rows * cols`` tokens.
    """

    start: int
    images: int
    rows: int
    cols: int

    @property
    def tokens_per_image(self) -> int:
        """Visual tokens of one image (M)."""
        return self.rows * self.cols

    @property
    def stop(self) -> int:
        """Index after the last visual token."""
        return self.start + self.images * self.tokens_per_image


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs and gives; constant after loading.

    ``action_kind`` is ``'ee_delta'`` (metres / radians per control step, then the gripper) or
    ``'joint_position'`` (radians).  ``gripper_index`` is the gripper's column in an action or
    None;
    ``gripper_open`` / ``gripper_closed`` are the policy's own values for the two ends;
    ``gripper_continuous`` says that it means the values between them, too.  ``causal``
    tells whether the prompt runs under a causal mask or every row sees every other;
    ``can_inpaint`` whether it continues rows that it is given (``Observation.continuation``).
    """

    name: str
    cameras: tuple[CameraSpec, ...]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_kind: str
    action_horizon: int
    control_dt: float
    grid_rows: int
    grid_cols: int
    decoder_layers: int
    gripper_index: int | None = None
    gripper_open: float = 1.0
    gripper_closed: float = -1.0
    gripper_continuous: bool = False
    max_instruction_words: int = 256
    causal: bool = True
    can_inpaint: bool = False

    @property
    def tokens_per_image(self) -> int:
        """Visual tokens of one image (M)."""
        return self.grid_rows * self.grid_cols


@dataclass(frozen=True)
class Continuation:
    """Rows that are executed while the policy thinks, for one that can continue them.

    Attributes:
        rows: (n, D) what is left of the last chunk, from the moment of the observation on, in the
            units of the spec.
        delay_rows: of these, rows that will have been executed when the answer is there.
    """

    rows: np.ndarray
    delay_rows: int


@dataclass(frozen=True)
class Observation:
    """One moment as the policy sees it.

    Attributes:
        images: role -> (H, W, 3) uint8 RGB, any size (the backend resizes).
        state: (D,) float64 in the order and units of ``PolicySpec.state_names``.
        instruction: what to do, in words.
        stamp_ns: time of the newest image.
        pose: end-effector position (x, y, z) in metres and quaternion (x, y, z, w) at that stamp,
            or None where the robot publishes none.
        thumbnails: role -> small float32 grey image in 0..255, for the image-change gate.
        continuation: what the robot does meanwhile; None where nobody asked for it.
    """

    images: Mapping[str, np.ndarray]
    state: np.ndarray
    instruction: str
    stamp_ns: int
    pose: tuple[tuple[float, float, float], tuple[float, float, float, float]] | None = None
    thumbnails: Mapping[str, np.ndarray] = field(default_factory=dict)
    continuation: Continuation | None = None


@dataclass(frozen=True)
class ActionChunk:
    """A sequence of actions for consecutive control steps.

    Attributes:
        actions: (H, D) float64, un-normalised, columns named by ``PolicySpec.action_names``;
            row i is executed from ``stamp_ns + i * control_dt`` on.
        stamp_ns: time of the observation it answers.
        control_dt: seconds per row.
        native: the same rows as the policy said them, before they were brought to metres and
            radians and before any limit; None where the backend does not tell. Only for
            simulators that execute a policy's own commands to the bit; a robot gets ``actions``.
    """

    actions: np.ndarray
    stamp_ns: int
    control_dt: float
    native: np.ndarray | None = None


@dataclass(frozen=True)
class StepStats:
    """What happened inside one control step; everything a report or a diagnostic needs.

    Attributes:
        stages_ms: stage name -> milliseconds; stages: ``preprocess``, ``vision``, ``decoder``,
            ``select`` (part of decoder time, reported separately), ``head``, ``total``.
        kept: per image, sorted indices of the visual tokens kept (all of them when unpruned);
            an empty tuple for a reused step, which looked at nothing.
        tokens_per_image: M.
        token_budget: budget asked for.
        pruner: name of the pruner.
        pruned: False when nothing was cut (budget = all, warm-up, refresh).
        unpruned_reason: ``''`` or one of ``budget_all``, ``warm_up``, ``refresh``, ``none``.
        reused: the step was answered by action reuse, no model was run.
        reuse_reason: ``'reused'``, or why not (a veto name, see core/reuse_instead_of_model.py).
        flops: multiply-adds of the decoder pass (0 for a reused step).
        revision: revision of the parameter snapshot used.
        limited: limit name (core/action_limits.py) -> number of action values it changed.
    """

    stages_ms: Mapping[str, float]
    kept: tuple[np.ndarray, ...]
    tokens_per_image: int
    token_budget: int
    pruner: str
    pruned: bool
    unpruned_reason: str
    reused: bool = False
    reuse_reason: str = 'off'
    flops: float = 0.0
    revision: int = 0
    limited: Mapping[str, int] = field(default_factory=dict)
