# SPDX-License-Identifier: Apache-2.0
"""Numbers of the report by hand, verdicts on the claims, and what the files say."""
import json

from eval_fakes import make_plan, row_of, VARIANTS
import numpy as np
import pytest

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.plan import published_claims as claims
from vla_pruner_ros.evaluation.plan.method_variants import parse_method, Variant
from vla_pruner_ros.evaluation.report import evaluation_report as report
from vla_pruner_ros.evaluation.report.evaluation_plots import lines
from vla_pruner_ros.evaluation.report.evaluation_summary import PolicyRun, Results, summarize
from vla_pruner_ros.evaluation.running.hand_paths import pack

PLAN = make_plan()
SOLVED = {'unpruned': 9, 'random 4': 3, 'vla_pruner 4': 8}  # of 10 seeds, for both tasks


def rows_of(plan, solved, **changes):
    """The first so many seeds are solved; the path moves sideways by the tokens cut."""
    rows = {}
    for job in plan.jobs():
        index, tokens = job.seed - plan.seeds[0], job.variant.tokens
        path = [np.array([0.0, 0.001 * step * bool(tokens), 0.0]) for step in range(5)]
        rows[job.name] = row_of(job, success=index < solved.get(job.variant.label, 0),
                                path=pack(path), **changes)
    return rows


def of_one(plan, rows):
    return Results([PolicyRun('one', plan, rows)])


def chosen(moving=('b',), **others):
    return claims.choose(('a', 'b'), moving, **others)


@pytest.fixture(scope='module')
def results():
    return of_one(PLAN, rows_of(PLAN, SOLVED))


@pytest.fixture(scope='module')
def full(results):
    return {**summarize(results), 'claims': claims.judge(results, chosen())}


def find(full, label):
    [one] = [one for one in full['variants'] if one['label'] == label]
    return one


def test_success_is_pooled_over_tasks_and_given_for_each(full):
    one = find(full, 'random 4')
    assert (one['episodes'], one['successes'], one['rate']) == (20, 6, 0.3)
    assert one['interval'] == pytest.approx([0.1455, 0.5190], abs=5e-5)
    assert one['tasks']['a']['successes'] == 3 and one['tasks']['b']['episodes'] == 10
    assert full['episodes'] == {'planned': 60, 'finished': 60}


def test_costs_are_per_call_and_reused_calls_count(full):
    one = find(full, 'random 4')
    assert one['multiply_adds_per_call'] == 100.0 and one['reuse_rate'] == 0.25
    assert find(full, 'unpruned')['multiply_adds_per_call'] == 400.0
    assert one['kept_share'] == 0.25 and one['pruned_share'] == 1.0
    assert one['stages_ms'] == {'vision': 1.0, 'decoder': 2.0, 'total': 3.0}
    assert one['kept_again_share'] == 0.5 and one['reuse_reasons'] == {'off': 80}


def test_paths_are_compared_with_the_unpruned_ones_of_the_same_seed(full):
    # 0, 1, 2, 3 and 4 mm to the side
    assert find(full, 'random 4')['path_deviation_m'] == pytest.approx(
        {'mean_median': 0.002, 'mean_90': 0.002, 'max_median': 0.004})
    assert find(full, 'unpruned')['path_deviation_m'] is None


def test_paired_tests_against_unpruned_and_between_methods(full):
    one = find(full, 'random 4')['against_unpruned']
    assert (one['both'], one['first_only'], one['second_only'], one['neither']) == (6, 0, 12, 2)
    assert one['p'] == pytest.approx(2 / 2**12) and one['p_holm'] == pytest.approx(4 / 2**12)
    assert one['difference'] == pytest.approx(-0.6)
    [between] = full['comparisons']
    assert (between['first'], between['second']) == ('random 4', 'vla_pruner 4')
    assert between['p'] == between['p_holm'] == pytest.approx(2 / 2**10)


def test_only_finished_episodes_of_the_plan_count():
    rows = rows_of(PLAN, SOLVED)
    for name in [job.name for job in PLAN.jobs() if job.seed == PLAN.seeds[0]][:2]:
        del rows[name]  # unpruned and random of task a
    rows['c 1 unpruned'] = {'success': True}
    results = of_one(PLAN, rows)
    full = summarize(results)
    assert results.finished == 58 and find(full, 'random 4')['successes'] == 5
    assert find(full, 'vla_pruner 4')['against_unpruned']['pairs'] == 19
    assert '**Unfinished: 58 of 60 episodes.**' in report.markdown(full)


def test_an_evaluation_with_nothing_yet_still_has_a_report():
    full = summarize(of_one(PLAN, {}))
    assert find(full, 'unpruned')['rate'] is None
    assert 'unpruned | 100 % | - |' in report.markdown(full)


