# SPDX-License-Identifier: Apache-2.0
"""Claims: two-sided ones, the loop itself, restricted tasks, thresholds of reuse, the sweep."""
import json

from eval_fakes import make_plan, row_of, use_backend
from fakes import FakeBackend
import numpy as np
import pytest

from vla_pruner_ros.cli.main import main
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.plan import published_claims as claims
from vla_pruner_ros.evaluation.plan import reuse_sweep as sweep
from vla_pruner_ros.evaluation.plan.method_variants import parse_method
from vla_pruner_ros.evaluation.report import evaluation_report as report
from vla_pruner_ros.evaluation.report.evaluation_summary import PolicyRun, Results, summarize
from vla_pruner_ros.evaluation.running.hand_paths import pack
from vla_pruner_ros.evaluation.running.time_estimate import Meter

TASKS = ('a', 'b')
REVERSED = 'vla_pruner/reversed_decay=True 2'
ZERO, CARRY = 'vla_pruner/unseen=zero 2', 'vla_pruner 2'
REFRESH = 'vla_pruner/refresh_period=8/unseen=zero 2'


def results_of(solved, policies=1, episodes=40, **by_label):
    """Every policy solves the first so many seeds; ``by_label``: key of the row -> label -> it."""
    compared = claims.variants(claims.choose(TASKS, ['b']), Parameters(), 16)
    plan = make_plan(seeds=tuple(range(900000, 900000 + episodes)), variants=tuple(compared))

    def rows(number):
        found = {}
        for job in plan.jobs():
            label, place = job.variant.label, job.seed - 900000
            wanted = solved(label, number) if callable(solved) else solved.get(label, 0)
            changes = {key: values[label] for key, values in by_label.items() if label in values}
            found[job.name] = row_of(job, success=place < wanted, **changes)
        return found

    return Results([PolicyRun(f's{number}', plan, rows(number)) for number in range(policies)])


def judged(results, key, **options):
    return [one for one in claims.judge(results, claims.choose(TASKS, ['b'], **options))
            if one['key'] == key]


def direction(results):
    [one] = [one for one in judged(results, 'd') if one['second'] == REVERSED]
    return one['verdict']


def test_a_difference_is_claimed_in_either_direction():
    assert direction(results_of({CARRY: 30, REVERSED: 15})) == 'holds'
    assert direction(results_of({CARRY: 15, REVERSED: 30})) == 'holds'


def test_no_difference_takes_an_interval_within_the_margin():
    assert direction(results_of({CARRY: 100, REVERSED: 100}, episodes=200)) == 'does not hold'
    assert direction(results_of({CARRY: 5, REVERSED: 5}, episodes=10)) == 'undecided'
    assert direction(results_of({CARRY: 6, REVERSED: 5}, episodes=10)) == 'undecided'


@pytest.mark.parametrize('low, high, verdict', [
    (0.01, 0.2, 'holds'), (-0.2, -0.01, 'holds'), (-0.04, 0.04, 'does not hold'),
    (-0.06, 0.04, 'undecided'), (-0.04, 0.06, 'undecided'), (0.0, 0.2, 'undecided'),
    (0.01, 0.02, 'holds')])  # a small difference is one
def test_the_two_sided_verdict(low, high, verdict):
    assert claims.decide(low, high, 0.05, differ=True) == verdict


def test_the_loop_is_judged_by_the_tokens_that_were_kept():
    found = judged(results_of({}, overlap={ZERO: 0.9, CARRY: 0.6, REFRESH: 0.8},
                              ever_kept={ZERO: 0.3, CARRY: 0.5, REFRESH: 0.25}), 'e')
    loop = {(one['measure'], one['first']): one for one in found if one['measure'] != 'success'}
    assert {key: one['verdict'] for key, one in loop.items()} == {
        ('overlap', ZERO): 'holds', ('ever_kept', CARRY): 'holds',
        ('ever_kept', REFRESH): 'does not hold'}
    again = loop['overlap', ZERO]
    assert again['means'] == pytest.approx([0.9, 0.6]) and again['p'] is None
    assert again['difference'] == pytest.approx(0.3)
    # Success says nothing here: no episode was solved by any of them.
    assert {one['difference'] for one in found if one['measure'] == 'success'} == {0.0}


