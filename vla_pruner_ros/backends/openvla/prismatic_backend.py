# SPDX-License-Identifier: Apache-2.0
"""What OpenVLA and OpenVLA-OFT share as robot policies: inputs, units, the specification."""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.backends.openvla.action_unnormalization import (
    Bounds,
    choose_statistics,
    read_bounds,
)
from vla_pruner_ros.backends.openvla.checkpoint_files import read_json
from vla_pruner_ros.backends.openvla.checkpoint_loading import (
    build,
    Checkpoint,
    PROCESSOR_NAME,
    TOKENIZER_NAME,
)
from vla_pruner_ros.backends.openvla.dataset_facts import (
    action_names,
    DatasetFacts,
    facts,
    GRIPPERS,
    state_names,
)
from vla_pruner_ros.backends.openvla.image_preprocessing import ImageTransform, read_transform
from vla_pruner_ros.backends.openvla.prismatic_model import ModelShape, OpenVlaModel
from vla_pruner_ros.backends.openvla.prompt_tokens import Prompt, QUESTION, V01_QUESTION
from vla_pruner_ros.backends.policy_outline import PolicyOutline
from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.core.backend_interface import Backend
from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.core.flops import decoder_flops
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import CameraSpec, Observation, PolicySpec

#: Camera roles by number of images, in the order that the models were trained with.
ROLES = {1: ('primary',), 2: ('primary', 'wrist'), 3: ('primary', 'left_wrist', 'right_wrist')}
#: A longer instruction than this is refused before it reaches the tokenizer.
MAX_WORDS = 128


@dataclass(frozen=True)
class DataSet:
    """The data set whose statistics and conventions are used.

    Attributes:
        key: its name in the statistics.
        facts: rate, units, kind of actions.
        action: range of the actions.
        scale: (D,) factors from the data set's units to metres and radians.
        block: all its statistics.
    """

    key: str
    facts: DatasetFacts
    action: Bounds
    scale: np.ndarray
    block: Mapping[str, Any]


def read_data_set(checkpoint: Checkpoint, parameters: Parameters, epsilon: float) -> DataSet:
    """Pick and check the statistics that ``parameters`` names.

    Raises:
        ConfigError: no key where one is needed, an unknown one, unusable numbers, unknown rate.
    """
    key, block = choose_statistics(checkpoint.statistics, parameters.unnorm_key)
    where = f'norm_stats[{key!r}]'
    sizes = read_bounds(block.get('action'), 'min_max', f'{where}["action"]').dimensions
    known = facts(key, sizes, parameters.control_rate)
    kind = known.bounds if parameters.action_bounds == 'auto' else parameters.action_bounds
    action = read_bounds(block.get('action'), kind, f'{where}["action"]', epsilon)
    scale = np.ones(sizes)
    if not known.joints:
        scale[:3], scale[3:6] = known.metres, known.radians
    return DataSet(key, known, action, scale, block)


def outline_of(checkpoint: Checkpoint, lm_head: bool) -> PolicyOutline:
    """What a checkpoint says without being loaded; nothing says which tasks it knows.

    Args:
        checkpoint: from ``read_checkpoint``.
        lm_head: the policy uses the output layer.

    Raises:
        ConfigError: a configuration that is not read.
        BackendError: tensors are missing, misshaped or unexpected; each is named.
    """
    model, _ = build(checkpoint, lm_head, shapes_only=True)
    return PolicyOutline(model.shape.towers[0].grid ** 2)


