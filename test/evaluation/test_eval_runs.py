# SPDX-License-Identifier: Apache-2.0
"""Journal and pools: nothing is lost, nothing is run twice, and it does not matter where."""
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from eval_fakes import drive, GATED_SEED, make_plan, row_of, VARIANTS
from paths import HELPERS
import pytest

from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.evaluation.running import episode_scheduler as runner
from vla_pruner_ros.evaluation.running.episode_journal import Journal, NAME

SMALL = make_plan(seeds=make_plan().seeds[:2])
DEADLINE = 90.0  # seconds


def lines(folder):
    return (folder / NAME).read_bytes().splitlines(keepends=True)


def until(predicate):
    end = time.monotonic() + DEADLINE
    while not predicate():
        assert time.monotonic() < end, 'deadline'
        time.sleep(0.02)


def alive(pid):
    try:  # a zombie that nobody waits for counts as gone
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def test_one_and_two_processes_give_the_same_rows(tmp_path):
    expected = {job.name: row_of(job) for job in SMALL.jobs()}
    assert drive(tmp_path / '1', {}, 0, SMALL) == expected
    assert drive(tmp_path / '2', {}, 2, SMALL) == expected
    assert len(lines(tmp_path / '2')) == 1 + len(expected)


def test_finished_episodes_are_not_run_again(tmp_path):
    drive(tmp_path, {}, 0, SMALL)
    before = lines(tmp_path)
    drive(tmp_path, {'fail': SMALL.jobs()[0].name}, 0, SMALL)
    assert lines(tmp_path) == before


def test_a_larger_plan_extends_a_journal(tmp_path):
    drive(tmp_path, {}, 0, make_plan(seeds=SMALL.seeds, variants=VARIANTS[:2], tasks=('a',)))
    before = lines(tmp_path)
    assert len(drive(tmp_path, {}, 0, SMALL)) == 12
    assert lines(tmp_path)[:len(before)] == before and len(lines(tmp_path)) == 13


@pytest.mark.parametrize('cut', [1, 20, 'feed'])
def test_a_half_written_last_line_is_run_again(tmp_path, cut):
    complete = drive(tmp_path, {}, 0, SMALL)
    path = tmp_path / NAME
    content = path.read_bytes()
    kept = b''.join(lines(tmp_path)[:6])
    path.write_bytes(content[:len(content) - 1] if cut == 'feed' else
                     content[:len(kept) + cut])
    with Journal(tmp_path, SMALL) as journal:
        finished = 11 if cut == 'feed' else 5
        assert len(journal.rows) == finished
        assert sum(map(len, runner.missing(SMALL, journal))) == 12 - finished
    assert drive(tmp_path, {}, 0, SMALL) == complete
    assert all(json.loads(line) for line in lines(tmp_path)) and len(lines(tmp_path)) == 13


def test_a_half_written_header_begins_anew(tmp_path):
    drive(tmp_path, {}, 0, SMALL)
    (tmp_path / NAME).write_bytes(lines(tmp_path)[0][:30])
    assert len(drive(tmp_path, {}, 0, SMALL)) == 12 and len(lines(tmp_path)) == 13


@pytest.mark.parametrize('damage', [b'{"job": \n', b'[1]\n', b'{"seed": 1}\n', b'\xff\n'])
def test_damage_in_the_middle_is_refused_and_left_as_it_is(tmp_path, damage):
    drive(tmp_path, {}, 0, SMALL)
    content = lines(tmp_path)
    content[4] = damage
    (tmp_path / NAME).write_bytes(b''.join(content))
    with pytest.raises(ConfigError, match='line 5 is damaged'):
        Journal(tmp_path, SMALL)
    assert lines(tmp_path) == content


def test_a_journal_of_another_plan_is_refused_by_what_differs(tmp_path):
    drive(tmp_path, {}, 0, SMALL)
    before = lines(tmp_path)
    other = make_plan(checkpoint_digest='other', warm_up='own')
    with pytest.raises(ConfigError, match=f'{SMALL.digest}.*{other.digest}.*'
                                          "checkpoint: '' there, 'other' here.*warm_up"):
        Journal(tmp_path, other)
    with pytest.raises(ConfigError, match='holds episodes already'):
        Journal(tmp_path, SMALL, 'never')
    with pytest.raises(ConfigError, match="'always'; accepted: automatic or never"):
        Journal(tmp_path, SMALL, 'always')
    assert lines(tmp_path) == before
    with pytest.raises(ConfigError, match='cannot be written'):
        Journal(tmp_path / NAME, SMALL)


def test_a_journal_in_use_is_refused(tmp_path):
    with Journal(tmp_path, SMALL), pytest.raises(ConfigError, match='in use'):
        Journal(tmp_path, SMALL)
    Journal(tmp_path, SMALL).close()


@pytest.mark.parametrize('signal_number', [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_loses_nothing_ends_its_workers_and_continues(tmp_path, signal_number):
    gate = tmp_path / 'gate'
    out = tmp_path / 'out'
    out.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(HELPERS / 'eval_fakes.py'), str(out), str(gate), '2'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(HELPERS), *sys.path])})
    try:
        # All ungated episodes of both tasks; then both workers wait in the middle of one.
        until(lambda: (out / NAME).exists() and len(lines(out)) == 1 + 2 * 5 * 3)
        os.kill(process.pid, signal_number)
        status = process.wait(DEADLINE)
    finally:
        process.kill()
        process.wait()
    assert status == (130 if signal_number == signal.SIGINT else -signal.SIGKILL)
    workers = [int(path.name) for path in out.iterdir() if path.name.isdigit()]
    assert len(workers) == 2
    gate.touch()  # orphans end after their episode
    until(lambda: not any(alive(pid) for pid in workers))

    before = lines(out)
    plan = make_plan()
    ungated = [job for job in plan.jobs() if job.seed < GATED_SEED]
    assert {json.loads(line)['job'] for line in before[1:]} == {job.name for job in ungated}
    rows = drive(out, {'fail': ungated[0].name}, 0, plan)
    assert rows == {job.name: row_of(job) for job in plan.jobs()}
    assert lines(out)[:len(before)] == before


@pytest.mark.parametrize('processes', [0, 2])
def test_an_error_in_a_worker_is_raised_here_and_finished_episodes_stay(tmp_path, processes):
    job = SMALL.jobs()[4].name
    with pytest.raises(ConfigError, match='the fake was told to fail'):
        drive(tmp_path, {'fail': job}, processes, SMALL)
    assert drive(tmp_path, {}, 0, SMALL) == {one.name: row_of(one) for one in SMALL.jobs()}


def test_a_bug_and_a_death_of_a_worker_are_named(tmp_path):
    job = SMALL.jobs()[4].name
    with pytest.raises(BackendError, match='ZeroDivisionError in a worker: a bug') as caught:
        drive(tmp_path, {'bug': job}, 2, SMALL)
    assert 'eval_fakes.py' in str(caught.value.__cause__)
    with pytest.raises(BackendError, match='ended by itself .exit status 7'):
        drive(tmp_path, {'die': job}, 2, SMALL)
    assert len(drive(tmp_path, {}, 0, SMALL)) == 12


def test_more_processes_than_units_share_the_jobs_of_one(tmp_path):
    plan = make_plan(tasks=('a',), seeds=SMALL.seeds[:1])
    assert drive(tmp_path, {}, 3, plan) == {one.name: row_of(one) for one in plan.jobs()}
