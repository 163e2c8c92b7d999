# SPDX-License-Identifier: Apache-2.0
"""Real-time episodes with the shipped policy and the real simulator, in virtual time."""
import json

import pytest

pytest.importorskip('mujoco')

from vla_pruner_ros.cli.real_time import main  # noqa: E402
from vla_pruner_ros.core.errors import ConfigError  # noqa: E402
from vla_pruner_ros.core.parameter_declarations import Parameters  # noqa: E402
from vla_pruner_ros.evaluation.plan.episode_plan import Job  # noqa: E402
from vla_pruner_ros.evaluation.plan.method_variants import Variant  # noqa: E402
from vla_pruner_ros.evaluation.real_time.model_delays import Delay  # noqa: E402
from vla_pruner_ros.evaluation.real_time.real_time_plan import (  # noqa: E402
    RealTimeJob,
    Setting,
)
from vla_pruner_ros.evaluation.real_time.real_time_worker import (  # noqa: E402
    RealTimeSetup,
    RealTimeWorker,
)
from vla_pruner_ros.evaluation.running.episode_worker import (  # noqa: E402
    EpisodeWorker,
    WorkerSetup,
)

TASK, SEED = 'reach-colour', 900_000
DELAY = Delay(100, True)
PARAMETERS = Parameters(threads=1).changed({'checkpoint': 'tabletop'})


@pytest.fixture(scope='module')
def worker():
    worker = RealTimeWorker(RealTimeSetup(PARAMETERS, curves_of=SEED))
    yield worker
    worker.close()


def run(worker, way, delay=DELAY, task=TASK, **options):
    return worker.run(RealTimeJob(task, SEED, Setting(way, delay, **options)))


def test_the_same_job_gives_the_same_row(worker):
    first = run(worker, 'linear')
    run(worker, 'naive', tokens=49)  # whatever ran in between
    assert run(worker, 'linear') == first
    assert first['success'] and first['chunks'] == first['runs'] > 2
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_chunks_are_joined_without_the_steps_of_naive_publishing(worker):
    naive, linear = run(worker, 'naive'), run(worker, 'linear')

    def top(row):
        return max(row['commanded'][where]['velocity_max'] for where in ('boundary', 'elsewhere'))
    assert top(naive) > 0.5 and top(linear) < 0.15 * top(naive)
    assert linear['uncovered'] == 0.0 and linear['timing'] == 'observation'


def test_in_lock_step_an_episode_is_that_of_the_evaluation(worker):
    other = EpisodeWorker(WorkerSetup('sim', PARAMETERS, warm_up='own'))
    expected = other.run(Job(TASK, SEED, Variant()))
    other.close()
    row = run(worker, 'lock_step')
    assert (row['success'], row['calls']) == (expected['success'], expected['calls'])
    assert row['seconds_to_end'] == pytest.approx(0.05 * expected['steps'])


def test_a_model_that_is_too_slow_for_its_chunks_takes_turns_with_the_robot(worker):
    row = run(worker, 'linear', Delay(400))
    assert row['timing'] == 'answer' and 0.3 < row['uncovered'] < 0.9
    assert 400.0 <= row['delay_ms']['p95'] < 460.0  # a picture waits one period at most


def test_reuse_and_pruning_are_those_of_the_setting(worker):
    row = run(worker, 'linear', task='follow-moving', tokens=49, reuse=True, changes=(
        ('execution_horizon', 2), ('reuse_angle', 0.4), ('reuse_image_change', 0.0)))
    assert row['reused'] == row['reasons']['reused'] > 0
    assert row['runs'] + row['reused'] == row['calls'] == row['chunks']


def test_naive_publishing_has_no_velocities_for_servo(worker):
    with pytest.raises(ConfigError, match='servo takes velocities'):
        run(worker, 'naive', controller='servo')


def test_the_command_writes_a_table_and_continues_where_it_stopped(tmp_path, capsys):
    given = ['--checkpoint', 'tabletop', '--tasks', TASK, '--delays', '50', '--jobs', '1',
             '--no-plots', '--out', str(tmp_path)]
    assert main([*given, '--ways', 'naive', '--episodes', '1']) == 0
    first = (tmp_path / 'episodes.jsonl').read_bytes()
    assert main([*given, '--ways', 'naive,linear', '--episodes', '1']) == 0
    both = (tmp_path / 'episodes.jsonl').read_bytes()
    assert both.startswith(first) and both.count(b'\n') == first.count(b'\n') + 1
    assert '| linear, 50 ms, jtc, all tokens |' in capsys.readouterr().out
    report = json.loads((tmp_path / 'real_time.json').read_text())
    assert [one['episodes'] for one in report['lines']] == [1, 1]
    with pytest.raises(ConfigError, match='camera_hz: 20.0 there, 30.0 here'):
        main([*given, '--ways', 'naive', '--camera-hz', '30'])


@pytest.mark.parametrize('arguments, words', [
    (['--ways', 'fast'], 'accepted: lock_step, naive'), (['--delays', 'x'], 'milliseconds'),
    (['--controllers', 'pid'], 'accepted: ideal'), (['--tasks', 'fly'], 'known tasks'),
    (['--episodes', '0'], 'episodes is 0'), (['--jobs', '0'], '--jobs is 0'),
    (['--camera-hz', '0'], '--camera-hz is 0')])
def test_arguments_that_cannot_be_used_are_refused_before_anything_runs(arguments, words,
                                                                        tmp_path):
    with pytest.raises(ConfigError, match=words):
        main([*arguments, '--out', str(tmp_path)])
    assert not list(tmp_path.iterdir())
