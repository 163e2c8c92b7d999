# SPDX-License-Identifier: Apache-2.0
"""Numbers, table, pictures and child processes of the demo; expected values by hand."""
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
from paths import ROOT
import pytest

from vla_pruner_ros.core.errors import ConfigError, OutputError
from vla_pruner_ros.demo import demo_report as report
from vla_pruner_ros.demo.demo_pictures import film_strip, spread, summary
from vla_pruner_ros.demo.demo_report import Block, Episode
from vla_pruner_ros.demo.node_processes import ProcessDied, Processes, ros_arguments
from vla_pruner_ros.demo.run_demo import Files, finish


def step(total, kept, reused=False, pruned=True):
    return {'stages_ms': {'total': total, 'decoder': total / 2}, 'kept': [kept],
            'tokens_per_image': 196, 'reused': reused, 'pruned': pruned}


def episodes():
    return [Episode('reach', '49', 1, True, 20, 2.0, [step(90.0, 196, pruned=False),
                                                      step(50.0, 49), step(0.1, 49, reused=True)]),
            Episode('reach', '49', 2, False, 60, 3.0, [step(70.0, 49), step(60.0, 49)]),
            Episode('push', '49', 1, True, 10, 1.0, [step(40.0, 49)])]


def test_budgets_are_read():
    assert report.parse_blocks('all, 98,49+reuse') == (Block(0), Block(98), Block(49, True))
    assert [one.label for one in report.parse_blocks('all+reuse,7')] == ['all+reuse', '7']


@pytest.mark.parametrize('text', ['', 'some', '0', '-3', '98+', '98+fast', '5000', 'all,,3'])
def test_a_bad_budget_is_named(text):
    with pytest.raises(ConfigError, match='accepted'):
        report.parse_blocks(text)


def test_rows_count_success_and_take_medians_over_model_runs_only():
    rows = report.rows(episodes())
    assert [(row.task, row.solved, row.episodes) for row in rows] == [
        ('reach', 1, 2), ('push', 1, 1), ('all tasks', 2, 3)]
    reach = rows[0]
    assert reach.rate_hz == pytest.approx(5 / 5.0) and reach.robot_hz == pytest.approx(80 / 5.0)
    assert reach.stages_ms['total'] == 60.0  # of 50, 60, 70: neither warm-up nor reused step
    assert reach.kept == 49 and reach.tokens == 196
    assert reach.pruned_share == pytest.approx(3 / 4)
    assert reach.reuse_rate == pytest.approx(1 / 5)


def test_an_episode_without_any_answer_gives_zeros():
    row = report.rows([Episode('reach', 'all', 1)])[0]
    assert (row.rate_hz, row.kept, row.reuse_rate, row.stages_ms) == (0.0, 0.0, 0.0, {})


def test_the_table_is_aligned_and_holds_every_row():
    lines = report.table(report.rows(episodes())).splitlines()
    assert len(lines) == 2 + 3
    assert lines[0].split()[:3] == ['task', 'budget', 'success']
    assert lines[2].split()[:3] == ['reach', '49', '1/2']
    assert len({len(line) for line in lines}) == 1


def test_on_a_narrow_terminal_the_table_has_several_parts_with_the_same_rows():
    rows = report.rows(episodes())
    parts = report.table(rows, width=40).split('\n\n')
    assert len(parts) > 1
    assert max(len(line) for part in parts for line in part.splitlines()) <= 40
    assert {tuple(part.splitlines()[2].split()[:2]) for part in parts} == {('reach', '49')}
    whole = ' '.join(parts).split()
    assert all(name in whole for name in ('success', 'decoder', 'reused', '49/196', '75%'))


def test_a_disk_that_becomes_full_costs_the_files_but_not_the_table(tmp_path, full_disk, capsys):
    options = SimpleNamespace(out=tmp_path)
    files = Files()
    files.draw(tmp_path / 'film.png', film_strip, 'reach', 'reach the ball', {'all': []})
    with pytest.raises(OutputError, match='demo.json cannot be written: No space left on device'):
        finish(options, episodes(), files)
    assert 'all tasks' in capsys.readouterr().out
    assert [str(one) for one in files.problems] == [
        f'{tmp_path / name} cannot be written: No space left on device'
        for name in ('film.png', 'summary.png')]
    assert not list(tmp_path.iterdir())


def test_frames_are_spread_over_the_episode():
    assert spread(3, 6) == [0, 1, 2]
    assert spread(11, 6) == [0, 2, 4, 6, 8, 10]


