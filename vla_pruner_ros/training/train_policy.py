# SPDX-License-Identifier: Apache-2.0
"""Behaviour cloning of the shipped policy: ``python -m vla_pruner_ros.training.train_policy``.

Three phases share one clock: the patch encoder alone (auxiliary losses, cheap), the whole policy
on shortened sequences (see ``losses.choose_tokens``), the whole policy on full sequences.  The
weights that are kept are an exponential moving average.  A checkpoint is written every two
minutes and a killed run continues from it with the same command.
"""
import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
import json
import math
from pathlib import Path
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla_pruner_ros.backends.pocket.pocket_files import load_pocket, save_pocket
from vla_pruner_ros.backends.pocket.pocket_model import PocketConfig, PocketVLA, UNKNOWN
from vla_pruner_ros.training.demonstration_dataset import Batch, Demonstrations
from vla_pruner_ros.training.training_losses import (
    AuxiliaryHeads,
    encode,
    policy_losses,
    visual_losses,
    WEIGHTS,
)

SHORT_TOKENS = 48
WARM_UP, FLOOR = 100, 0.03
AVERAGE = 0.998
JITTER = 0.1  # of the colour range
SAVE_EVERY = 120.0  # seconds


def make_config(data: Demonstrations, hidden: int, layers: int,
                vision_layers: int = 0, word_positions: bool = False) -> PocketConfig:
    """Vocabulary and normalisation from the data."""
    words = sorted({word for text in data.wordings() for word in text.split()})
    mean, std = data.state_statistics()
    return PocketConfig(
        words=(UNKNOWN, *words), hidden=hidden, layers=layers, heads=hidden // 32,
        inner=hidden * 8 // 3 // 16 * 16, vision_layers=vision_layers,
        word_positions=word_positions, cameras=data.cameras,
        instructions={task: data.instruction(task) for task in data.tasks},
        state_mean=tuple(round(float(value), 4) for value in mean),
        state_std=tuple(round(float(value), 4) for value in std))


