# SPDX-License-Identifier: Apache-2.0
"""Closed-loop success rates without ROS: ``python -m vla_pruner_ros.training.success_rate``.

The physics waits for the policy (lock step), so a result depends only on weights, seeds and
library versions.  Evaluation seeds start where demonstration seeds end.
"""
import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
import json
import multiprocessing
from pathlib import Path
import platform
import time
from typing import Any

import numpy as np
import torch

from vla_pruner_ros.backends.pocket.pocket_files import load_pocket, read_config
from vla_pruner_ros.backends.pocket.pocket_model import PocketVLA
from vla_pruner_ros.backends.shipped_policies import checkpoint_folder
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.robot_for_task import make_robot
from vla_pruner_ros.robots.robot_interface import Robot
from vla_pruner_ros.statistics.intervals import wilson
from vla_pruner_ros.training.collect_demonstrations import FIRST_EVALUATION_SEED
from vla_pruner_ros.training.gate_selection import choose, MODES

Z95 = 1.96  # rounded, as in the recorded tables of the model cards

@torch.no_grad()
def predict(model: PocketVLA, robot: Robot, text_ids: torch.Tensor, mode: str,
            kept: float, rng: np.random.Generator) -> np.ndarray:
    """One action chunk (8, 4), clipped to [-1, 1], for what the robot sees now."""
    seen = robot.observe()
    images = torch.from_numpy(np.stack([seen.images[name] for name in model.config.cameras]))
    pixels = images.permute(0, 3, 1, 2)[None].float() / 255.0
    visual = model.encode_image(torch.zeros_like(pixels) if model.config.image_free else pixels)
    state = torch.from_numpy(seen.state)[None]
    embeds, _, words, actions = model.assemble(visual, text_ids, state)
    keep = choose(model, embeds, words, actions, mode, kept, rng)
    return model.head(model.decode(embeds, keep))[0].clamp(-1.0, 1.0).numpy()


def solves_episode(model: PocketVLA, robot: Robot, seed: int, horizon: int,
                   mode: str = 'full', kept: float = 1.0) -> bool:
    """Drive one episode; True when the task was solved within its step limit.

    Args:
        model: the policy.
        robot: the robot; it is reset first.
        seed: placement of the objects, and of the random selection.
        horizon: actions executed of each chunk.
        mode: token selection, see ``gate_selection.choose``.
        kept: share of the visual tokens that stays.
    """
    rng = np.random.default_rng(seed)
    robot.reset(seed)
    text_ids = torch.tensor([model.config.tokenize(robot.instruction)])
    while not (robot.success or robot.truncated):
        for action in predict(model, robot, text_ids, mode, kept, rng)[:horizon]:
            result = robot.apply(action)
            if result.success or result.truncated:
                break
    return robot.success


def run_part(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Episodes of one worker process; ``job``: the arguments of ``evaluate`` and ``seeds``."""
    torch.set_num_threads(1)
    model = load_pocket(job['weights'])
    robot = make_robot(job['task'], job['seeds'][0], model.config.image_size)
    rows = []
    for seed in job['seeds']:
        solved = solves_episode(model, robot, seed, job['horizon'], job['mode'], job['kept'])
        rows.append({'seed': seed, 'solved': bool(solved), 'steps': robot.step_count})
    robot.close()
    return rows


def evaluate(weights: Path, task: str, episodes: int, horizon: int = 4, mode: str = 'full',
             kept: float = 1.0, first_seed: int = FIRST_EVALUATION_SEED,
             jobs: int = 2) -> dict[str, Any]:
    """Success rate of one task and setting.

    Raises:
        ConfigError: no episode, or a horizon outside the chunk.
    """
    if episodes < 1:
        raise ConfigError(f'episodes must be at least 1, got {episodes}')
    if not 1 <= horizon <= 8:
        raise ConfigError(f'horizon must be 1..8, got {horizon}')
    started = time.time()
    seeds = list(range(first_seed, first_seed + episodes))
    common = {'weights': weights, 'task': task, 'horizon': horizon, 'mode': mode, 'kept': kept}
    parts = [dict(common, seeds=seeds[i::jobs]) for i in range(jobs) if seeds[i::jobs]]
    if len(parts) == 1:
        results = [run_part(parts[0])]
    else:  # spawn: an OpenGL context does not survive a fork
        context = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(len(parts), mp_context=context) as pool:
            results = list(pool.map(run_part, parts))
    rows = sorted((row for part in results for row in part), key=lambda row: row['seed'])
    solved = [row for row in rows if row['solved']]
    interval = [round(end, 4) for end in wilson(len(solved), episodes, Z95)]
    return {'task': task, 'mode': mode, 'kept': kept, 'horizon': horizon,
            'first_seed': first_seed, 'episodes': episodes, 'successes': len(solved),
            'rate': round(len(solved) / episodes, 4), 'interval': interval,
            'median_steps': float(np.median([row['steps'] for row in solved])) if solved else None,
            'failed_seeds': [row['seed'] for row in rows if not row['solved']],
            'seconds': round(time.time() - started, 1)}


def versions() -> dict[str, str]:
    """Library versions that a success rate depends on."""
    from importlib.metadata import version
    return {'python': platform.python_version(),
            **{name: version(name) for name in ('torch', 'mujoco', 'metaworld', 'numpy')}}


def common_parser(description: str, episodes: int) -> argparse.ArgumentParser:
    """Arguments of everything that runs episodes of given weights."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--weights', type=checkpoint_folder, default=checkpoint_folder(''),
                        help='name of a shipped policy, or a folder')
    parser.add_argument('--tasks', nargs='+', help='default: all tasks of the weights')
    parser.add_argument('--episodes', type=int, default=episodes)
    parser.add_argument('--kept', nargs='+', type=float, default=[0.25])
    parser.add_argument('--first-seed', type=int, default=FIRST_EVALUATION_SEED)
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--out', type=Path, help='JSON file for the result')
    return parser


def tasks_of(given: argparse.Namespace) -> list[str]:
    """The tasks that the command line names, or all of the weights."""
    return given.tasks or list(read_config(given.weights).instructions)


def write_result(result: dict[str, Any], path: Path | None) -> None:
    """Write JSON where a path was given."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + '\n')


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = common_parser(__doc__.splitlines()[0], episodes=100)
    parser.add_argument('--horizons', nargs='+', type=int, default=[4])
    parser.add_argument('--modes', nargs='+', default=['full'], choices=MODES)
    given = parser.parse_args(arguments)
    rows = []
    for task in tasks_of(given):
        for horizon in given.horizons:
            for mode in given.modes:
                for kept in given.kept if mode != 'full' else [1.0]:
                    rows.append(evaluate(given.weights, task, given.episodes, horizon, mode, kept,
                                         given.first_seed, given.jobs))
                    print(json.dumps(rows[-1]), flush=True)
    write_result({'versions': versions(), 'rows': rows}, given.out)


if __name__ == '__main__':
    main()
