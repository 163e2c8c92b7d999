# SPDX-License-Identifier: Apache-2.0
"""Methods and budgets, plans and their digest, paths."""
from dataclasses import replace
import os
from pathlib import Path
import subprocess
import sys

from eval_fakes import make_plan
import numpy as np
import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.plan.episode_plan import files_digest, FIRST_SEED, Plan, seeds
from vla_pruner_ros.evaluation.plan.method_variants import (
    cross,
    parse_budget,
    parse_method,
    Variant,
)
from vla_pruner_ros.evaluation.running.hand_paths import deviation, pack, unpack

BASE = Parameters()


def test_a_method_is_a_pruner_with_changed_parameters_and_reuse():
    assert parse_method('fastv', BASE) == Variant('fastv')
    found = parse_method(' vla_pruner/unseen=zero/temporal_decay=1+reuse', BASE)
    assert found == Variant('vla_pruner', 0, (('temporal_decay', 1.0), ('unseen', 'zero')), True)
    assert found.method == 'vla_pruner/temporal_decay=1.0/unseen=zero+reuse'
    assert parse_method(found.method, BASE) == found
    applied = replace(found, tokens=49).apply(BASE)
    assert (applied.pruner, applied.token_budget, applied.reuse) == ('vla_pruner', 49, True)
    assert (applied.unseen, applied.temporal_decay) == ('zero', 1.0)
    assert parse_method('vla_pruner/action_layers=layer:2', BASE).settings == (
        ('action_layers', 'layer:2'),)


@pytest.mark.parametrize('text, named', [
    ('fast', "'fast'.*accepted: none"), ('fastv/seed=3', "'seed=3'.*temporal_window"),
    ('fastv/token_budget=3', 'token_budget=3'), ('fastv/unseen', "'unseen'"),
    ('vla_pruner/temporal_window=0', 'temporal_window'), ('', 'accepted: none')])
def test_an_unusable_method_is_named(text, named):
    with pytest.raises(ConfigError, match=named):
        parse_method(text, BASE)


@pytest.mark.parametrize('text, tokens', [
    ('all', 0), ('100%', 0), ('50%', 98), ('25%', 49), ('12.5%', 24), ('6.25 %', 12), ('7', 7),
    ('196', 0), ('500', 0)])
def test_budgets_of_a_policy_with_196_tokens(text, tokens):
    assert parse_budget(text, 196) == tokens


@pytest.mark.parametrize('text', ['', '0', '0%', '101%', '-3', 'half', '%', 'nan%', '0.1%'])
def test_an_unusable_budget_is_named(text):
    with pytest.raises(ConfigError, match='accepted'):
        parse_budget(text, 196)


def test_all_tokens_are_run_once_however_many_methods_there_are():
    methods = [parse_method(one, BASE) for one in (
        'none', 'fastv', 'random', 'flashvla/reuse_angle=0.2+reuse')]
    labels = [one.label for one in cross(methods, (0, 98, 98))]
    assert labels == ['unpruned', 'none/reuse_angle=0.2+reuse all', 'fastv 98', 'random 98',
                      'flashvla/reuse_angle=0.2+reuse 98']


def test_a_plan_pairs_all_variants_of_a_seed_and_its_names_are_unique():
    plan = make_plan()
    jobs = plan.jobs()
    assert len(jobs) == 2 * 10 * 3 and len({job.name for job in jobs}) == 60
    assert [job.name for job in plan.units()[1]] == [
        'b 900000 unpruned', 'b 900000 random 4', 'b 900000 vla_pruner 4']
    for variant in plan.variants:
        assert [job.seed for job in jobs if job.variant == variant and job.task == 'a'] == list(
            plan.seeds)


def test_the_digest_is_of_the_conditions_and_of_nothing_else():
    plan = make_plan()
    same = [make_plan(seeds=plan.seeds[:2]), make_plan(tasks=('a',)), make_plan(variants=()),
            make_plan(parameters=Parameters(pruner='fastv', token_budget=3, seed=4, reuse=True,
                                            status_rate=3.0, instruction='x'))]
    other = [make_plan(environment='sim'), make_plan(checkpoint_digest='x'),
             make_plan(warm_up='own'), make_plan(tokens_per_image=64),
             make_plan(versions={'fake': '2'}), make_plan(parameters=Parameters(threads=1)),
             make_plan(parameters=Parameters(execution_horizon=2)),
             make_plan(parameters=Parameters(temporal_window=2)),
             make_plan(parameters=Parameters(max_step=(0.1,)))]
    assert {one.digest for one in same} == {plan.digest}
    assert len({one.digest for one in [plan, *other]}) == 1 + len(other)


def test_the_digest_does_not_depend_on_the_process():
    code = 'from eval_fakes import make_plan; print(make_plan().digest)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert done.stdout.strip() == make_plan().digest, done.stderr


def test_evaluation_seeds_were_never_trained_on():
    pytest.importorskip('metaworld')
    from vla_pruner_ros.training.collect_demonstrations import FIRST_EVALUATION_SEED
    assert FIRST_SEED == FIRST_EVALUATION_SEED
    assert seeds(3) == (900000, 900001, 900002)
    for episodes, first in ((0, FIRST_SEED), (-1, FIRST_SEED), (3, FIRST_SEED - 1),
                            (3, 2**31 - 2)):
        with pytest.raises(ConfigError, match='accepted'):
            seeds(episodes, first)


def test_the_digest_of_a_checkpoint_sees_every_change(tmp_path: Path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'a').write_text('1')
    (tmp_path / 'sub' / 'b').write_text('2')
    before = files_digest(tmp_path)
    assert files_digest(tmp_path) == before
    (tmp_path / 'sub' / 'b').write_text('3')
    changed = files_digest(tmp_path)
    (tmp_path / 'sub' / 'b').rename(tmp_path / 'sub' / 'c')
    assert len({before, changed, files_digest(tmp_path)}) == 3


def test_versions_are_part_of_a_plan_by_default():
    plan = Plan('sim', ('a',), (FIRST_SEED,), (Variant(),), Parameters(), 16)
    assert plan.conditions()['versions.numpy'] == np.__version__


def test_a_path_survives_packing_to_a_tenth_of_a_millimetre():
    random = np.random.default_rng(0)
    path = np.cumsum(random.normal(0, 0.01, (126, 3)), axis=0) + [0.3, -5.0, 40.0]
    text = pack(list(path))
    assert np.abs(unpack(text) - path).max() <= 0.5e-4 + 1e-12
    assert len(text) < 126 * 6
    assert unpack(pack([])).shape == (0, 3)
    for broken in (text[:-7], 'not a path', '"'):
        with pytest.raises(ValueError):
            unpack(broken)


def test_the_deviation_compares_the_steps_that_both_paths_have():
    reference = np.zeros((4, 3))
    path = np.array([[0, 0, 0], [0.03, 0.04, 0], [0, 0, 0.01]])
    found = deviation(path, reference)
    assert found['mean'] == pytest.approx(0.02) and found['max'] == pytest.approx(0.05)
    assert deviation(reference, path) == found
    assert deviation(reference, np.zeros((0, 3))) == {'mean': 0.0, 'max': 0.0}


def test_the_package_imports_without_ros_and_loads_no_simulator():
    code = ('import importlib, pkgutil, sys; sys.modules["rclpy"] = None\n'
            'import vla_pruner_ros.evaluation as package\n'
            'for one in pkgutil.iter_modules(package.__path__):\n'
            '    importlib.import_module(f"{package.__name__}.{one.name}")\n'
            'print([n for n in ("ray", "mujoco", "metaworld", "matplotlib") if n in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == '[]\n', done.stderr
