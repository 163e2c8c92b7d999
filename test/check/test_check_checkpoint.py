# SPDX-License-Identifier: Apache-2.0
"""`vla-pruner check`: a small random checkpoint in the real layout, tried on a written bag."""
import json

from bags import Scene
import numpy as np
from openvla_checkpoint import Oft, Sizes, statistics, write_checkpoint
import pytest

from vla_pruner_ros.backends.openvla.openvla_backend import OpenVlaBackend
from vla_pruner_ros.cli.main import main

pytest.importorskip('rosbags', reason='bags need the package rosbags')
STATE = [f'{name}=const.0' for name in ('x', 'y', 'z', 'rx', 'ry', 'rz', 'finger_left',
                                        'finger_right')]
FAST = ('--set', 'execution_horizon=1')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    # Frames 50 ms apart, so a policy of 5 Hz answers every fourth.
    return Scene(frames=32).write(tmp_path_factory.mktemp('bags') / 'bag')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp('openvla'))


def report(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize('out', ['/dev/null/check.json', '/proc'])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_loaded(bag, out, capsys):
    assert main(['check', '/no/such/checkpoint', '--bag', str(bag), '--out', out]) == 2
    error = capsys.readouterr().err
    assert '--out /' in error and 'checkpoint' not in error


def test_a_disk_that_becomes_full_costs_the_file_but_not_the_report(
        checkpoint, bag, tmp_path, full_disk, capsys):
    assert main(['check', str(checkpoint), '--bag', str(bag), '--steps', '2', '--budgets', '64',
                 '--out', str(tmp_path / 'check.json'), *FAST]) == 2
    shown = capsys.readouterr()
    assert 'vla_pruner 64' in shown.out and 'No space left on device' in shown.err
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_tried_unpruned_and_pruned(checkpoint, bag, tmp_path, capsys):
    out = tmp_path / 'deep' / 'check.json'
    assert main(['check', str(checkpoint), '--bag', str(bag), '--steps', '6', '--budgets', '64,32',
                 '--out', str(out), *FAST]) == 0
    found = report(out)
    assert [(run['label'], run['steps']) for run in found['runs']] == [
        ('unpruned', 6), ('vla_pruner 64', 6), ('vla_pruner 32', 6)]
    assert found['runs'][1]['against_unpruned']['steps_compared'] == 3  # three fill the window
    assert found['runs'][1]['against_unpruned']['speedup'].keys() == {'decoder', 'total'}
    assert all(found['checks'].values()) and len(found['checks']) == 3
    known = found['facts']
    assert known['prompt_tokens'][0] == 1 and known['prompt_tokens'][-1] == 29871
    assert known['pixels']['shape'] == [1, 6, 224, 224]
    assert known['visual_tokens']['shape'] == [1, 256, 64]
    assert len(known['first_action']) == 7 and found['peak_bytes'] > 2 ** 20
    for run, chance in zip(found['runs'][1:], (64 / 256, 32 / 256)):
        against = run['against_unpruned']
        assert against['chance_overlap'] == chance < against['kept_overlap_full_attention'] <= 1
    assert found['precision'] == {'dtype': 'float32', 'quantization': 'none'}
    assert found['data_set'] == 'bridge_orig'
    said = capsys.readouterr().out
    for words in ('openvla loaded in', 'weights loaded:', 'budget of all equals unpruned',
                  'decoder x', 'policy   openvla in float32 on cpu, data set bridge_orig, 5 Hz',
                  'cameras  primary = ', 'by chance 25 %, 12 %', 'first_action   dx ',
                  'mean deviation over 3 steps (mean size unpruned): dx '):
        assert words in said


def test_without_the_robots_state_it_says_what_may_stand_in_for_it(bag, tmp_path, capsys):
    folder = write_checkpoint(tmp_path / 'c', Sizes(vocab=30080), oft=Oft(),
                              norm_stats={'libero_goal': statistics()})
    asked = ['check', str(folder), '--bag', str(bag), '--steps', '2', '--budgets', '64', *FAST,
             '--set', 'pose_topic=/elsewhere']
    assert main(asked) == 2
    said = capsys.readouterr().err
    assert 'pose_topic: none (/elsewhere is not in the bag)' in said
    line = said[said.index('state_sources=['):said.rindex("'")]
    assert main([*asked, '--set', line]) == 0
    said = capsys.readouterr().out
    assert 'state    x=const.0, y=const.0' in said
    assert 'no step was pruned' in said and 'raise --steps' in said  # two do not fill the window


def test_oft_is_recognised_and_given_its_state(bag, tmp_path):
    folder = write_checkpoint(tmp_path / 'c', Sizes(vocab=30080), oft=Oft(),
                              norm_stats={'libero_goal': statistics()})
    assert main(['check', str(folder), '--bag', str(bag), '--steps', '4', '--budgets', '64',
                 '--pruners', 'fastv', '--out', str(tmp_path / 'o.json'),
                 '--set', f'state_sources={json.dumps(STATE)}', *FAST]) == 0
    found = report(tmp_path / 'o.json')
    assert found['policy']['name'] == 'openvla_oft'
    assert found['runs'][1]['kept_share'] == pytest.approx(64 / 256)


def test_a_model_whose_answers_wander_fails_the_check(checkpoint, bag, monkeypatch, capsys):
    inner, calls = OpenVlaBackend.predict_action_chunk, []

    def wandering(self, observation, selector):
        calls.append(0)
        answer = inner(self, observation, selector)
        return type(answer)(np.clip(answer.actions + 1e-9 * len(calls), -1, 1), answer.kept,
                            answer.stages_ms, answer.flops)

    monkeypatch.setattr(OpenVlaBackend, 'predict_action_chunk', wandering)
    assert main(['check', str(checkpoint), '--bag', str(bag), '--steps', '4', '--budgets', '64',
                 *FAST]) == 1
    said = capsys.readouterr().out
    assert 'FAIL the same frames give the same answers' in said
    assert 'FAIL a budget of all equals unpruned' in said and 'ok   every answer' in said


@pytest.mark.parametrize('changes, said', [
    (['--steps', '0'], '--steps is 0'), (['--budgets', 'few'], "--budgets has 'few'"),
    (['--bag', '/no/such/bag'], 'no bag at /no/such/bag'),
    (['--instruction', ''], 'no step was possible')])
def test_what_cannot_be_checked_is_an_error(checkpoint, bag, tmp_path, changes, said, capsys):
    if said.startswith('no step'):
        bag = Scene(frames=4, instruction='').write(tmp_path / 'bag')
    assert main(['check', str(checkpoint), '--bag', str(bag), *changes]) == 2
    assert said in capsys.readouterr().err
