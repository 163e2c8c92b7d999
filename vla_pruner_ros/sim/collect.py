"""Demonstrations from scripted experts: ``python -m vla_pruner_ros.sim.collect``.

Every episode starts from its own seed; half of them after a few random moves, and most with noise
added to the executed actions while the label stays the expert's clean answer (noise injection as
in DART, Laskey et al. 2017), so that the policy learns to correct itself.  Labels are kept for
every control step, images only for every second or third one: neighbouring frames teach little.

One shard is ``TASK-SEED.npy`` (images, uint8) and ``TASK-SEED.npz`` (everything else).
"""
import argparse
from pathlib import Path
import time
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.sim.experts import expert_control_step, make_expert
from vla_pruner_ros.sim.labels import frame_labels
from vla_pruner_ros.sim.robot import SimulatedRobot
from vla_pruner_ros.sim.robots import make_robot
from vla_pruner_ros.sim.tasks import TASKS

FIRST_EVALUATION_SEED = 900_000  # demonstrations stay below, evaluation starts here
CHUNK = 8  # labels per frame
IMAGE_EVERY = 2  # control steps between stored images
AFTER_SUCCESS = 3  # control steps recorded after success, so that holding is learned too
NOISE_SCALES = (0.0, 0.25, 0.5)  # of the action range; one is drawn per episode
CAREFUL = (0.0, 0.1, 0.2)  # more would knock the object out of the gripper
NOISE_OF_TASK = {'push-v3': CAREFUL, 'pick-colour': CAREFUL, 'place-bowl': CAREFUL}
NOISE_MEMORY = 0.5  # per control step


class Demonstrator:
    """The expert of a robot's task, whichever scene it is.

    Args:
        robot: from ``make_robot``.
    """

    def __init__(self, robot: Any):
        self._robot = robot
        self._expert = make_expert(robot.task.name) if isinstance(robot, SimulatedRobot) else None

    def step(self, noise: np.ndarray) -> np.ndarray:
        """Drive one control step with expert plus noise; return the clean label (4,) float32."""
        if self._expert is not None:
            return expert_control_step(self._robot, self._expert, noise)
        label = np.clip(self._robot.expert_action(), -1.0, 1.0)
        self._robot.apply(label + noise)
        return label.astype(np.float32)


def record_episode(robot: Any, demonstrator: Demonstrator, seed: int,
                   image_every: int = IMAGE_EVERY) -> List[Dict[str, np.ndarray]]:
    """One demonstration.

    Returns:
        A row per stored frame: ``image`` (C, 224, 224, 3), ``state`` (4,), ``chunk`` (8, 4) labels
        from this step on (the last one repeats after the end), and those of ``frame_labels``.
    """
    rng = np.random.default_rng(seed)
    robot.reset(seed)
    if rng.random() < 0.5:
        drift = np.append(rng.uniform(-1, 1, 3), rng.uniform(-1, 1))
        for _ in range(rng.integers(1, 5)):
            if not robot.truncated:
                robot.apply(drift)
    scale = rng.choice(NOISE_OF_TASK.get(robot.task.name, NOISE_SCALES))
    noise = np.zeros(4)
    phase = int(rng.integers(image_every))
    rows: List[Dict[str, np.ndarray]] = []
    labels: List[np.ndarray] = []
    remaining = AFTER_SUCCESS
    limit = robot.task.step_limit  # also counts after success
    while remaining and not robot.truncated and robot.step_count < limit:
        if len(labels) % image_every == phase:
            seen = robot.observe()
            rows.append({'image': np.stack([seen.images[name] for name in robot.cameras]),
                         'state': seen.state, 'step': np.array(len(labels)),
                         **frame_labels(robot)})
        noise = NOISE_MEMORY * noise + 0.8 * scale * np.append(rng.standard_normal(3), 0.0)
        labels.append(demonstrator.step(noise))
        remaining -= int(robot.success)
    for row in rows:
        steps = np.minimum(int(row.pop('step')) + np.arange(CHUNK), len(labels) - 1)
        row['chunk'] = np.stack([labels[i] for i in steps])
    return rows


def collect(task: str, episodes: int, first_seed: int, folder: Path,
            image_every: int = IMAGE_EVERY) -> Dict[str, float]:
    """Write one shard; return its counts and speed.

    Raises:
        ConfigError: the seeds would reach into those kept for evaluation.
    """
    if not 0 <= first_seed <= first_seed + episodes <= FIRST_EVALUATION_SEED:
        raise ConfigError(f'demonstration seeds must stay below {FIRST_EVALUATION_SEED}, got '
                          f'{first_seed}..{first_seed + episodes}')
    folder.mkdir(parents=True, exist_ok=True)
    robot = make_robot(task, first_seed)
    demonstrator = Demonstrator(robot)
    shard = folder / f'{task}-{first_seed}'
    limit = episodes * (robot.task.step_limit // image_every + 1)
    images = np.lib.format.open_memmap(  # sparse: only written pages take space
        f'{shard}.npy', mode='w+', dtype=np.uint8,
        shape=(limit, len(robot.cameras), 224, 224, 3))
    columns: Dict[str, List[np.ndarray]] = {}
    started, solved, frames = time.time(), 0, 0
    for seed in range(first_seed, first_seed + episodes):
        rows = record_episode(robot, demonstrator, seed, image_every)
        solved += bool(robot.success)
        for row in rows if robot.success else ():  # an expert that failed teaches nothing
            images[frames] = row.pop('image')
            row.update(seed=np.array(seed), wordings=np.array('\n'.join(robot.wordings)),
                       cameras=np.array(' '.join(robot.cameras)))
            for key, value in row.items():
                columns.setdefault(key, []).append(value)
            frames += 1
        if (seed - first_seed) % 100 == 99:
            print(f'{task}: {seed - first_seed + 1} episodes, {frames} frames, '
                  f'{time.time() - started:.0f} s', flush=True)
    images.flush()
    np.savez(f'{shard}.npz', **{key: np.stack(rows) for key, rows in columns.items()})
    robot.close()
    return {'episodes': episodes, 'solved': solved, 'frames': frames,
            'seconds': round(time.time() - started, 1)}


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tasks', nargs='+', default=list(TASKS), choices=list(TASKS))
    parser.add_argument('--episodes', nargs='+', type=int, default=[1000],
                        help='per task, in the order of --tasks; the last one repeats')
    parser.add_argument('--seed', type=int, default=0, help='first seed of every task')
    parser.add_argument('--image-every', type=int, default=IMAGE_EVERY,
                        help='control steps between stored images')
    parser.add_argument('--out', type=Path, required=True, help='folder for the shards')
    given = parser.parse_args(arguments)
    for index, task in enumerate(given.tasks):
        episodes = given.episodes[min(index, len(given.episodes) - 1)]
        print(task, collect(task, episodes, given.seed, given.out, given.image_every), flush=True)


if __name__ == '__main__':
    main()