def test_episodes_without_two_pruned_runs_do_not_count_for_the_loop():
    found = judged(results_of({}, overlap={ZERO: None}), 'e')
    [one] = [one for one in found if one['measure'] == 'overlap']
    assert one['verdict'] == 'not tested' and 'needs episodes' in one['why']


def test_a_claim_says_how_many_policies_agree():
    def solved(label, policy):
        return {CARRY: 30, 'fastv 2': (10, 20, 32)[policy]}.get(label, 0)

    results = results_of(solved, policies=3)
    [one] = [one for one in judged(results, 'b') if one['second'] == 'fastv 2']
    assert one['same_sign'] == 2 and one['verdict'] == 'holds'
    assert one['policies'] == pytest.approx({'s0': 0.5, 's1': 0.25, 's2': -0.05})
    full = {**summarize(results), 'claims': claims.judge(results, claims.choose(TASKS, ['b']))}
    text = report.markdown(full)
    assert '| 2 of 3 (+50.0, +25.0, -5.0) |' in text and 'policies that agree' in text


def test_the_report_tells_shares_reuse_and_tasks_of_a_claim():
    same = results_of({}, overlap={ZERO: 0.9, CARRY: 0.6})
    chosen = claims.choose(TASKS, ['b'], tasks={'a': ['a']})
    text = report.markdown({**summarize(same), 'claims': claims.judge(same, chosen)})
    assert '| 90 % against 60 % |' in text
    assert '25 % of the calls reused' in text and '| on a |' in text and '| on b |' in text


def test_how_far_the_path_strays_without_the_veto_is_judged_in_millimetres():
    blind, veto = 'flashvla/reuse_image_change=0.0+reuse 8', 'flashvla+reuse 8'

    def aside(metres):
        return pack([np.array([0.01 * step, metres, 0.0]) for step in range(5)])

    results = results_of({}, path={'unpruned': aside(0.0), blind: aside(0.003),
                                   veto: aside(0.001)})
    [one] = [one for one in judged(results, 'g') if one['measure'] == 'path_deviation']
    assert one['verdict'] == 'holds' and one['pairs'] == 40  # on task b, whose target moves
    assert one['difference'] == pytest.approx(0.002) and one['first'] == blind
    text = report.markdown({**summarize(results), 'claims': judged(results, 'g')})
    assert '| +2.0 (+2.0 to +2.0) mm |' in text and '3.0 mm against 1.0 mm; on b' in text
    swapped = results_of({}, path={'unpruned': aside(0.0), blind: aside(0.001),
                                   veto: aside(0.003)})
    assert judged(swapped, 'g')[1]['verdict'] == 'does not hold'


def test_a_claim_on_some_tasks_needs_its_variants_only_there():
    chosen = claims.choose(TASKS, ['b'], keys=('a', 'g'), tasks={'a': ['a']})
    wanted = {one.label: where for one, where in claims.variants(
        chosen, Parameters(), 16, TASKS).items()}
    assert wanted == {'unpruned': None, 'vla_pruner 8': ('a',), 'flashvla+reuse 8': ('b',),
                      'flashvla/reuse_image_change=0.0+reuse 8': ('b',)}
    both = claims.variants(claims.choose(TASKS, ['b'], keys=('f', 'g')), Parameters(), 16, TASKS)
    assert {one.label: where for one, where in both.items()} == {
        'unpruned': None, 'flashvla 8': None, 'flashvla/reuse_image_change=0.0+reuse 8': None,
        'flashvla+reuse 8': ('b',)}


@pytest.mark.parametrize('options, named', [
    ({'keys': ('z',)}, "'z' is unknown; accepted: a, b"), ({'tasks': {'q': ['a']}}, "'q'"),
    ({'tasks': {'b': ['c']}}, "'c'.*accepted: a, b"),
    ({'thresholds': 'reuse_image_change=0'}, 'reuse_image_change=0.*accepted.*reuse_angle')])
def test_unusable_choices_are_named(options, named):
    with pytest.raises(ConfigError, match=named):
        claims.choose(TASKS, ['b'], **options)


def test_thresholds_change_the_variants_that_reuse_and_no_others():
    plain = claims.choose(TASKS, ['b'])
    chosen = claims.choose(TASKS, ['b'], thresholds='reuse_angle=0.4, reuse_overlap=0.3')
    before, after = (list(claims.variants(one, Parameters(), 16)) for one in (plain, chosen))
    assert len(before) == len(after)
    for old, new in zip(before, after):
        applied = new.apply(Parameters())
        assert (applied.reuse_angle, applied.reuse_overlap) == (
            (0.4, 0.3) if old.reuse else (0.1, 0.6))
        assert (old == new) != old.reuse
        assert applied.reuse_image_change == old.apply(Parameters()).reuse_image_change