def test_pictures_are_written(tmp_path):
    frame = np.full((32, 32, 3), 128, np.uint8)
    film_strip(tmp_path / 'film.png', 'reach', 'reach the ball',
               {'all': [(0.0, frame), (0.1, frame)], '49': []})
    film_strip(tmp_path / 'wide.png', 'reach-colour', 'reach the red cube',
               {'all': [(0.0, np.hstack([frame, frame]))]}, ('front', 'wrist'))
    summary(tmp_path / 'summary.png', report.rows(episodes()))
    for name in ('film.png', 'wide.png', 'summary.png'):
        assert (tmp_path / name).read_bytes()[:4] == b'\x89PNG'


def test_parameters_become_arguments():
    assert ros_arguments({'a': True, 'b': 4, 'c': "it's", 'd': ['x=/x', 'y=/y']}) == [
        '--ros-args', '-p', 'a:=true', '-p', 'b:=4', '-p', "c:='it''s'", '-p',
        "d:=['x=/x', 'y=/y']"]


def spawn(processes, folder, source):
    """Start a module made of ``source``."""
    (folder / 'child.py').write_text(source)
    return processes.start('child', 'child', [])


def until(predicate):
    end = time.monotonic() + 30
    while not predicate():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def here(tmp_path, monkeypatch):
    return Processes({**os.environ, 'PYTHONPATH': str(tmp_path)}, tmp_path)


def test_a_dead_process_is_reported_with_the_end_of_its_log(here, tmp_path):
    with here as processes:
        child = spawn(processes, tmp_path, 'import sys; print("reason: no wheels"); sys.exit(3)')
        until(lambda: child.wait(0))
        with pytest.raises(ProcessDied, match='(?s)child ended with status 3.*no wheels'):
            processes.check()


def test_processes_are_ended_also_one_that_ignores_sigint(here, tmp_path, monkeypatch):
    monkeypatch.setattr('vla_pruner_ros.demo.node_processes.INTERRUPT_S', 0.2)
    with here as processes:
        child = spawn(processes, tmp_path, 'import signal, time\n'
                      'signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint("deaf")\n'
                      'while True: time.sleep(1)')
        until(lambda: 'deaf' in child.tail())
        processes.check()
    assert child.wait(0)


def test_processes_are_ended_when_the_demo_fails(here, tmp_path):
    with pytest.raises(ZeroDivisionError), here as processes:
        child = spawn(processes, tmp_path, 'import time\nwhile True: time.sleep(1)')
        raise ZeroDivisionError
    assert child.wait(0)


def test_a_child_that_ignores_its_interrupt_ends_soon_after_its_parent(tmp_path):
    (tmp_path / 'deaf.py').write_text('import signal, sys\n'
                                      'signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
                                      'assert sys.stdin.read() == ""\n'
                                      'print("deaf", flush=True)\nsignal.pause()')
    child = subprocess.Popen(
        [sys.executable, '-c', 'from vla_pruner_ros.demo import watched_module as watched\n'
         'watched.PATIENCE_S = 0.2\nwatched.main()', 'deaf'], stdin=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(tmp_path)])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == 'deaf\n'
    child.stdin.close()  # as the end of the parent does
    assert child.wait(30) == 1 and 'Timeout' in child.stderr.read()


@pytest.mark.parametrize('arguments, words', [
    (['--tasks', 'fly'], 'known tasks: reach-v3'),
    (['--episodes', '0'], '--episodes is 0; accepted: 1 to 1000'),
    (['--tasks', 'reach-v3,reach-colour'],
     "policy 'metaworld' needs camera(s) corner; task reach-colour has front, wrist"),
    (['--budgets', 'few'], "budget 'few'; accepted"),
    (['--domain', '400'], '--domain is 400; accepted: 0 to 232'),
    (['--checkpoint', '/no/such/place'], 'not a directory and not a shipped policy'),
])
def test_bad_arguments_are_refused_before_anything_starts(arguments, words, tmp_path, capsys):
    from vla_pruner_ros.cli.main import main
    assert main(['demo', '--out', str(tmp_path / 'out'), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_help_lists_the_options(capsys):
    from vla_pruner_ros.cli.demo import arguments
    with pytest.raises(SystemExit) as ended:
        arguments().parse_args(['--help'])
    assert ended.value.code == 0 and '--budgets' in capsys.readouterr().out
