# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner eval``: arguments, a whole run, continuing, interruption."""
import json
import sys

from eval_fakes import interrupted, use_backend
from fakes import FakeBackend
import pytest

from vla_pruner_ros.cli.eval import arguments
from vla_pruner_ros.cli.main import main
from vla_pruner_ros.core.errors import MissingDependencyError
from vla_pruner_ros.evaluation import run_evaluation as command
from vla_pruner_ros.evaluation.plan.published_claims import choose, variants
from vla_pruner_ros.evaluation.running.process_pools import MOST_JOBS
from vla_pruner_ros.evaluation.running.ray_pool import RayActors
from vla_pruner_ros.evaluation.running.time_estimate import duration

COMMON = ['--env', 'eval_fakes:Line', '--tasks', 'a,b', '--jobs', '1', '--no-plots']
SMALL = ['--pruners', 'random,action_only', '--budgets', 'all,50%', '--episodes', '3']


@pytest.fixture
def backend(monkeypatch):
    made = FakeBackend()
    use_backend(monkeypatch, lambda parameters: made)
    return made


def evaluate(out, *words):
    return main(['eval', *COMMON, '--out', str(out), *words])


def plan_of(options):
    return command.make_work(options, command.BASE).policies[0].plan


def report(out):
    return json.loads((out / 'report.json').read_text())


def test_a_run_ends_with_a_report_and_a_table(backend, tmp_path, capsys):
    assert evaluate(tmp_path, *SMALL) == 0
    shown = capsys.readouterr()
    assert 'eval: 18 episodes' in shown.err and 'left' in shown.err
    assert 'action_only 8' in shown.out and str(tmp_path / 'report.md') in shown.out
    rates = {one['label']: one['rate'] for one in report(tmp_path)['variants']}
    # Targets at 30, 40 and 50 mm; 8 steps of 5.88 mm miss the last, of 9.8 mm none.
    assert rates['unpruned'] == pytest.approx(2 / 3) and rates['action_only 8'] == 1.0
    assert len((tmp_path / 'episodes.jsonl').read_text().splitlines()) == 19
    assert report(tmp_path)['plan']['conditions']['parameters.execution_horizon'] == 1


def test_a_place_that_cannot_be_written_is_refused_before_a_policy_is_loaded(monkeypatch, capsys):
    loaded = []
    monkeypatch.setattr('vla_pruner_ros.backends.load_backend', loaded.append)
    assert main(['eval', *COMMON, *SMALL, '--out', '/dev/null/out']) == 2
    assert '--out /dev/null/out cannot be written' in capsys.readouterr().err and not loaded


def test_a_disk_that_becomes_full_costs_the_report_but_not_the_table(
        backend, tmp_path, full_disk, capsys):
    assert evaluate(tmp_path, *SMALL) == 2
    shown = capsys.readouterr()
    assert 'action_only 8' in shown.out and 'No space left on device' in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ['episodes.jsonl']


def test_a_journal_that_does_not_fit_says_how_to_continue(backend, tmp_path, monkeypatch, capsys):
    written = []

    def sync(number):
        written.append(number)
        if len(written) > 4:
            raise OSError(28, 'No space left on device')
    monkeypatch.setattr('vla_pruner_ros.evaluation.running.episode_journal.os.fsync', sync)
    monkeypatch.setattr(command, 'check_folder', lambda folder: None)
    assert evaluate(tmp_path, *SMALL) == 2
    error = capsys.readouterr().err
    assert '3 of 18 episodes are kept in' in error and 'No space left on device' in error


def test_the_same_command_runs_nothing_again_and_a_larger_one_what_is_new(backend, tmp_path,
                                                                          capsys):
    evaluate(tmp_path, *SMALL)
    calls = len(backend.calls)
    assert evaluate(tmp_path, *SMALL) == 0 and len(backend.calls) == calls
    capsys.readouterr()
    assert evaluate(tmp_path, *SMALL[:-1], '4') == 0
    assert '18 of 24 episodes are in' in capsys.readouterr().err
    assert report(tmp_path)['episodes'] == {'planned': 24, 'finished': 24}


