# SPDX-License-Identifier: Apache-2.0
"""OpenVLA-OFT as a robot policy: one to three images, proprioception and words in, a chunk out.

    [BOS] visual(256 per image) [proprio] prompt placeholders(8 x 7, zero) </s>
        -> ONE pass in which every row sees every other, with the cut inside -> L1 head -> chunk

The action of row r is read where the next token would be predicted: from the last prompt row to
the second-to-last placeholder.  These rows also give the attention that is reported to the
pruner.  With FiLM the towers are told the mean embedding of the prompt (its end token included)
before they look.
"""
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.backends.openvla.action_unnormalization import Bounds, read_bounds
from vla_pruner_ros.backends.openvla.checkpoint_files import read_component
from vla_pruner_ros.backends.openvla.checkpoint_layout import decoder_config
from vla_pruner_ros.backends.openvla.checkpoint_loading import (
    Checkpoint,
    component_path,
    load_component,
    load_model,
    read_checkpoint,
)
from vla_pruner_ros.backends.openvla.hub_download import resolve_checkpoint
from vla_pruner_ros.backends.openvla.oft_heads import ActionHead, head_sizes, ProprioProjector
from vla_pruner_ros.backends.openvla.prismatic_backend import (
    DataSet,
    make_spec,
    outline_of,
    PrismaticBackend,
    read_data_set,
)
from vla_pruner_ros.backends.openvla.prismatic_model import join, OpenVlaModel
from vla_pruner_ros.backends.policy_outline import PolicyOutline
from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.backends.shared.stage_clock import StageClock
from vla_pruner_ros.core.backend_interface import Prediction
from vla_pruner_ros.core.errors import ConfigError, InputError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import Observation, VisualLayout

END_TOKEN = 2
EPSILON = 1e-8  # the OFT code adds it to every range


@dataclass(frozen=True)
class Proprioception:
    """Projector and range of the robot's own state."""

    projector: ProprioProjector
    bounds: Bounds


class OftBackend(PrismaticBackend):
    """One loaded OpenVLA-OFT, batch 1.

    Args:
        checkpoint: from ``read_checkpoint``.
        model: loaded, without its output layer.
        head: the L1 head.
        proprio: None for a policy that does not read the robot's state.
        data: data set whose statistics un-normalise the actions.
        parameters: options; ``policy_images`` and ``action_chunk`` are not in the files.
    """

    def __init__(self, checkpoint: Checkpoint, model: OpenVlaModel, head: ActionHead,
                 proprio: Proprioception | None, data: DataSet, parameters: Parameters):
        spec = make_spec(
            'openvla_oft', data, model.shape, parameters, images=parameters.policy_images,
            horizon=parameters.action_chunk or data.facts.chunk,
            state=proprio.bounds.dimensions if proprio else 0, causal=False)
        super().__init__(checkpoint, model, data, spec, parameters)
        self.head, self.proprio = head, proprio

    @classmethod
    def from_parameters(cls, parameters: Parameters, device: torch.device) -> 'OftBackend':
        """Load the checkpoint that ``parameters`` names.

        Raises:
            ConfigError: no such checkpoint, a file it lacks, statistics not chosen.
            BackendError: it does not fit the model or the memory.
        """
        checkpoint, data, head, projector, bounds = _read(parameters)
        extra = [head, *([projector] if projector else [])]
        beside = sum(one.numel() for part in extra for one in part.parameters())
        loaded = load_model(checkpoint, False, device, parameters,
                            images=parameters.policy_images, beside=beside)
        dtype = loaded.model.projector.fc1.weight.dtype
        load_component(checkpoint, 'action_head', head, device, dtype)
        proprio = None
        if projector is not None and bounds is not None:
            load_component(checkpoint, 'proprio_projector', projector, device, dtype)
            proprio = Proprioception(projector, bounds)
        backend = cls(checkpoint, loaded.model, head, proprio, data, parameters)
        backend.memory = loaded.memory(*extra)
        return backend

    @classmethod
    def outline(cls, parameters: Parameters) -> PolicyOutline:
        """What the checkpoint says without being loaded; raises as loading does."""
        return outline_of(_read(parameters).checkpoint, lm_head=False)

    @torch.inference_mode()
    def predict_action_chunk(self, observation: Observation,
                             selector: TokenSelector) -> Prediction:
        """Run the model once.

        Raises:
            InputError: a camera, the state or the instruction cannot be used.
            BackendError: the selector asks for what this decoder does not have.
        """
        clock = StageClock(self.device)
        pixels = self.pixels(observation)
        words = self.words(observation.instruction)
        state = self.state(observation.state)
        clock.lap('preprocess')

        visual = self.model.encode(pixels, self.language(words))
        clock.lap('vision')

        embeds, sequence = self.assemble(visual, words, state)
        run = PrunedPass(self.model.decoder, sequence, selector, causal=False)
        result = run.prefill(embeds)
        clock.lap('decoder')

        normal = self.head(result.hidden)[0].float().cpu().numpy()
        native = self.data.action.spread(normal)
        selector.feedback(run.feedback())
        clock.lap('head')
        clock.stages['select'] = selector.select_ms
        return Prediction(actions=self.units(native), kept=self.kept(result.kept),
                          stages_ms=clock.stages, flops=self.flops(sequence, selector),
                          native=native)

    def state(self, values: np.ndarray) -> Tensor | None:
        """(1, D) normalised proprioception, or None.

        Raises:
            InputError: another number of values, or one that is not finite.
        """
        if self.proprio is None:
            return None
        values = np.asarray(values, dtype=np.float64)
        names = self.spec.state_names
        if values.shape != (len(names),):
            raise InputError('state', f'the state has shape {values.shape}, the policy needs '
                                      f'{len(names)} values: {", ".join(names)}')
        if not np.isfinite(values).all():
            raise InputError('state', f'the state is not finite: {values.tolist()}')
        normal = self.proprio.bounds.squeeze(values)
        return torch.from_numpy(normal)[None].to(self.device, torch.float32).to(self.dtype)

    def language(self, words: Tensor) -> Tensor | None:
        """(1, hidden) mean embedding of the prompt and the end token; None without FiLM."""
        if self.model.shape.towers[0].language is None:
            return None
        return self.model.embed(torch.cat((words, _end(words)), dim=1)).mean(dim=1)

    def assemble(self, visual: Tensor, words: Tensor,
                 state: Tensor | None) -> tuple[Tensor, SequenceLayout]:
        """Embeddings (1, T, hidden) and their spans; see the module docstring."""
        tower = self.model.shape.towers[0]
        layout = VisualLayout(start=1, images=len(self.spec.cameras), rows=tower.grid,
                              cols=tower.grid)
        if state is not None and self.proprio is not None:
            visual = torch.cat((visual, self.proprio.projector(state)[:, None]), dim=1)
        count = self.spec.action_horizon * len(self.spec.action_names)
        prompt = self.model.embed(words)
        blank = prompt.new_zeros(1, count, prompt.shape[2])
        embeds = torch.cat((join(prompt, visual), blank, self.model.embed(_end(words))), dim=1)
        begin = 1 + visual.shape[1]
        end = begin + words.shape[1] - 1
        return embeds, SequenceLayout(embeds.shape[1], layout, text=slice(begin, end),
                                      action=slice(end - 1, end - 1 + count))


