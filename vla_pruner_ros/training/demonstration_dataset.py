# SPDX-License-Identifier: Apache-2.0
"""Demonstration shards as training batches.

Images stay on disk (memory-mapped); everything else is in memory.  All instructions of one batch
have the same number of words, so no sequence is ever padded and training equals inference.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.backends.pocket.pocket_model import PocketConfig
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.tasks import get_task

VALIDATION_SHARE = 0.05  # the last seeds of every shard


@dataclass(frozen=True)
class Batch:
    """Tensors of one step: images (B, C, 224, 224, 3) uint8, text (B, n), state, chunk (B, 8, 4).

    ``gain`` (B, C, 3) and ``bias`` (B, C, 1) are the colour jitter of each picture.  Applied where
    the patches are taken out, because most patches of a shortened sequence are never used.

    Privileged, for auxiliary losses only (see ``labels.frame_labels``): ``places`` (B, 2, 3),
    ``points`` (B, C, 8, 3) in the (shifted) images, ``colours`` and ``shapes`` (B, 5).
    """

    images: Tensor
    gain: Tensor
    bias: Tensor
    text: Tensor
    state: Tensor
    chunk: Tensor
    places: Tensor
    points: Tensor
    colours: Tensor
    shapes: Tensor


class Demonstrations:
    """Shards of several tasks, split into training and validation episodes.

    Args:
        folder: of the shards.
        tasks: names of tasks.

    Raises:
        ConfigError: a task has no shard, or the tasks have different cameras.
    """

    def __init__(self, folder: Path, tasks: Sequence[str]):
        self.tasks = tuple(tasks)
        self.images: dict[str, list[np.ndarray]] = {}
        self.columns: dict[str, dict[str, np.ndarray]] = {}
        self._by_length: dict[tuple[str, bool], dict[int, np.ndarray]] = {}
        for task in tasks:
            get_task(task)
            shards = sorted(folder.glob(f'{task}-*.npz'))
            if not shards:
                raise ConfigError(f'no demonstrations of {task} in {folder}')
            parts, self.images[task] = [], []
            for number, shard in enumerate(shards):
                with np.load(shard) as stored:
                    part = {key: stored[key] for key in stored.files}
                rows = len(part['seed'])
                part['shard'], part['row'] = np.full(rows, number), np.arange(rows)
                border = part['seed'].min() + (1 - VALIDATION_SHARE) * np.ptp(part['seed'])
                part['held_out'] = part['seed'] > border
                parts.append(part)
                self.images[task].append(np.load(shard.with_suffix('.npy'), mmap_mode='r'))
            self.columns[task] = {key: np.concatenate([part[key] for part in parts])
                                  for key in parts[0]}
            for held_out in (False, True):
                self._by_length[task, held_out] = self._lengths(task, held_out)
        views = {task: str(self.columns[task]['cameras'][0]) for task in tasks}
        if len(set(views.values())) != 1:
            raise ConfigError(f'one policy needs the same cameras in all tasks, got {views}')
        #: Names of the cameras, in the order of ``Batch.images``.
        self.cameras = tuple(views[self.tasks[0]].split())

    def _lengths(self, task: str, held_out: bool) -> dict[int, np.ndarray]:
        """Number of words -> frames that have a wording of that length."""
        column = self.columns[task]
        texts, which = np.unique(column['wordings'], return_inverse=True)
        lengths = [{len(line.split()) for line in str(text).split('\n')} for text in texts]
        allowed = column['held_out'] == held_out
        found = {}
        for length in sorted(set().union(*lengths)):
            has = np.array([length in one for one in lengths])
            rows = np.flatnonzero(has[which] & allowed)
            if len(rows):
                found[length] = rows
        return found

    def wordings(self) -> list[str]:
        """All instructions of all tasks."""
        return sorted({line for task in self.tasks
                       for text in np.unique(self.columns[task]['wordings'])
                       for line in str(text).split('\n')})

    def instruction(self, task: str) -> str:
        """An instruction of the task, as its first episode had it."""
        return str(self.columns[task]['wordings'][0]).split('\n')[0]

    def frames(self, task: str, held_out: bool = False) -> int:
        """Number of frames of a task."""
        return int((self.columns[task]['held_out'] == held_out).sum())

    def state_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (4,) of the state over all tasks."""
        states = np.concatenate([self.columns[task]['state'] for task in self.tasks])
        return states.mean(0), np.maximum(states.std(0), 0.02)

    def batch(self, config: PocketConfig, counts: Mapping[str, int], rng: np.random.Generator,
              held_out: bool = False, shift: int = 0, jitter: float = 0.0) -> Batch:
        """Draw a batch; ``counts`` are frames per task in the mean, their sum is the batch size.

        Images are shifted by up to ``shift`` pixels, contrast and brightness are changed by up to
        ``jitter`` and half of it.  The number of words is drawn first, then
        tasks that have such wordings, so that each task keeps its share.
        """
        lengths = {task: self._by_length[task, held_out] for task in counts}
        share = {(task, words): count / len(lengths[task])
                 for task, count in counts.items() for words in lengths[task]}
        options = sorted({words for _, words in share})
        mass = np.array([sum(value for (_, one), value in share.items() if one == words)
                         for words in options])
        words = int(rng.choice(options, p=mass / mass.sum()))
        tasks = [task for task in counts if (task, words) in share]
        odds = np.array([share[task, words] for task in tasks])
        picked = rng.choice(len(tasks), sum(counts.values()), p=odds / odds.sum())
        rows = [self._sample(tasks[number], rng.choice(lengths[tasks[number]][words]), words,
                             config, rng, shift) for number in picked]
        columns = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        shape = columns['images'].shape[:2]
        gain = 1 + jitter * rng.uniform(-1, 1, (*shape, 3))
        bias = jitter / 2 * rng.uniform(-1, 1, (*shape, 1))
        return Batch(gain=torch.from_numpy(gain).float(), bias=torch.from_numpy(bias).float(),
                     **{key: torch.from_numpy(value) for key, value in columns.items()})

    def _sample(self, task: str, index: int, words: int, config: PocketConfig,
                rng: np.random.Generator, shift: int) -> dict[str, np.ndarray]:
        column = self.columns[task]
        image = self.images[task][column['shard'][index]][column['row'][index]]
        points = column['points'][index].copy()
        if shift:
            moves = rng.integers(-shift, shift + 1, (len(image), 2))
            image = np.stack([_shifted(one, *move, shift) for one, move in zip(image, moves)])
            points[:, :, 0] += moves[:, 1:]
            points[:, :, 1] += moves[:, :1]
        wordings = [line for line in str(column['wordings'][index]).split('\n')
                    if len(line.split()) == words]
        text = config.tokenize(wordings[rng.integers(len(wordings))])
        return {'images': np.asarray(image), 'text': np.array(text), 'points': points,
                **{key: column[key][index]
                   for key in ('state', 'chunk', 'places', 'colours', 'shapes')}}


def _shifted(image: np.ndarray, down: int, right: int, limit: int) -> np.ndarray:
    padded = np.pad(image, ((limit, limit), (limit, limit), (0, 0)), mode='edge')
    top, left = limit - down, limit - right
    return padded[top:top + image.shape[0], left:left + image.shape[1]]