def test_other_conditions_in_the_same_folder_are_refused(backend, tmp_path, capsys):
    evaluate(tmp_path, *SMALL)
    assert evaluate(tmp_path, *SMALL, '--set', 'temporal_decay=0.5') == 2
    assert 'parameters.temporal_decay: 0.8 there, 0.5 here' in capsys.readouterr().err
    assert evaluate(tmp_path, *SMALL, '--resume', 'never') == 2
    assert 'holds episodes already' in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_continue(backend, tmp_path, capsys):
    with interrupted(6):
        assert evaluate(tmp_path, *SMALL) == 130
    shown = capsys.readouterr().err
    assert '5 of 18 episodes are kept in' in shown and 'the same command continues' in shown
    assert not (tmp_path / 'report.json').exists()
    assert evaluate(tmp_path, *SMALL, '--report-only') == 0
    assert report(tmp_path)['episodes'] == {'planned': 18, 'finished': 5}
    assert evaluate(tmp_path, *SMALL) == 0
    assert report(tmp_path)['episodes'] == {'planned': 18, 'finished': 18}


def test_a_report_without_episodes_is_refused(backend, tmp_path, capsys):
    assert evaluate(tmp_path, *SMALL, '--report-only') == 2
    assert 'no episode of this plan' in capsys.readouterr().err


def test_a_failing_policy_stops_the_run_and_keeps_what_is_done(backend, tmp_path, capsys):
    backend.fail = ZeroDivisionError('broken')
    assert evaluate(tmp_path, *SMALL) == 2
    shown = capsys.readouterr().err
    assert 'broken' in shown


@pytest.mark.parametrize('words, named', [
    (['--tasks', 'fly'], "unknown task 'fly'"), (['--tasks', ','], 'names nothing'),
    (['--pruners', 'quick'], "'quick'"), (['--pruners', 'random/seed=1'], 'seed=1'),
    (['--budgets', '200%'], "'200%'"), (['--budgets', 'many'], "'many'"),
    (['--episodes', '0'], 'episodes is 0'), (['--first-seed', '5'], 'trained on'),
    (['--jobs', '0'], '--jobs is 0'), (['--jobs', str(MOST_JOBS + 1)], '--jobs is'),
    (['--env', 'moon'], "'moon'"), (['--set', 'nothing=1'], "'nothing'"),
    (['--config', '/nowhere.yaml'], '/nowhere.yaml')])
def test_a_bad_argument_is_one_line_and_nothing_is_written(backend, tmp_path, capsys, words,
                                                           named):
    assert evaluate(tmp_path / 'out', *SMALL, *words) == 2
    shown = capsys.readouterr().err
    assert named in shown and shown.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_quick_fills_in_only_what_was_not_given(backend):
    options = arguments().parse_args([*COMMON, '--quick', '--episodes', '2'])
    plan = plan_of(options)
    assert [one.label for one in plan.variants] == [
        'unpruned', 'vla_pruner 4', 'random 4', 'vla_pruner 2', 'random 2']
    assert len(plan.seeds) == 2


def test_claims_bring_their_own_variants(backend):
    options = arguments().parse_args([*COMMON, '--claims'])
    labels = [one.label for one in plan_of(options).variants]
    assert labels == [one.label for one in variants(choose(('a', 'b'), ('b',)), command.BASE,
                                                    16)]
    assert {'unpruned', 'vla_pruner 8', 'vla_pruner/temporal_window=1 2'} <= set(labels)
    more = arguments().parse_args([*COMMON, '--claims', '--pruners', 'random',
                                           '--budgets', '5'])
    assert [one.label for one in plan_of(more).variants] == [
        *labels, 'random 5']


def test_a_policy_that_knows_no_tasks_needs_them_named(backend, tmp_path, capsys):
    assert main(['eval', '--env', 'eval_fakes:Line', '--out', str(tmp_path / 'o')]) == 2
    assert '--tasks' in capsys.readouterr().err


@pytest.mark.parametrize('seconds, text', [(0.4, '0 s'), (59.6, '1 min 0 s'), (95, '1 min 35 s'),
                                           (3725, '1 h 2 min')])
def test_durations_for_people(seconds, text):
    assert duration(seconds) == text


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(MissingDependencyError, match=r'pip install -e ".\[ray\]"'):
        RayActors('local', 1, None)