def _end(words: Tensor) -> Tensor:
    return words.new_full((1, 1), END_TOKEN)


class _Files(NamedTuple):
    """What the files say, and the small networks beside the model, without memory."""

    checkpoint: Checkpoint
    data: DataSet
    head: ActionHead
    projector: ProprioProjector | None
    bounds: Bounds | None


def _read(parameters: Parameters) -> _Files:
    """Look at the files that ``parameters`` names, without reading a tensor."""
    checkpoint = read_checkpoint(resolve_checkpoint(parameters.checkpoint, parameters.revision))
    data = read_data_set(checkpoint, parameters, EPSILON)
    width = decoder_config(checkpoint.config).hidden_size
    dimensions, blocks = head_sizes(
        read_component(component_path(checkpoint, 'action_head'), shapes_only=True), width)
    if dimensions != data.action.dimensions:
        raise ConfigError(f'the action head gives {dimensions} values, the statistics of '
                          f'{data.key!r} have {data.action.dimensions}; set another unnorm_key')
    with torch.device('meta'):
        head = ActionHead(width, dimensions, blocks)
    return _Files(checkpoint, data, head, *_proprioception(checkpoint, parameters, data, width))


def _proprioception(checkpoint: Checkpoint, parameters: Parameters, data: DataSet, width: int
                    ) -> tuple[ProprioProjector | None, Bounds | None]:
    """Projector without memory and its range; (None, None) for a policy that reads no state.

    Raises:
        ConfigError: statistics that are missing or of another size.
    """
    path = checkpoint.components.get('proprio_projector')
    if path is None:
        return None, None
    kind = data.facts.bounds if parameters.action_bounds == 'auto' else parameters.action_bounds
    bounds = read_bounds(data.block.get('proprio'), kind, f'norm_stats[{data.key!r}]["proprio"]',
                         EPSILON)
    first = read_component(path, shapes_only=True).get('fc1.weight')
    if first is not None and first.shape[1] != bounds.dimensions:
        raise ConfigError(f'{path.name} reads {first.shape[1]} values, the statistics of '
                          f'{data.key!r} have {bounds.dimensions}; set another unnorm_key')
    with torch.device('meta'):
        return ProprioProjector(width, bounds.dimensions), bounds
