# SPDX-License-Identifier: Apache-2.0
"""The ordering of methods that the measured tables show, with room for luck."""
import json

import pytest

pytest.importorskip('mujoco')

from vla_pruner_ros.cli.eval import main  # noqa: E402


def test_at_a_sixteenth_of_the_tokens_only_the_method_that_looks_solves_the_task(tmp_path):
    # Of 243 episodes of nine tasks vla_pruner solved 232, random 17, uniform 1
    # (docs/results/eval_tabletop).
    assert main(['--checkpoint', 'tabletop', '--tasks', 'reach-relation', '--episodes', '6',
                 '--pruners', 'vla_pruner,random,uniform', '--budgets', 'all,6.25%', '--jobs', '1',
                 '--set', 'execution_horizon=2', '--no-plots', '--out', str(tmp_path)]) == 0
    report = json.loads((tmp_path / 'report.json').read_text())
    solved = {one['label']: one['successes'] for one in report['variants']}
    assert set(solved) == {'unpruned', 'vla_pruner 12', 'random 12', 'uniform 12'}
    assert min(solved['unpruned'], solved['vla_pruner 12']) >= 4, solved
    assert max(solved['random 12'], solved['uniform 12']) <= 2, solved
