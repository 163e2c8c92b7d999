# SPDX-License-Identifier: Apache-2.0
"""Episodes: a fake policy by hand, the shipped policy for real, and the same row every time."""
from eval_fakes import steps_needed
from fakes import FakeBackend, make_spec
import numpy as np
import pytest

from vla_pruner_ros.core.errors import AnswerError, ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.evaluation.environments.environment_interface import environment_class
from vla_pruner_ros.evaluation.plan.episode_plan import Job
from vla_pruner_ros.evaluation.plan.method_variants import Variant
from vla_pruner_ros.evaluation.running.episode_worker import EpisodeWorker, WorkerSetup
from vla_pruner_ros.evaluation.running.hand_paths import unpack
from vla_pruner_ros.evaluation.running.process_pools import Inline, Processes

LINE = 'eval_fakes:Line'
BASE = Parameters(execution_horizon=1, temporal_window=2, pruner='none', token_budget=0)
SEED = 900_000  # target at 30 mm: 6 steps of 5.88 mm unpruned
MEASURED = ('ms_stages', 'ms_call', 'seconds')


@pytest.fixture
def backend(monkeypatch):
    made = FakeBackend()
    monkeypatch.setattr('vla_pruner_ros.backends.load_backend', lambda parameters: made)
    return made


def run(variant, seed=SEED, base=BASE, warm_up='settle'):
    return EpisodeWorker(WorkerSetup(LINE, base, warm_up)).run(Job('a', seed, variant))


def lasting(row):
    return {name: value for name, value in row.items() if name not in MEASURED}


def test_the_unpruned_episode_by_hand(backend):
    for seed in (SEED, SEED + 1, SEED + 2):
        row = run(Variant(), seed)
        assert row['steps'] == row['calls'] == row['runs'] == steps_needed(seed)
        assert row['success'] == (seed != SEED + 2)  # 50 mm need more than 8 steps
        assert (row['pruned'], row['reused'], row['overlap']) == (0, 0, None)
        assert row['flops'] == 100.0 * row['runs'] and row['job'] == f'a {seed} unpruned'
        path = unpack(row['path'])
        assert len(path) == row['steps'] + 1 and np.abs(path[:, 1:]).max() == 0
        assert np.abs(np.diff(path[:, 0]) - 150 / 25500).max() < 1.1e-4


def test_an_equal_warm_up_leaves_the_first_runs_unpruned_for_every_method(backend):
    # Bright tokens move 250 / 25500 = 9.8 mm: 2 x 5.88 + 2 x 9.8 > 30
    row = run(Variant('action_only', 8), warm_up='equal')
    assert (row['steps'], row['pruned'], row['success']) == (4, 2, True)
    assert row['overlap'] == 1.0 and row['ever_kept'] == 0.5
    # Without a memory a method would prune at once.
    random = run(Variant('random', 15), warm_up='equal')
    own = run(Variant('random', 15), warm_up='own')
    assert random['pruned'] == random['runs'] - 2 and own['pruned'] == own['runs']
    assert run(Variant('action_only', 8), warm_up='own')['pruned'] == 2


def test_settling_fills_the_memory_before_the_robot_moves(backend):
    # 4 x 9.8 mm from the first step on; the two settling runs are not part of the episode
    row = run(Variant('action_only', 8))
    assert (row['steps'], row['runs'], row['pruned'], row['success']) == (4, 4, 4, True)
    assert np.abs(np.diff(unpack(row['path'])[:, 0]) - 250 / 25500).max() < 1.1e-4
    assert lasting(run(Variant('random', 15))) == lasting(run(Variant('random', 15)))


def test_actions_of_settling_runs_are_never_reused(backend):
    row = run(Variant('action_only', 8, (('reuse_image_change', 0.0),), True), SEED + 2)
    assert row['reasons'] == {'reset': 1, 'no_history': 1, 'reused': 2, 'cap': 2}
    assert np.abs(np.diff(unpack(row['path'])[:, 0]) - 250 / 25500).max() < 1.1e-4


def test_a_row_depends_on_its_job_only(backend):
    jobs = [Job('a', SEED + index, variant) for index in range(2)
            for variant in (Variant(), Variant('random', 4), Variant('action_only', 4, (), True))]
    one = EpisodeWorker(WorkerSetup(LINE, BASE))
    forwards = [lasting(one.run(job)) for job in jobs]
    backwards = [lasting(one.run(job)) for job in reversed(jobs)]
    fresh = [lasting(EpisodeWorker(WorkerSetup(LINE, BASE)).run(job)) for job in jobs]
    assert forwards == backwards[::-1] == fresh


def test_the_random_choice_differs_between_seeds_but_not_between_runs(backend):
    first, again, other = (run(Variant('random', 2), seed, warm_up='own')
                           for seed in (SEED, SEED, SEED + 3))  # same target
    assert lasting(first) == lasting(again) and first['path'] != other['path']


def test_reuse_executes_the_rest_of_the_chunk(backend):
    # Two runs, then every other step is reused (cap 1).
    row = run(Variant('none', 0, (('reuse_image_change', 0.0),), True), SEED + 2)
    assert (row['calls'], row['reused'], row['runs']) == (8, 3, 5)
    assert row['reasons'] == {'no_history': 2, 'reused': 3, 'cap': 3}
    assert lasting(run(Variant(), SEED + 2))['path'] == row['path']


