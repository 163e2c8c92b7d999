# SPDX-License-Identifier: Apache-2.0
"""The selection benchmark: complete, machine-readable, refuses nonsense."""
import json

import pytest
import torch

from vla_pruner_ros.cli.bench import main
from vla_pruner_ros.core.errors import ConfigError


def test_last_line_is_one_json_document_with_every_row(capsys):
    threads = torch.get_num_threads()
    assert main(['selection', '--pruners', 'uniform', 'action_only', '--repeats', '1']) == 0
    assert torch.get_num_threads() == threads
    lines = capsys.readouterr().out.strip().splitlines()
    report = json.loads(lines[-1])
    assert report['benchmark'] == 'selection' and report['unit'] == 'ms'
    asked = [(row['pruner'], row['tokens'], row['width'], row['budget']) for row in report['rows']]
    assert asked == [(name, tokens, width, budget)
                     for tokens in (196, 256) for width in (256, 4096)
                     for name in ('uniform', 'action_only') for budget in (128, 64, 32)]
    assert all(row['ms'] > 0 for row in report['rows'])
    assert len(lines) == 1 + 8 + 1  # heading, table, document


def test_zero_repeats_are_refused():
    with pytest.raises(ConfigError, match='--repeats is 0'):
        main(['selection', '--repeats', '0'])