def test_the_sweep_names_the_setting_nearest_to_a_third():
    def one(method, rate):
        return {'method': method, 'reuse_rate': rate}

    low, near, far = sweep.METHODS[:3]
    text = sweep.suggestion([one('none', 0.0), one('fastv', None), one(low, 0.1),
                             one(near, 0.3), one(far, 0.48)])
    assert text == ('nearest to a third: --reuse-settings reuse_angle=0.1,reuse_overlap=0.6 '
                    '(30% of the calls reused)')
    assert 'not enough' in sweep.suggestion([one(low, 0.1)])
    assert 'no setting' in sweep.suggestion([one(low, 0.0)])
    assert sweep.FIRST_SEED > 900_000 + 100_000
    for method in sweep.METHODS:
        assert parse_method(method, Parameters()).reuse


def test_a_sweep_and_the_claims_it_serves(tmp_path, monkeypatch, capsys):
    use_backend(monkeypatch, lambda parameters: FakeBackend())
    words = ['eval', '--env', 'eval_fakes:Line', '--tasks', 'a,b', '--jobs', '1', '--no-plots',
             '--episodes', '1', '--out', str(tmp_path)]
    monkeypatch.setattr('vla_pruner_ros.evaluation.plan.requested_work.SWEEP', {
        'pruners': ','.join(sweep.METHODS[:2]).replace('flashvla', 'random'), 'budgets': '50%',
        'episodes': 1})  # the fake policy has no hidden states for FlashVLA
    assert main([*words, '--sweep-reuse']) == 0
    shown = capsys.readouterr().out
    assert 'nearest to a third: --reuse-settings reuse_angle=0.05,reuse_overlap=0.6' in shown
    plan = json.loads((tmp_path / 'report.json').read_text())['plan']
    assert plan['first_seed'] == sweep.FIRST_SEED and len(plan['variants']) == 3
    # A claim on tasks of its own runs its variants there only.
    assert main([*words, '--claims', 'b', '--claim-tasks', 'b=a', '--report-only']) == 2
    assert 'no episode' in capsys.readouterr().err
    for strange in ('b', 'b='):
        assert main([*words, '--claims', 'b', '--claim-tasks', strange]) == 2


def test_the_whole_time_is_told_once_every_variant_has_run(capsys, monkeypatch):
    clock = iter(range(100, 1000, 10))
    monkeypatch.setattr('vla_pruner_ros.evaluation.running.time_estimate.time.monotonic',
                        lambda: next(clock))
    shown = []

    class Line:
        def show(self, done, note):
            shown.append((done, note))

    meter = Meter(Line(), total=20, before=2, first_unit=4)
    for _ in range(6):
        meter.on_row({})
    said = capsys.readouterr().err
    assert said.count('eval: about') == 1
    assert shown[0] == (3, '3/20 episodes') and shown[-1][0] == 8
    # One episode takes 10 s of the fake clock; the fourth leaves 14.
    assert 'about 2 min 20 s for the other 14 episodes' in said


def test_a_report_on_many_tasks_and_policies_has_its_plots_and_readable_cells(tmp_path):
    tasks = tuple('abcdefg')
    plan = make_plan(tasks=tasks, seeds=(900000, 900001), only={'random 4': ('a', 'b')})
    rows = {job.name: row_of(job) for job in plan.jobs()}
    # As resuming finds it: a row that this plan does not have is left out.
    rows['c 900000 random 4'] = {**rows['a 900000 random 4'], 'task': 'c'}
    full = summarize(Results([PolicyRun('s1', plan, rows), PolicyRun('s2', plan, rows)]))
    assert full['episodes'] == {'planned': 64, 'finished': 64}
    assert [one['episodes'] for one in full['variants']] == [28, 8, 28]
    names = [path.name for path in report.write({**full, 'claims': []}, tmp_path)]
    assert names == ['report.json', 'report.md', 'success.png', 'success_tasks.png', 'cost.png',
                     'deviation.png']
    text = (tmp_path / 'report.md').read_text()
    assert 'Run for a claim on some tasks only: `random 4` on a, b.' in text
    assert 'The intervals of single tasks are in the plot.' in text