def test_the_files_hold_everything(full, tmp_path):
    files = report.write(full, tmp_path)
    assert [path.name for path in files] == ['report.json', 'report.md', 'success.png',
                                             'success_tasks.png', 'cost.png',
                                             'deviation.png']
    assert all(path.stat().st_size > 1000 for path in files)
    assert json.loads(files[0].read_text())['variants'] == full['variants']
    text = files[1].read_text()
    assert '| random 4 | 25 % | 30.0 % (14.5-51.9) 6/20 | 30.0 % (10.8-60.3) 3/10 |' in text
    assert '| random 4 | -60.0 (-76.8 to -30.8) | 12 | 0 | 0.0005 (0.0010) | 2.0 |' in text
    assert '![success](success.png)' in text and PLAN.digest in text
    assert '`vla_pruner` against other methods' in text and 'Caution' not in text
    for line in text.splitlines():  # a table row has no empty neighbours and no stray column
        assert not line.startswith('|') or line.endswith('|')
    assert [path.name for path in report.write(full, tmp_path / 'b', pictures=False)] == [
        'report.json', 'report.md']


def test_little_pruning_is_pointed_out():
    text = report.markdown(summarize(of_one(PLAN, rows_of(PLAN, SOLVED, pruned=1))))
    assert 'Caution:** 2 variant(s) dropped tokens in less than 60% of their model runs' in text


def test_the_table_of_the_terminal_has_a_line_per_variant(full):
    shown = report.summary(full).splitlines()
    assert len(shown) == 4 and len({len(line.rstrip()) for line in shown}) == 1
    assert shown[2].split()[:2] == ['random', '4'] and ' 12 ' in shown[2]


def test_a_line_of_the_plot_ends_at_all_tokens_of_its_kind():
    plan = make_plan(variants=(Variant(), Variant('none', 0, (), True), Variant('random', 4),
                               Variant('random', 2), Variant('flashvla', 4, (), True)))
    variants = summarize(of_one(plan, rows_of(plan, {})))['variants']
    assert {method: [one['label'] for one in points]
            for method, points in lines(variants).items()} == {
        'random': ['random 2', 'random 4', 'unpruned'],
        'flashvla+reuse': ['flashvla+reuse 4', 'none+reuse all']}


def claim_results(solved, reused=1, episodes=40):
    plan = make_plan(seeds=tuple(range(900000, 900000 + episodes)),
                     variants=tuple(claims.variants(chosen(), Parameters(), 16)))
    return of_one(plan, rows_of(plan, solved, reused=reused))


def verdicts(results, moving=('b',)):
    return [(one['key'], one['second'], one['verdict'])
            for one in claims.judge(results, chosen(moving))]


def test_claims_hold_fail_or_stay_open_by_their_interval():
    solved = {'unpruned': 40, 'vla_pruner 8': 40, 'vla_pruner 2': 30, 'fastv 2': 10,
              'sparsevlm 2': 40, 'random 2': 29, 'vla_pruner/unseen=zero 2': 10,
              'vla_pruner/refresh_period=8/unseen=zero 2': 30}
    found = verdicts(claim_results(solved))
    assert ('a', 'unpruned', 'holds') in found and ('b', 'fastv 2', 'holds') in found
    assert ('b', 'sparsevlm 2', 'does not hold') in found
    assert ('b', 'random 2', 'undecided') in found
    assert found.count(('e', 'vla_pruner/unseen=zero 2', 'holds')) == 2


def test_a_loss_beyond_the_margin_refutes_no_loss():
    assert ('a', 'unpruned', 'does not hold') in verdicts(
        claim_results({'unpruned': 40, 'vla_pruner 8': 20}))


def test_reuse_claims_need_their_reuse_rate_and_a_moving_target():
    def of(key, results, moving=('b',)):
        [one] = [one for one in claims.judge(results, chosen(moving))
                 if one['key'] == key and one['measure'] == 'success']
        return one

    same = {one.label: 40 for one in claims.variants(chosen(), Parameters(), 16)}
    assert of('f', claim_results(same, episodes=200))['reuse_rate'] == 0.25
    rarely = of('f', claim_results(same, reused=0))
    assert rarely['verdict'] == 'not tested' and '0% of the steps were reused' in rarely['why']
    assert of('g', claim_results(same))['pairs'] == 40
    none = of('g', claim_results(same), moving=())
    assert none['verdict'] == 'not tested' and 'moving target' in none['why']


def test_claims_that_were_not_run_are_not_judged(full):
    judged = {(one['key'], one['second']): one for one in full['claims']}
    assert judged['b', 'fastv 2']['verdict'] == 'not tested'
    assert "'fastv 2'" in judged['b', 'fastv 2']['why']
    assert '## The published claims' not in report.markdown(full)


def test_the_variants_of_the_claims_are_valid_and_unique():
    found = list(claims.variants(chosen(), Parameters(), 196))
    assert found[0] == Variant() and len({one.label for one in found}) == len(found)
    for one in found:
        one.apply(Parameters())
        assert parse_method(one.method, Parameters()).settings == one.settings
    assert {one.tokens for one in found} == {0, 98, 24}
    assert VARIANTS[0] == found[0]
