# SPDX-License-Identifier: Apache-2.0
"""The decoder benchmark: its arithmetic, and that it runs and ends with one JSON document."""
import json

import pytest

from vla_pruner_ros.bench.decoder_benchmark import token_bound
from vla_pruner_ros.cli.bench import main
from vla_pruner_ros.core.errors import ConfigError


def test_token_bound_by_hand():
    # 12 layers, cut at 3, 285 tokens of which 93 remain: (3 + 9 * 93 / 285) / 12
    assert token_bound(12, 3, 285, 93) == pytest.approx(0.494737, abs=1e-6)
    assert token_bound(4, 0, 200, 50) == 0.25
    assert token_bound(4, 4, 200, 50) == 1.0


def test_the_last_line_is_one_json_document_with_every_run(capsys):
    assert main(['decoder', '--models', 'h64x3', '--repeats', '1', '--pruner', 'fastv',
                 '--prune-layer', '2']) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = {row['run']: row for row in report['rows']}
    assert {'all', 'all, last layer trimmed', '50%', '25%', '12.5%'} <= set(rows)
    assert rows['25%']['kept'] == 64 and rows['25%']['prune_layer'] == 2
    # 285 tokens = 1 + 256 + 20 + 8; 93 remain
    assert rows['25%']['token_bound'] == pytest.approx((2 + 93 / 285) / 3, abs=1e-4)
    assert rows['all']['share_of_unpruned'] == rows['all']['token_bound'] == 1.0
    assert all(row['ms'] > 0 for row in report['rows'])


def test_the_shipped_policy_is_measured_as_a_step_and_as_a_decoder(capsys):
    assert main(['decoder', '--models', 'pocket', '--repeats', '1', '--pruner', 'vla_pruner']) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row['what'] for row in report['rows']} == {'step', 'decoder'}
    assert [row['kept'] for row in report['rows'] if row['what'] == 'step'] == [196, 98, 49, 24]


@pytest.mark.parametrize('words, message', [
    (['--models', 'gpt5'], "model is 'gpt5'"), (['--models', 'h100x2'], 'multiple of 64'),
    (['--repeats', '0'], '--repeats is 0'), (['--device', 'cuda:77'], 'cuda:77')])
def test_arguments_that_cannot_be_are_named(words, message):
    with pytest.raises(ConfigError, match=message):
        main(['decoder', *words])
