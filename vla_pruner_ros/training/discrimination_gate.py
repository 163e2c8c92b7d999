# SPDX-License-Identifier: Apache-2.0
"""Discrimination gate: ``python -m vla_pruner_ros.training.discrimination_gate``.

A policy may be used to compare pruners only if it cares WHICH visual tokens it gets.  Tokens are
cut before layer 0, chosen from a full pass over the same frame.  The gate is passed when, on at
least one task, tokens chosen by action attention keep at least twice the success of random ones,
and the worst-chosen ones fail (at most a quarter of the unpruned success).
"""
import argparse
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from vla_pruner_ros.backends.pocket.pocket_files import load_pocket
from vla_pruner_ros.backends.shipped_policies import checkpoint_folder
from vla_pruner_ros.training.collect_demonstrations import FIRST_EVALUATION_SEED
from vla_pruner_ros.training.success_rate import evaluate, versions

GATE_MODES = ('full', 'action', 'random', 'worst')
ADVANTAGE = 2.0  # action attention over random
FAILURE = 0.25  # of the unpruned success


def verdict(successes: dict[str, int]) -> bool:
    """True when one task's successes per mode (same episodes) pass the gate."""
    return (successes['action'] > 0
            and successes['action'] >= ADVANTAGE * successes['random']
            and successes['worst'] <= FAILURE * successes['full'])


def run_gate(weights: Path, tasks: Sequence[str], episodes: int, kept: Sequence[float],
             horizon: int, first_seed: int, jobs: int) -> dict[str, Any]:
    """All rows and, per task and kept share, the verdict."""
    rows: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    for task in tasks:
        full = evaluate(weights, task, episodes, horizon, 'full', 1.0, first_seed, jobs)
        rows.append(full)
        print(json.dumps(full), flush=True)
        for share in kept:
            successes = {'full': full['successes']}
            for mode in GATE_MODES[1:]:
                row = evaluate(weights, task, episodes, horizon, mode, share, first_seed, jobs)
                rows.append(row)
                successes[mode] = row['successes']
                print(json.dumps(row), flush=True)
            verdicts.append({'task': task, 'kept': share, 'episodes': episodes,
                             'successes': successes, 'passed': verdict(successes)})
            print(json.dumps(verdicts[-1]), flush=True)
    return {'versions': versions(), 'passed': any(row['passed'] for row in verdicts),
            'verdicts': verdicts, 'rows': rows}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exits with 1 when the gate is not passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', type=checkpoint_folder, default=checkpoint_folder(''),
                        help='name of a shipped policy, or a folder')
    parser.add_argument('--tasks', nargs='+', help='default: all tasks of the weights')
    parser.add_argument('--episodes', type=int, default=50)
    parser.add_argument('--kept', nargs='+', type=float, default=[0.25])
    parser.add_argument('--horizon', type=int, default=4)
    parser.add_argument('--first-seed', type=int, default=FIRST_EVALUATION_SEED)
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--out', type=Path)
    given = parser.parse_args(arguments)
    tasks = given.tasks or list(load_pocket(given.weights).config.instructions)
    result = run_gate(given.weights, tasks, given.episodes, given.kept, given.horizon,
                      given.first_seed, given.jobs)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + '\n')
    raise SystemExit(0 if result['passed'] else 1)


if __name__ == '__main__':
    main()
