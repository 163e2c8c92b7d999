# SPDX-License-Identifier: Apache-2.0
"""From journal rows to the table of the real-time evaluation; numbers by hand."""
import numpy as np
import pytest

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.real_time import real_time_report as reports
from vla_pruner_ros.evaluation.real_time.model_delays import Delay
from vla_pruner_ros.evaluation.real_time.motion_row import FINER
from vla_pruner_ros.evaluation.real_time.real_time_plan import RealTimePlan, Setting
from vla_pruner_ros.evaluation.real_time.real_time_summary import summarize
from vla_pruner_ros.evaluation.running.hand_paths import pack

DELAY = Delay(100, True)
LOCK, NAIVE, LINEAR = (Setting('lock_step'), Setting('naive', DELAY), Setting('linear', DELAY))


def sizes(top):
    return {f'{kind}_{end}': top for kind in ('position', 'velocity', 'acceleration')
            for end in ('max', 'p99')}


def make_row(setting, task, seed, success, top=0.0, elsewhere=None, **more):
    """One row; ``top`` and ``elsewhere`` are its largest steps."""
    row = {'job': f'{task} {seed} {setting.label}', 'task': task, 'seed': seed,
           'label': setting.label, 'success': success, 'calls': 4, 'runs': 3, 'reused': 1,
           'seconds_to_end': 2.0 if success else 6.0}
    if setting.way != 'lock_step':
        steps = {'boundary': sizes(top), 'elsewhere': sizes(elsewhere)}
        row.update({'chunks': 4, 'refused': {}, 'uncovered': 0.25, 'path_m': 0.5,
                    'commanded': steps, 'measured': steps})
    return {**row, **more}


@pytest.fixture
def run():
    plan = RealTimePlan(('go', 'stop'), (1, 2), (LOCK, NAIVE, LINEAR), Parameters(), 'x',
                        versions={})
    rows = [make_row(LOCK, task, seed, True) for task in plan.tasks for seed in plan.seeds]
    rows += [make_row(NAIVE, 'go', 1, True, 2.0, 1.0), make_row(NAIVE, 'go', 2, False, 4.0, 8.0),
             make_row(NAIVE, 'stop', 1, True, 1.0, 1.0)]
    rows += [make_row(LINEAR, 'go', 1, True, 0.1, 0.2), make_row(LINEAR, 'go', 2, True, 0.4, 0.1),
             make_row(LINEAR, 'stop', 1, False, 0.2, None), make_row(LINEAR, 'stop', 2, True, 9.0)]
    return plan, {row['job']: row for row in rows}


def test_success_is_counted_per_task_and_against_lock_step_on_the_same_episodes(run):
    summary = summarize(*run)
    lock, naive, linear = summary['lines']
    assert (lock['successes'], naive['successes'], linear['successes']) == (4, 2, 3)
    assert linear['tasks'] == {'go': {'episodes': 2, 'successes': 2},
                               'stop': {'episodes': 2, 'successes': 1}}
    assert naive['against_lock_step']['difference'] == pytest.approx(-1 / 3)
    assert linear['against_lock_step']['difference'] == pytest.approx(-1 / 4)
    assert linear['seconds_when_solved'] == 2.0 and linear['reused_share'] == 0.25
    assert summary['episodes'] == {'planned': 12, 'finished': 11}


def test_velocity_steps_are_compared_with_naive_publishing_wherever_they_are(run):
    linear = summarize(*run)['lines'][2]
    # stop 2 has no naive partner; largest 0.4 of 8; pairs 0.2 / 2, 0.4 / 8, 0.2 / 1
    assert linear['by_naive'] == {'largest': pytest.approx(0.05), 'median': pytest.approx(0.1)}
    assert linear['commanded']['boundary']['velocity_max'] == 9.0
    assert linear['commanded']['elsewhere']['velocity_max'] == 0.2
    assert linear['uncovered'] == 0.25


def test_settings_without_an_episode_are_left_out(run):
    plan, rows = run
    summary = summarize(plan, {name: row for name, row in rows.items() if 'naive' not in name})
    assert [one['way'] for one in summary['lines']] == ['lock_step', 'linear']
    assert summary['lines'][1]['by_naive'] == {'largest': None, 'median': None}


def test_the_report_has_a_table_of_motion_and_one_of_success(run, tmp_path):
    summary = summarize(*run)
    files = reports.write(summary, run[1], tmp_path, pictures=False)
    text = (tmp_path / 'real_time.md').read_text()
    assert [path.name for path in files] == ['real_time.json', 'real_time.md']
    assert '**Unfinished: 11 of 12 episodes.**' in text
    assert ('| linear, 100~ ms, jtc, all tokens | 9000.0 (200.0) | 9.00 (0.20) | 0.30 (0.15) | '
            '9 (0) | 0.05 | 25 % | 0.50 |') in text
    assert '| 3/4 | -25.0 (' in text and text.count('lock_step') == 1


def test_episodes_that_were_kept_whole_are_drawn_per_task(run, tmp_path):
    pytest.importorskip('matplotlib')
    plan, rows = run
    path = FINER * np.cumsum(np.full((50, 3), 1e-4), axis=0)
    curve = {'commanded': pack(path), 'measured': pack(path), 'arrivals_s': [0.1]}
    for job in ('go 1 ' + NAIVE.label, 'go 1 ' + LINEAR.label):
        rows[job]['curve'] = curve
    files = reports.write(summarize(plan, rows), rows, tmp_path)
    assert files[-1].name == 'curves_go.png' and files[-1].stat().st_size > 10_000
    assert '![curves_go.png](curves_go.png)' in (tmp_path / 'real_time.md').read_text()
