# SPDX-License-Identifier: Apache-2.0
"""OpenVLA as a robot policy: one image and an instruction in, one end-effector action out.

    images, words -> embeddings -> prefill with the cut inside -> 7 tokens, greedily -> action

Reads top to bottom.  The action token of each step is checked as soon as it is chosen, so a
model that leaves the range of actions stops at once.  The rows whose attention is reported to
the pruner are those that predict the tokens: the last prompt row and the first six decoded ones.
"""

import torch
from torch import Tensor

from vla_pruner_ros.backends.openvla.action_unnormalization import ActionTokens
from vla_pruner_ros.backends.openvla.checkpoint_loading import (
    Checkpoint,
    load_model,
    read_checkpoint,
)
from vla_pruner_ros.backends.openvla.hub_download import resolve_checkpoint
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
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import Observation, VisualLayout


class OpenVlaBackend(PrismaticBackend):
    """One loaded OpenVLA, batch 1.

    Args:
        checkpoint: from ``read_checkpoint``.
        model: loaded with its output layer.
        data: data set whose statistics un-normalise the actions.
        parameters: options.
    """

    def __init__(self, checkpoint: Checkpoint, model: OpenVlaModel, data: DataSet,
                 parameters: Parameters):
        spec = make_spec('openvla', data, model.shape, parameters, images=1, horizon=1, state=0,
                         causal=True)
        super().__init__(checkpoint, model, data, spec, parameters)
        self.tokens = ActionTokens(checkpoint.action_vocabulary, checkpoint.action_bins)

    @classmethod
    def from_parameters(cls, parameters: Parameters, device: torch.device) -> 'OpenVlaBackend':
        """Load the checkpoint that ``parameters`` names.

        Raises:
            ConfigError: no such checkpoint, an option it does not have, statistics not chosen.
            BackendError: it does not fit the model or the memory.
        """
        checkpoint, data = _read(parameters)
        loaded = load_model(checkpoint, True, device, parameters)
        backend = cls(checkpoint, loaded.model, data, parameters)
        backend.memory = loaded.memory()
        return backend

    @classmethod
    def outline(cls, parameters: Parameters) -> PolicyOutline:
        """What the checkpoint says without being loaded; raises as loading does."""
        checkpoint, _ = _read(parameters)
        return outline_of(checkpoint, lm_head=True)

    @torch.inference_mode()
    def predict_action_chunk(self, observation: Observation,
                             selector: TokenSelector) -> Prediction:
        """Run the model once.

        Raises:
            InputError: the camera or the instruction cannot be used.
            AnswerError: a token outside the action range.
            BackendError: a selector that asks for what this decoder does not have.
        """
        clock = StageClock(self.device)
        pixels = self.pixels(observation)
        words = self.words(observation.instruction)
        clock.lap('preprocess')

        visual = self.model.encode(pixels)
        clock.lap('vision')

        embeds, sequence = self.assemble(visual, words)
        count = self.data.action.dimensions
        run = PrunedPass(self.model.decoder, sequence, selector, causal=True,
                         decode_room=count - 1)
        result = run.prefill(embeds)
        chosen = self._greedy(run, result.hidden[:, -1:], count)
        clock.lap('decoder')

        native = self.data.action.spread(self.tokens.decode(chosen))[None]
        selector.feedback(run.feedback())
        clock.lap('head')
        clock.stages['select'] = selector.select_ms
        return Prediction(actions=self.units(native), kept=self.kept(result.kept),
                          stages_ms=clock.stages, flops=self.flops(sequence, selector),
                          native=native)

    def assemble(self, visual: Tensor, words: Tensor) -> tuple[Tensor, SequenceLayout]:
        """Embeddings (1, T, hidden) and their spans: BOS, visual tokens, rest of the prompt."""
        tower = self.model.shape.towers[0]
        layout = VisualLayout(start=1, images=1, rows=tower.grid, cols=tower.grid)
        embeds = join(self.model.embed(words), visual)
        length = embeds.shape[1]
        return embeds, SequenceLayout(length, layout, text=slice(layout.stop, length),
                                      action=slice(length - 1, length))

    def _greedy(self, run: PrunedPass, hidden: Tensor, count: int) -> list[int]:
        """Most likely token of each of ``count`` steps, starting from the last prompt row."""
        chosen: list[int] = []
        while True:
            best = self.model.logits(hidden)[0, -1].argmax()
            chosen.append(self.tokens.check(int(best)))
            if len(chosen) == count:
                return chosen
            hidden = run.decode(self.model.embed(best.view(1, 1)))


def _read(parameters: Parameters) -> tuple[Checkpoint, DataSet]:
    """Look at the files that ``parameters`` names, without reading a tensor."""
    checkpoint = read_checkpoint(resolve_checkpoint(parameters.checkpoint, parameters.revision))
    if checkpoint.is_oft:
        raise ConfigError(f'{checkpoint.folder} is an OpenVLA-OFT checkpoint (it has '
                          f'{", ".join(one.name for one in checkpoint.components.values())}); '
                          "set backend to 'openvla_oft'")
    return checkpoint, read_data_set(checkpoint, parameters, epsilon=0.0)
