"""Demonstration shards as training batches.

Images stay on disk (memory-mapped); everything else is in memory.  All instructions of one batch
have the same number of words, so no sequence is ever padded and training equals inference.
"""
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.backends.pocket.model import PocketConfig
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.sim.geometry import project
from vla_pruner_ros.sim.tasks import get_task

WORD_COUNTS = (4, 5, 6)
GOAL_IS_TARGET = ('reach-v3',)  # elsewhere the object is what the hand must find
GOAL_IS_SECOND = ('push-v3',)  # the hand must find the object, then the goal
VALIDATION_SHARE = 0.05  # the last seeds of every shard


@dataclass(frozen=True)
class Batch:
    """Tensors of one step: images (B, 3, 224, 224) in [0, 1], text (B, n), state, chunk (B, 8, 4).

    Privileged, for auxiliary losses only: ``places`` (B, 2, 3) are positions (metres) of what
    the hand must find first and second (the same one where there is only one), ``pixels``
    (B, 3, 3) are column, row and depth of these two and of the hand in the (shifted) image.
    """

    images: Tensor
    text: Tensor
    state: Tensor
    chunk: Tensor
    places: Tensor
    pixels: Tensor


class Demonstrations:
    """Shards of several tasks, split into training and validation episodes."""

    def __init__(self, folder: Path, tasks: Sequence[str]):
        self.tasks = tuple(tasks)
        self.images: Dict[str, List[np.ndarray]] = {}
        self.columns: Dict[str, Dict[str, np.ndarray]] = {}
        self.split: Dict[str, Tuple[np.ndarray, np.ndarray]] = {}
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
            column = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
            self.columns[task] = column
            self.split[task] = (np.flatnonzero(~column['held_out']),
                                np.flatnonzero(column['held_out']))

    def frames(self, task: str, held_out: bool = False) -> int:
        """Number of frames of a task."""
        return len(self.split[task][int(held_out)])

    def state_statistics(self) -> Tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (4,) of the state over all tasks."""
        states = np.concatenate([self.columns[task]['state'] for task in self.tasks])
        return states.mean(0), np.maximum(states.std(0), 0.02)

    def batch(self, config: PocketConfig, counts: Mapping[str, int], rng: np.random.Generator,
              held_out: bool = False, shift: int = 0) -> Batch:
        """Draw a batch: ``counts`` frames per task, images shifted by up to ``shift`` pixels."""
        words = int(rng.choice(WORD_COUNTS))
        images, text, state, chunk, places, pixels = [], [], [], [], [], []
        for task, count in counts.items():
            column = self.columns[task]
            wordings = [ids for ids in map(config.tokenize, get_task(task).wordings)
                        if len(ids) == words]
            for index in rng.choice(self.split[task][int(held_out)], count):
                image = self.images[task][column['shard'][index]][column['row'][index]]
                down, right = rng.integers(-shift, shift + 1, 2) if shift else (0, 0)
                images.append(_shifted(image, down, right, shift))
                text.append(wordings[rng.integers(len(wordings))])
                state.append(column['state'][index])
                chunk.append(column['chunk'][index])
                goal, thing = column['goal'][index], column['object'][index]
                first = goal if task in GOAL_IS_TARGET else thing
                places.append(np.stack((first, goal if task in GOAL_IS_SECOND else first)))
                seen = project(np.vstack((places[-1], state[-1][None, :3])), config.image_size)
                pixels.append(seen + np.array([right, down, 0.0]))
        return Batch(
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255.0),
            torch.tensor(text), torch.from_numpy(np.stack(state)),
            torch.from_numpy(np.stack(chunk)), torch.from_numpy(np.stack(places)).float(),
            torch.from_numpy(np.stack(pixels)).float())


def _shifted(image: np.ndarray, down: int, right: int, limit: int) -> np.ndarray:
    if not limit:
        return image
    padded = np.pad(image, ((limit, limit), (limit, limit), (0, 0)), mode='edge')
    top, left = limit - down, limit - right
    return padded[top:top + image.shape[0], left:left + image.shape[1]]