def test_the_execution_horizon_gives_fewer_calls(backend):
    row = run(Variant(), SEED + 1, Parameters(execution_horizon=3, pruner='none'))
    assert (row['steps'], row['calls']) == (7, 3)


def test_an_unsafe_action_ends_the_episode_as_a_failure(backend):
    worker = EpisodeWorker(WorkerSetup(LINE, BASE))
    backend.value = float('nan')
    row = worker.run(Job('a', SEED, Variant()))
    assert (row['success'], row['error'], row['calls']) == (False, 'unsafe_action', 0)
    assert len(unpack(row['path'])) == 1 and row['ms_call'] == 0.0


def test_an_answer_that_is_no_action_fails_the_episode_only(backend):
    worker = EpisodeWorker(WorkerSetup(LINE, BASE))
    backend.fail = AnswerError('token 7')
    row = worker.run(Job('a', SEED, Variant()))
    assert (row['success'], row['error'], row['calls']) == (False, 'no_action', 0)
    assert worker.run(Job('a', SEED, Variant()))['error'] == ''


def test_an_unknown_environment_is_named():
    with pytest.raises(ConfigError, match="'moon'; accepted: sim, libero, or module:attribute"):
        environment_class('moon')
    with pytest.raises(ConfigError, match="'eval_fakes:Moon' cannot be imported"):
        environment_class('eval_fakes:Moon')


def test_the_simulated_robot_refuses_what_it_cannot_do():
    simulation = environment_class('sim')
    with pytest.raises(ConfigError, match='joint_position actions.*ee_delta'):
        simulation(make_spec(action_kind='joint_position'))
    with pytest.raises(ConfigError, match="'fly-v3'"):
        simulation.check(['reach-v3', 'fly-v3'])


def test_the_robot_of_a_task_must_have_the_cameras_of_the_policy():
    from sim_fakes import make_fake

    from vla_pruner_ros.core.types import CameraSpec
    simulation = environment_class('sim')
    corner = simulation(make_spec(), make_fake)
    corner.start('reach-v3', 0)
    with pytest.raises(ConfigError, match=r"'fake' needs camera\(s\) corner; task "
                                          'reach-colour has front, wrist'):
        corner.start('reach-colour', 0)
    both = simulation(make_spec(cameras=(CameraSpec('front', 8, 8),
                                         CameraSpec('wrist', 8, 8))), make_fake)
    with pytest.raises(ConfigError, match=r'front, wrist; task reach-v3 has corner'):
        both.start('reach-v3', 0)
    both.start('reach-colour', 3)
    seen = both.observe()
    assert (list(seen.images), seen.instruction) == (['front', 'wrist'], 'reach red')
    assert seen.pose == ((0.0, 0.0, 0.2), (1.0, 0.0, 0.0, 0.0))
    simulation(make_spec(cameras=(CameraSpec('front', 8, 8),)),
               make_fake).start('reach-colour', 0)


def test_the_task_says_whether_its_target_moves():
    simulation = environment_class('sim')
    assert simulation.moving_target('follow-moving')
    assert not simulation.moving_target('reach-colour') and not simulation.moving_target('push-v3')


def test_a_real_tabletop_episode_gives_what_a_two_camera_policy_needs():
    pytest.importorskip('mujoco')
    from vla_pruner_ros.core.types import CameraSpec
    both = environment_class('sim')(make_spec(cameras=(CameraSpec('front', 64, 64),
                                                       CameraSpec('wrist', 64, 64))))
    told = set()
    for seed in range(SEED, SEED + 4):
        both.start('reach-colour', seed)
        seen = both.observe()
        told.add(seen.instruction)
        assert [one.shape for one in seen.images.values()] == [(64, 64, 3)] * 2
        assert np.allclose(seen.state[:3], both.position) and not both.done
    assert len(told) > 1
    before = both.position
    both.execute(np.array([0.0, 0.0, 0.02, 1.0]))
    assert 0.0 < both.position[2] - before[2] < 0.05
    both.close()


def test_a_real_episode_is_the_same_in_this_process_and_in_another(tmp_path):
    """The shipped policy in the simulator, pruned; also after other episodes and tasks."""
    pytest.importorskip('metaworld')
    from vla_pruner_ros.backends.shipped_policies import DEFAULT, shipped_names
    if DEFAULT not in shipped_names():
        pytest.skip('no shipped weights')
    setup = WorkerSetup('sim', Parameters(threads=1, execution_horizon=2, temporal_window=1))
    jobs = [Job('reach-v3', SEED, Variant('vla_pruner', 24)), Job('reach-v3', SEED, Variant()),
            Job('handle-press-v3', SEED, Variant())]
    rows = []
    with Inline(setup) as here:
        for job in (*jobs, jobs[0]):
            here.start(0, job)
            rows += [row for _, row in here.wait()]
    with Processes(1, setup) as there:
        there.start(0, jobs[0])
        [(_, elsewhere)] = there.wait()
    assert lasting(rows[0]) == lasting(rows[3]) == lasting(elsewhere)
    first, unpruned = rows[:2]
    assert 0 < first['pruned'] == first['runs'] and first['ms_stages']['select'] > 0
    assert first['flops'] / first['runs'] < unpruned['flops'] / unpruned['runs']
    path = unpack(unpruned['path'])
    assert 1 <= unpruned['steps'] <= 125 and len(path) == unpruned['steps'] + 1
    moved = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert 0.003 < moved.max() < 0.08  # a control step moves the hand about 40 mm at most