def make_spec(name: str, data: DataSet, shape: ModelShape, parameters: Parameters, images: int,
              horizon: int, state: int, causal: bool) -> PolicySpec:
    """Specification of a loaded policy.

    Args:
        name: of the backend.
        data: data set.
        shape: of the model.
        parameters: gripper convention.
        images: number of cameras.
        horizon: actions in a chunk.
        state: proprioceptive values read; 0 = none.
        causal: the prompt runs under a causal mask.

    Raises:
        ConfigError: a robot of unknown dimensions.
    """
    tower, joints = shape.towers[0], data.facts.joints
    side = tower.grid * tower.patch
    names = action_names(data.action.dimensions, joints)
    opened, closed = GRIPPERS[parameters.gripper_convention]
    return PolicySpec(
        name=name, cameras=tuple(CameraSpec(role, side, side) for role in ROLES[images]),
        state_names=state_names(state) if state else (), action_names=names,
        action_kind='joint_position' if joints else 'ee_delta', action_horizon=horizon,
        control_dt=1.0 / data.facts.rate, grid_rows=tower.grid, grid_cols=tower.grid,
        decoder_layers=shape.decoder.num_hidden_layers,
        gripper_index=None if joints else len(names) - 1, gripper_open=opened,
        gripper_closed=closed, max_instruction_words=MAX_WORDS, causal=causal)


class PrismaticBackend(Backend):
    """Preprocessing and bookkeeping of both policies.

    Args:
        checkpoint: from ``read_checkpoint``.
        model: loaded.
        data: data set.
        spec: specification.
        parameters: image options.
    """

    def __init__(self, checkpoint: Checkpoint, model: OpenVlaModel, data: DataSet,
                 spec: PolicySpec, parameters: Parameters):
        self.spec, self.model, self.data = spec, model, data
        weight = model.projector.fc1.weight
        self.device, self.dtype = weight.device, weight.dtype
        old = 'openvla-v01' in checkpoint.folder.name or 'openvla-v01' in str(
            checkpoint.config.get('_name_or_path', ''))
        self.prompt = Prompt(checkpoint.folder / TOKENIZER_NAME, V01_QUESTION if old else QUESTION)
        self.transform = read_image_transform(checkpoint, parameters)

    def pixels(self, observation: Observation) -> Tensor:
        """(1, 6 * cameras, S, S) normalised images on the device, cameras in the policy's order.

        Raises:
            InputError: a camera is missing or its image is not (H, W, 3) uint8.
        """
        parts = []
        for camera in self.spec.cameras:
            image = observation.images.get(camera.role)
            if image is None:
                raise InputError('camera', f'the policy needs camera {camera.role!r}, the '
                                           f'observation has {sorted(observation.images)}')
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise InputError('camera', f'camera {camera.role!r} must be (H, W, 3) uint8, got '
                                           f'{image.shape} {image.dtype}')
            parts.append(self.transform(image))
        stacked = torch.from_numpy(np.concatenate(parts))[None]
        return stacked.to(self.device, self.dtype)

    def words(self, instruction: str) -> Tensor:
        """(1, n) token ids of the whole prompt.

        Raises:
            InputError: an instruction that cannot be used.
        """
        if len(instruction.split()) > MAX_WORDS:
            raise InputError('instruction', f'the instruction has {len(instruction.split())} '
                                            f'words, the policy reads at most {MAX_WORDS}')
        return torch.tensor([self.prompt.encode(instruction)], device=self.device)

    def units(self, values: np.ndarray) -> np.ndarray:
        """(H, D) un-normalised actions of the data set -> metres, radians, gripper."""
        return np.asarray(values * self.data.scale)

    def flops(self, sequence: SequenceLayout, selector: TokenSelector) -> float:
        """Multiply-adds of the prefill by the papers' formula."""
        visual, config = sequence.visual, self.model.shape.decoder
        short = sequence.length - visual.images * (visual.tokens_per_image - selector.budget)
        return decoder_flops(layers=config.num_hidden_layers, hidden=config.hidden_size,
                             width=config.intermediate_size, tokens=sequence.length,
                             prune_layer=selector.cut_layer,
                             kept=None if selector.cut_layer is None else short)

    @staticmethod
    def kept(kept: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
        """Kept indices as arrays."""
        return tuple(one.cpu().numpy() for one in kept)


def read_image_transform(checkpoint: Checkpoint, parameters: Parameters) -> ImageTransform:
    """Image steps of a checkpoint with the options of the parameters.

    Raises:
        ConfigError: no usable ``preprocessor_config.json``.
    """
    return read_transform(read_json(checkpoint.folder / PROCESSOR_NAME), parameters.center_crop,
                          parameters.image_resize)
