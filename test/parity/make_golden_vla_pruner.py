# SPDX-License-Identifier: Apache-2.0
"""Run the official VLA-Pruner code (OpenVLA) over consecutive frames and keep what it decided.

The code runs as published, with one switch: it rounds the attention history to bfloat16 before it
ranks it, which leaves many exact ties to the order of a sort; ``--history float32`` keeps the
history as it was collected.  See README.md for the environment.
"""
import argparse
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import importlib
import json
from pathlib import Path
import sys

import numpy as np
from parity import cases, official
from parity.frames import bridge_frames
import torch

#: (prompt rows of the semantic score, pruned fraction, precision of the ranked history);
#: ``fastv`` is that code's FastV: the last row and no history.
RUNS = (('all', 0.75, 'float32'), ('last_token', 0.75, 'float32'),
        ('last_token', 0.875, 'float32'), ('all', 0.5, 'float32'),
        ('fastv', 0.75, 'float32'), ('all', 0.75, 'bfloat16'))
FRAMES = 10


@contextmanager
def history_precision(name: str) -> Iterator[None]:
    """Read ``torch.bfloat16`` as float32 while the block runs, or change nothing."""
    original = torch.bfloat16
    if name == 'float32':
        torch.bfloat16 = torch.float32
    try:
        yield
    finally:
        torch.bfloat16 = original


class Recorder:
    """Reads, beside the official forward pass, the attention that its selection reads."""

    def __init__(self, model: torch.nn.Module):
        self.attention, self.logits = torch.empty(0), []
        layer = model.language_model.model.layers[2].self_attn
        layer.register_forward_hook(self._attention)
        model.language_model.lm_head.register_forward_hook(self._logits)

    def _attention(self, module: torch.nn.Module, inputs: tuple, output: tuple) -> None:
        if output[1].shape[2] > 1:  # the prompt, not a decode step
            self.attention = output[1][0].mean(dim=0)

    def _logits(self, module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self.logits.append(output[0, -1])

    def semantic(self, rows: str) -> np.ndarray:
        """(256,) semantic score over all prompt rows or of the last one."""
        score = self.attention.mean(dim=0) if rows == 'all' else self.attention[-1]
        return score[1:257].numpy().copy()


def run(model: torch.nn.Module, recorder: Recorder, pixel_values: Sequence[torch.Tensor],
        rows: str, ratio: float, history: str) -> dict:
    """Ten frames of one episode."""
    model.use_fastv, model.fastv_k, model.fastv_r = True, 3, ratio
    model.fastv_image_token_start_index, model.fastv_image_token_length = 1, 256
    model.use_prefil_attention = rows == 'all'
    model.use_temporal = rows != 'fastv'
    model.av_decay, model.av_hist = 0.8, deque(maxlen=3)
    ids = torch.tensor([cases.PROMPT])
    found: dict = {key: [] for key in ('semantic', 'smoothed', 'seen', 'kept', 'tokens', 'action')}
    for pixels in pixel_values:
        recorder.logits = []
        with torch.no_grad(), history_precision(history):
            action, _ = model.predict_action(
                ids, unnorm_key='bridge_orig', pixel_values=pixels,
                attention_mask=torch.ones_like(ids), do_sample=False, output_attentions=True,
                return_dict_in_generate=True)
        smoothed = model.fastv_config['historical_attention']
        kept = model.language_model.pruning_info['kept_indices']
        kept = kept[(kept >= 1) & (kept < 257)] - 1
        found['semantic'].append(recorder.semantic(rows))
        found['smoothed'].append(np.zeros(256, np.float32) if smoothed is None
                                 else smoothed.float().numpy())
        found['seen'].append(model.av_hist[-1].astype(np.float32))
        found['kept'].append(np.pad(kept.numpy(), (0, 256 - len(kept)), constant_values=-1))
        found['tokens'].append([int(one.argmax()) for one in recorder.logits])
        found['action'].append(action)
    found = {key: np.array(value) for key, value in found.items()}
    found['kept'] = found['kept'].astype(np.int16)
    return found


def main() -> None:
    """Write one archive of arrays per sequence of frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--source', type=Path, required=True,
                        help='src/openvla of the official VLA-Pruner repository')
    parser.add_argument('--tokenizers', type=Path, help='folder with tokenizers < 0.19, if the '
                        'environment has a newer one')
    parser.add_argument('--bridge', type=Path, required=True, help='bridge_real_1.mp4')
    parser.add_argument('--output', type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.tokenizers:
        sys.path.insert(0, str(arguments.tokenizers))
    sys.path.insert(0, str(arguments.source / 'transformers' / 'src'))
    official.declare_torchvision_operators()
    official.enter_packages(arguments.source, 'prismatic', 'prismatic.extern',
                            'prismatic.extern.hf')
    model, processor = official.openvla_model('eager'), official.image_processor()
    recorder = Recorder(model)
    sequences = {'formula': [cases.image(i) for i in range(FRAMES)],
                 'bridge': bridge_frames(arguments.bridge, FRAMES)}
    arrays = {}
    for name, pictures in sequences.items():
        arrays[f'{name}/pictures_digest'] = np.array([cases.digest(one) for one in pictures])
        pixel_values: list[torch.Tensor] = [official.pixels(processor, one) for one in pictures]
        for rows, ratio, history in RUNS:
            found = run(model, recorder, pixel_values, rows, ratio, history)
            print(name, rows, ratio, history, found['tokens'][-1], found['action'][-1])
            arrays.update({f'{name}/{rows}/{ratio}/{history}/{key}': value
                           for key, value in found.items()})
    arrays['versions'] = np.array(json.dumps(official.versions(
        'torch', 'transformers', 'tokenizers', 'timm', 'torchvision', 'numpy', 'PIL')))
    np.savez_compressed(arguments.output, **arrays)
    print(arguments.output, arguments.output.stat().st_size, 'bytes')


if __name__ == '__main__':
    importlib.invalidate_caches()
    main()