@dataclass(frozen=True)
class Schedule:
    """Time and learning rate of a run; ``encoder`` and ``short`` end at these shares of it."""

    minutes: float
    peak: float = 1e-3
    encoder: float = 0.04
    short: float = 0.75

    def phase(self, progress: float) -> str:
        """Name of the phase at ``progress`` (0..1) of the time."""
        if progress < self.encoder:
            return 'encoder'
        return 'short' if progress < self.short else 'full'

    def learning_rate(self, progress: float, step: int) -> float:
        """Warm-up, then a cosine down to ``FLOOR`` of the peak."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return self.peak * min(1.0, (step + 1) / WARM_UP) * (cosine * (1 - FLOOR) + FLOOR)


class Trainer:
    """Model, optimiser, average and clock of one run."""

    def __init__(self, data: Demonstrations, config: PocketConfig, counts: Mapping[str, int],
                 schedule: Schedule, folder: Path, seed: int):
        torch.manual_seed(seed)
        self.data, self.config, self.counts = data, config, dict(counts)
        self.schedule, self.folder, self.seed = schedule, folder, seed
        self.model = PocketVLA(config)
        self.heads = AuxiliaryHeads(config.hidden)
        self.average = {name: value.detach().clone()
                        for name, value in self.model.named_parameters()}
        decay = [p for p in self._parameters() if p.dim() >= 2]
        rest = [p for p in self._parameters() if p.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [{'params': decay, 'weight_decay': 0.01}, {'params': rest, 'weight_decay': 0.0}],
            lr=schedule.peak, betas=(0.9, 0.95), fused=True)
        self.step, self.elapsed = 0, 0.0
        self.log: list = []
        self.rng = np.random.default_rng(seed)

    def _parameters(self) -> list:
        return [*self.model.parameters(), *self.heads.parameters()]

    @property
    def progress(self) -> float:
        """Share of the time used."""
        return self.elapsed / (60 * self.schedule.minutes)

    def losses(self, batch: Batch, phase: str, training: bool) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch in a phase."""
        if phase == 'encoder':
            parts = visual_losses(self.model, self.heads,
                                  encode(self.model, batch, SHORT_TOKENS), batch)
            total = sum((WEIGHTS[name] * value for name, value in parts.items()), torch.zeros(()))
            return total, {name: float(value.detach()) for name, value in parts.items()}
        return policy_losses(self.model, self.heads, batch,
                             tokens=SHORT_TOKENS if phase == 'short' else None,
                             state_noise=0.03 if training else 0.0)

    def train_step(self) -> dict[str, float]:
        """One optimiser step."""
        batch = self.data.batch(self.config, self.counts, self.rng, shift=1, jitter=JITTER)
        for group in self.optimizer.param_groups:
            group['lr'] = self.schedule.learning_rate(self.progress, self.step)
        total, parts = self.losses(batch, self.schedule.phase(self.progress), True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        decay = min(AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                self.average[name].lerp_(value, 1 - decay)
        return parts

    @torch.no_grad()
    def validate(self, batches: int = 6) -> dict[str, float]:
        """Mean losses of the averaged weights on held-out episodes, full sequences."""
        current = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.model.load_state_dict(self.average)
        rng, sums = np.random.default_rng(1), []
        for _ in range(batches):
            batch = self.data.batch(self.config, self.counts, rng, held_out=True)
            sums.append(self.losses(batch, 'full', False)[1])
        self.model.load_state_dict(current)
        return {name: round(float(np.mean([row[name] for row in sums])), 4) for name in sums[0]}

    def run(self) -> None:
        """Train until the time is used up; print and log validation losses."""
        recent: dict[str, float] = {}
        last = time.time()
        next_save = self.elapsed + SAVE_EVERY
        while self.progress < 1.0:
            for name, value in self.train_step().items():
                recent[name] = 0.98 * recent.get(name, value) + 0.02 * value
            now = time.time()
            self.elapsed, last = self.elapsed + now - last, now
            if self.elapsed >= next_save:
                self.report(recent)
                self.save()
                next_save, last = self.elapsed + SAVE_EVERY, time.time()
        self.report(recent)
        self.save()

    def report(self, recent: Mapping[str, float]) -> None:
        """Print one line and keep it in the log."""
        row = {'minute': round(self.elapsed / 60, 1), 'step': self.step,
               'samples': self.step * sum(self.counts.values()),
               'phase': self.schedule.phase(self.progress),
               'train': {name: round(value, 4) for name, value in recent.items()},
               'held_out': self.validate()}
        self.log.append(row)
        print(json.dumps(row), flush=True)

    def save(self) -> None:
        """Write checkpoint (to resume from), averaged weights, configuration and log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            'model': self.model.state_dict(), 'heads': self.heads.state_dict(),
            'average': self.average, 'optimizer': self.optimizer.state_dict(),
            'step': self.step, 'elapsed': self.elapsed, 'log': self.log}
        partial = self.folder / 'checkpoint.part'
        torch.save(state, partial)
        partial.replace(self.folder / 'checkpoint.pt')
        save_pocket(self.folder, self.config,
                    {name: value.half() for name, value in self.average.items()})
        (self.folder / 'log.json').write_text(json.dumps(self.log, indent=1) + '\n')

    def start_from(self, folder: Path) -> None:
        """Take the averaged weights of another run; rows of known words are carried over.

        Parts that the other run did not have (``word_positions``) keep their fresh values.
        The state keeps that run's normalisation, so that the weights still fit.
        """
        earlier = load_pocket(folder)
        self.config = replace(self.config, state_mean=earlier.config.state_mean,
                              state_std=earlier.config.state_std)
        self.model.state_mean.copy_(earlier.state_mean)
        self.model.state_std.copy_(earlier.state_std)
        values = {**self.model.state_dict(), **earlier.state_dict()}
        words = self.model.words.weight.detach().clone()
        for index, word in enumerate(earlier.config.words):
            if word in self.config.words:
                words[self.config.words.index(word)] = earlier.words.weight.detach()[index]
        self.model.load_state_dict({**values, 'words.weight': words})
        heads = torch.load(folder / 'checkpoint.pt', weights_only=True)['heads']
        self.heads.load_state_dict(heads)
        self.average = {name: value.detach().clone()
                        for name, value in self.model.named_parameters()}

    def resume(self) -> bool:
        """Continue from the folder's checkpoint if there is one."""
        path = self.folder / 'checkpoint.pt'
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state['model'])
        self.heads.load_state_dict(state['heads'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.average = state['average']
        self.step, self.elapsed, self.log = state['step'], state['elapsed'], state['log']
        self.rng = np.random.default_rng((self.seed, self.step))
        return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--demos', type=Path, required=True, help='folder of collected shards')
    parser.add_argument('--out', type=Path, required=True, help='folder of weights, checkpoint')
    parser.add_argument('--tasks', nargs='+', required=True)
    parser.add_argument('--per-step', nargs='+', type=int, required=True,
                        help='frames of each task in a batch, in the order of --tasks')
    parser.add_argument('--minutes', type=float, default=60.0)
    parser.add_argument('--peak', type=float, default=1e-3, help='highest learning rate')
    parser.add_argument('--encoder-until', type=float, default=0.04, help='share of the time')
    parser.add_argument('--short-until', type=float, default=0.75, help='share of the time')
    parser.add_argument('--image-free', action='store_true',
                        help='black images: the floor that a policy without eyes reaches; '
                             'use with --encoder-until 0 --short-until 0')
    parser.add_argument('--start-from', type=Path, help='folder of an earlier run')
    parser.add_argument('--hidden', type=int, default=192)
    parser.add_argument('--layers', type=int, default=4)
    parser.add_argument('--vision-layers', type=int, default=0,
                        help='global mixing in the encoder, for comparison; 0 = local')
    parser.add_argument('--word-positions', action='store_true',
                        help='words also carry their place in the instruction')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seed', type=int, default=0)
    given = parser.parse_args(arguments)
    if len(given.per_step) != len(given.tasks):
        parser.error('--per-step needs one number per task')
    torch.set_num_threads(given.threads)
    data = Demonstrations(given.demos, given.tasks)
    schedule = Schedule(given.minutes, given.peak, given.encoder_until, given.short_until)
    config = replace(make_config(data, given.hidden, given.layers, given.vision_layers,
                                 given.word_positions),
                     image_free=given.image_free)
    trainer = Trainer(data, config,
                      dict(zip(given.tasks, given.per_step)), schedule, given.out, given.seed)
    if given.start_from is not None:
        trainer.start_from(given.start_from)
    print(json.dumps({'frames': {task: data.frames(task) for task in data.tasks},
                      'parameters': sum(p.numel() for p in trainer.model.parameters()),
                      'resumed': trainer.resume()}), flush=True)
    trainer.run()


if __name__ == '__main__':
    main()
