# SPDX-License-Identifier: Apache-2.0
"""The shipped policy behind the backend seam: an observation in, an un-normalised chunk out.

Reads top to bottom: preprocess -> vision -> decoder with the cut inside -> head.  Input and output
transforms mirror each other: ``_state`` and the model's state normalisation on the way in,
``action_scale`` on the way out.
"""
from dataclasses import replace
from pathlib import Path
import re

import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.backends.pocket.pocket_files import check_pocket, load_pocket
from vla_pruner_ros.backends.pocket.pocket_model import PocketVLA
from vla_pruner_ros.backends.policy_outline import PolicyOutline
from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.backends.shared.stage_clock import StageClock
from vla_pruner_ros.backends.shipped_policies import checkpoint_folder
from vla_pruner_ros.core.backend_interface import Backend, Prediction
from vla_pruner_ros.core.errors import InputError, MissingDependencyError
from vla_pruner_ros.core.flops import decoder_flops
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import CameraSpec, Observation, PolicySpec


class PocketBackend(Backend):
    """One loaded PocketVLA, batch 1, float32.

    Args:
        model: the network with its weights.
        device: where to run it.
    """

    def __init__(self, model: PocketVLA, device: str | torch.device = 'cpu'):
        config = model.config
        self.device = torch.device(device)
        self.model = model.to(device=self.device, dtype=torch.float32).eval()
        self._scale = torch.tensor(config.action_scale, dtype=torch.float64)
        self.spec = PolicySpec(
            name='pocket',
            cameras=tuple(CameraSpec(name, config.image_size, config.image_size)
                          for name in config.cameras),
            state_names=tuple(config.state_names), action_names=tuple(config.action_names),
            action_kind='ee_delta', action_horizon=config.chunk, control_dt=config.control_dt,
            grid_rows=config.grid, grid_cols=config.grid, decoder_layers=config.layers,
            gripper_index=len(config.action_names) - 1, gripper_open=config.gripper_open,
            gripper_closed=config.gripper_closed, gripper_continuous=True,
            max_instruction_words=config.max_words,
            causal=False)

    @classmethod
    def load(cls, checkpoint: Path | None, device: torch.device) -> 'PocketBackend':
        """Load from a directory; None = the default of the shipped policies.

        Raises:
            ConfigError: a file is missing, or the JSON is not a PocketVLA configuration.
            BackendError: the weights do not fit; every wrong tensor is named.
        """
        return cls(load_pocket(checkpoint), device)

    @classmethod
    def outline(cls, parameters: Parameters) -> PolicyOutline:
        """What the files say; raises as loading does, except for weights that are not finite."""
        config = check_pocket(checkpoint_folder(parameters.checkpoint))
        return PolicyOutline(config.grid ** 2, tuple(config.instructions))

    @torch.inference_mode()
    def predict_action_chunk(self, observation: Observation,
                             selector: TokenSelector) -> Prediction:
        """Run the model once.

        Raises:
            InputError: the camera, the state or the instruction cannot be used.
            BackendError: the selector asks for what this decoder does not have.
        """
        clock = StageClock(self.device)
        images = torch.stack([self._image(observation, camera) for camera in self.spec.cameras],
                             dim=1)
        state = self._state(observation.state)
        words = self._words(observation.instruction)
        clock.lap('preprocess')

        visual = self.model.encode_image(images)
        clock.lap('vision')

        embeds, layout, text, queries = self.model.assemble(visual, words, state)
        sequence = SequenceLayout(embeds.shape[1], layout, text, queries)
        run = PrunedPass(self.model.decoder, sequence, selector, causal=False)
        result = run.prefill(embeds)
        clock.lap('decoder')

        actions = self.model.head(result.hidden)[0].double().cpu() * self._scale
        selector.feedback(run.feedback())
        clock.lap('head')
        clock.stages['select'] = selector.select_ms
        return Prediction(actions=actions.numpy(), stages_ms=clock.stages,
                          kept=tuple(one.cpu().numpy() for one in result.kept),
                          flops=self._flops(sequence, selector))

    def example_observation(self) -> Observation:
        """Noise image and mean state under an instruction that the policy knows."""
        config = self.model.config
        instruction = next(iter(config.instructions.values()), ' '.join(config.words[1:2]))
        return replace(super().example_observation(), instruction=instruction,
                       state=np.asarray(config.state_mean, dtype=np.float64))

    def _image(self, observation: Observation, camera: CameraSpec) -> Tensor:
        """(1, 3, H, W) in [0, 1]; other sizes are resized, not cropped."""
        if camera.role not in observation.images:
            raise InputError('camera', f'the policy needs camera {camera.role!r}, the observation '
                                       f'has {sorted(observation.images)}')
        image = observation.images[camera.role]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError('camera', f'camera {camera.role!r} must be (H, W, 3) uint8, got '
                                       f'{image.shape} {image.dtype}')
        if image.shape[:2] != (camera.height, camera.width):
            image = resize(image, camera.height, camera.width)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
        return pixels.permute(2, 0, 1)[None].to(torch.float32) / 255

    def _state(self, state: np.ndarray) -> Tensor:
        """(1, D) in the units of the spec; the model normalises it."""
        values = np.asarray(state, dtype=np.float64)
        if values.shape != (len(self.spec.state_names),):
            raise InputError('state', f'the state has shape {values.shape}, the policy needs '
                                      f'{len(self.spec.state_names)} values: '
                                      f'{", ".join(self.spec.state_names)}')
        if not np.isfinite(values).all():
            raise InputError('state', f'the state is not finite: {values.tolist()}')
        return torch.from_numpy(values).to(self.device, torch.float32)[None]

    def _words(self, instruction: str) -> Tensor:
        """(1, n) token ids; unknown words become ``<unk>``, but not all of them may be unknown."""
        config = self.model.config
        found = re.findall(r"[\w'-]+", instruction.lower())
        if len(found) > config.max_words:
            raise InputError('instruction', f'the instruction has {len(found)} words, the policy '
                                            f'reads at most {config.max_words}')
        ids = config.tokenize(instruction) if found else []
        if not any(ids):
            knows = '; '.join(repr(one) for one in config.instructions.values())
            raise InputError('instruction', f'no known word in the instruction '
                                            f'{instruction[:60]!r}; the policy learned: {knows}')
        return torch.tensor([ids], device=self.device)

    def _flops(self, sequence: SequenceLayout, selector: TokenSelector) -> float:
        """Multiply-adds of the decoder pass by the papers' formula."""
        visual, config = sequence.visual, self.model.config
        dropped = visual.images * (visual.tokens_per_image - selector.budget)
        return decoder_flops(config.layers, config.hidden, config.inner, sequence.length,
                             selector.cut_layer, sequence.length - dropped)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W, 3) uint8: area average when it shrinks, bicubic when it grows.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            f'an image of {image.shape[1]}x{image.shape[0]} pixels must be resized to '
            f'{width}x{height}, which needs OpenCV: {how_to_install("cv2")}') from error
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method))
