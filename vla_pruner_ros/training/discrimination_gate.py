# SPDX-License-Identifier: Apache-2.0
"""Discrimination gate: ``python -m vla_pruner_ros.training.discrimination_gate``.

A policy may be used to compare pruners only if it cares WHICH visual tokens it gets.  Tokens are
cut before layer 0, chosen from a full pass over the same frame.  The gate is passed when, on at
least one task, tokens chosen by action attention keep at least twice the success of random ones,
and the worst-chosen ones fail (at most a quarter of the unpruned success).
"""
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from vla_pruner_ros.training.success_rate import (
    common_parser,
    evaluate,
    tasks_of,
    versions,
    write_result,
)

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
    parser = common_parser(__doc__.splitlines()[0], episodes=50)
    parser.add_argument('--horizon', type=int, default=4)
    given = parser.parse_args(arguments)
    result = run_gate(given.weights, tasks_of(given), given.episodes, given.kept, given.horizon,
                      given.first_seed, given.jobs)
    write_result(result, given.out)
    raise SystemExit(0 if result['passed'] else 1)


if __name__ == '__main__':
    main()
