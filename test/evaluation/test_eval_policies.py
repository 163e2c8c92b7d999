# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner eval`` with several checkpoints: one journal each, one pooled report."""
import json
from pathlib import Path

import eval_fakes
from fakes import FakeBackend
import pytest

from vla_pruner_ros.cli.main import main
from vla_pruner_ros.evaluation.plan.requested_work import short_names
from vla_pruner_ros.evaluation.running.episode_journal import NAME

NAMES = ('run/s1', 'run/s2', 'run/s3')
WORDS = ['--env', 'eval_fakes:Line', '--tasks', 'a,b', '--jobs', '1', '--pruners',
         'random,action_only', '--budgets', 'all,50%', '--episodes', '3']


@pytest.fixture
def policies(tmp_path, monkeypatch):
    """Three checkpoints; the backend of the last one does not move."""
    folders = [tmp_path / name for name in NAMES]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / 'weights').write_text(str(number))
    made = {}

    def load(parameters):
        backend = made.setdefault(parameters.checkpoint, FakeBackend())
        backend.value = 0.0 if parameters.checkpoint.endswith('s3') else None
        return backend

    eval_fakes.use_backend(monkeypatch, load)
    return [str(one) for one in folders]


def evaluate(out, policies, *words):
    return main(['eval', *WORDS, '--no-plots', '--out', str(out), *words,
                 *(word for one in policies for word in ('--checkpoint', one))])


def report(out):
    return json.loads((out / 'report.json').read_text())


def variant(out, label):
    [one] = [one for one in report(out)['variants'] if one['label'] == label]
    return one


def test_every_policy_has_its_journal_and_the_report_pools_them(policies, tmp_path, capsys):
    out = tmp_path / 'out'
    assert evaluate(out, policies) == 0
    assert 'eval: 54 episodes' in capsys.readouterr().err
    assert len(list(out.glob(f'policy-*/{NAME}'))) == 3 and not (out / NAME).exists()
    whole = variant(out, 'unpruned')
    # Two policies reach two of three targets, one none; each on two tasks.
    assert (whole['successes'], whole['episodes']) == (8, 18)
    assert {name: one['rate'] for name, one in whole['policies'].items()} == pytest.approx(
        {'s1': 2 / 3, 's2': 2 / 3, 's3': 0.0})
    assert whole['over_policies'] == pytest.approx(
        {'policies': 3, 'mean': 4 / 9, 'sd': 0.3849, 'lowest': 0.0, 'highest': 2 / 3}, abs=1e-4)
    against = variant(out, 'action_only 8')['against_unpruned']
    assert against['policies'] == pytest.approx({'s1': 1 / 3, 's2': 1 / 3, 's3': 0.0})
    assert against['same_sign'] == 2 and against['difference'] == pytest.approx(2 / 9)
    text = (out / 'report.md').read_text()
    assert 'x 3 variants x 3 policies' in text
    assert '| s2 | `' in text and '44.4 +- 38.5 (0.0 to 66.7)' in text
    assert str(tmp_path) not in text and str(tmp_path) not in (out / 'report.json').read_text()


def test_a_stopped_run_of_several_policies_continues(policies, tmp_path, capsys):
    out = tmp_path / 'out'
    with eval_fakes.interrupted(25):
        assert evaluate(out, policies) == 130
    shown = capsys.readouterr().err
    assert f'24 of 54 episodes are kept in {out};' in shown
    assert evaluate(out, policies, '--report-only') == 0
    assert [one['finished'] for one in report(out)['policies']] == [18, 6, 0]
    assert variant(out, 'unpruned')['policies']['s3']['rate'] is None
    capsys.readouterr()
    assert evaluate(out, policies) == 0
    assert '24 of 54 episodes are in' in capsys.readouterr().err
    assert report(out)['episodes'] == {'planned': 54, 'finished': 54}


def test_another_order_and_one_policy_more_find_the_journals_again(policies, tmp_path):
    out = tmp_path / 'out'
    evaluate(out, policies[:2])
    before = {path: path.read_bytes() for path in out.glob(f'policy-*/{NAME}')}
    assert evaluate(out, policies[::-1]) == 0
    assert len(before) == 2 and all(path.read_bytes() == rows for path, rows in before.items())
    assert [one['name'] for one in report(out)['policies']] == ['s3', 's2', 's1']


def test_one_checkpoint_is_one_journal_and_no_section_on_policies(policies, tmp_path):
    assert evaluate(tmp_path / 'out', policies[:1]) == 0
    assert (tmp_path / 'out' / NAME).exists()
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert 'policies' not in text and '## Policies' not in text
    assert variant(tmp_path / 'out', 'unpruned')['over_policies'] is None


def test_other_conditions_are_refused_before_anything_runs(policies, tmp_path, capsys):
    out = tmp_path / 'out'
    evaluate(out, policies[2:] + policies[:1])
    capsys.readouterr()
    assert evaluate(out, policies, '--set', 'temporal_decay=0.5') == 2
    assert 'parameters.temporal_decay' in capsys.readouterr().err


def test_the_same_policy_twice_is_refused(policies, tmp_path, capsys):
    Path(policies[1], 'weights').write_text('0')
    assert evaluate(tmp_path / 'out', policies) == 2
    assert 'same policy twice' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_policies_whose_files_do_not_fit_are_refused_before_anything_runs(tmp_path, capsys):
    """Hours may pass until the last policy's turn comes."""
    from vla_pruner_ros.backends.shipped_policies import checkpoint_folder, CONFIGURATION
    broken, good = tmp_path / 'broken', checkpoint_folder('')
    broken.mkdir()
    (broken / CONFIGURATION).write_bytes((good / CONFIGURATION).read_bytes())
    assert main(['eval', '--out', str(tmp_path / 'out'), '--checkpoint', str(good),
                 '--checkpoint', str(broken)]) == 2
    assert f'no weights at {broken}' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_policies_are_named_by_no_more_of_their_path_than_needed():
    assert short_names(['']) == ['shipped']
    assert short_names(['/x/runs/s1', '/x/runs/s2/']) == ['s1', 's2']
    assert short_names(['/x/s1/best', '/x/s2/best', 'tabletop']) == ['s1/best', 's2/best',
                                                                     'tabletop']
