# SPDX-License-Identifier: Apache-2.0
"""Demonstrations from scripted experts.

``python -m vla_pruner_ros.training.collect_demonstrations``

Every episode starts from its own seed; half of them after a few random moves, and most with noise
added to the executed actions while the label stays the expert's clean answer (noise injection as
in DART, Laskey et al. 2017), so that the policy learns to correct itself.  Labels are kept for
every control step, images only for every second or third one: neighbouring frames teach little.
The exception is the moment of closing or opening the gripper, one frame of an episode, around
which ``--around-grasp`` stores every frame.

One shard is ``TASK-SEED.npy`` (images, uint8) and ``TASK-SEED.npz`` (everything else).
"""
import argparse
from collections.abc import Sequence
from pathlib import Path
import time

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.robot_for_task import make_robot
from vla_pruner_ros.robots.robot_interface import Robot
from vla_pruner_ros.robots.tasks import TASKS
from vla_pruner_ros.training.frame_labels import frame_labels

FIRST_EVALUATION_SEED = 900_000  # demonstrations stay below, evaluation starts here
CHUNK = 8  # labels per frame
IMAGE_EVERY = 2  # control steps between stored images
AFTER_SUCCESS = 3  # control steps recorded after success, so that holding is learned too
NOISE_SCALES = (0.0, 0.25, 0.5)  # of the action range; one is drawn per episode
CAREFUL = (0.0, 0.1, 0.2)  # more would knock the object out of the gripper
NOISE_OF_TASK = {'push-v3': CAREFUL, 'pick-colour': CAREFUL, 'place-bowl': CAREFUL}
NOISE_MEMORY = 0.5  # per control step


def record_episode(robot: Robot, seed: int, image_every: int = IMAGE_EVERY,
                   around_grasp: int = 0) -> list[dict[str, np.ndarray]]:
    """One demonstration.

    Args:
        robot: from ``make_robot``.
        seed: of the episode.
        image_every: control steps between stored frames.
        around_grasp: control steps before and after a change of the gripper's label of which every
            frame is stored as well; 0 = none.

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
    rows: list[dict[str, np.ndarray]] = []
    labels: list[np.ndarray] = []
    remaining = AFTER_SUCCESS
    limit = robot.task.step_limit  # also counts after success
    while remaining and not robot.truncated and robot.step_count < limit:
        if around_grasp or len(labels) % image_every == phase:
            seen = robot.observe()
            rows.append({'image': np.stack([seen.images[name] for name in robot.cameras]),
                         'state': seen.state, 'step': np.array(len(labels)),
                         **frame_labels(robot)})
        noise = NOISE_MEMORY * noise + 0.8 * scale * np.append(rng.standard_normal(3), 0.0)
        labels.append(robot.demonstrate(noise))
        remaining -= int(robot.success)
    changes = np.flatnonzero(np.diff([label[3] for label in labels])) + 1
    stored = []
    for row in rows:
        step = int(row.pop('step'))
        near = bool((np.abs(changes - step) <= around_grasp).any())
        if near or step % image_every == phase:
            steps = np.minimum(step + np.arange(CHUNK), len(labels) - 1)
            stored.append({**row, 'chunk': np.stack([labels[i] for i in steps])})
    return stored


def collect(task: str, episodes: int, first_seed: int, folder: Path,
            image_every: int = IMAGE_EVERY, around_grasp: int = 0) -> dict[str, float]:
    """Write one shard; return its counts and speed.  Arguments as for ``record_episode``.

    Raises:
        ConfigError: the seeds would reach into those kept for evaluation.
    """
    if not 0 <= first_seed <= first_seed + episodes <= FIRST_EVALUATION_SEED:
        raise ConfigError(f'demonstration seeds must stay below {FIRST_EVALUATION_SEED}, got '
                          f'{first_seed}..{first_seed + episodes}')
    folder.mkdir(parents=True, exist_ok=True)
    robot = make_robot(task, first_seed)
    shard = folder / f'{task}-{first_seed}'
    limit = episodes * (robot.task.step_limit // (1 if around_grasp else image_every) + 1)
    images = np.lib.format.open_memmap(  # sparse: only written pages take space
        f'{shard}.npy', mode='w+', dtype=np.uint8,
        shape=(limit, len(robot.cameras), 224, 224, 3))
    columns: dict[str, list[np.ndarray]] = {}
    started, solved, frames = time.time(), 0, 0
    for seed in range(first_seed, first_seed + episodes):
        rows = record_episode(robot, seed, image_every, around_grasp)
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tasks', nargs='+', default=list(TASKS), choices=list(TASKS))
    parser.add_argument('--episodes', nargs='+', type=int, default=[1000],
                        help='per task, in the order of --tasks; the last one repeats')
    parser.add_argument('--seed', type=int, default=0, help='first seed of every task')
    parser.add_argument('--image-every', type=int, default=IMAGE_EVERY,
                        help='control steps between stored images')
    parser.add_argument('--around-grasp', type=int, default=0,
                        help='control steps before and after a change of the gripper of which '
                             'every image is stored')
    parser.add_argument('--out', type=Path, required=True, help='folder for the shards')
    given = parser.parse_args(arguments)
    for index, task in enumerate(given.tasks):
        episodes = given.episodes[min(index, len(given.episodes) - 1)]
        print(task, collect(task, episodes, given.seed, given.out, given.image_every,
                            given.around_grasp), flush=True)


if __name__ == '__main__':
    main()
