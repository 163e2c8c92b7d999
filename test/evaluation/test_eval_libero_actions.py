# SPDX-License-Identifier: Apache-2.0
"""What the simulator is told, to the bit, for what a model said: hand-written published formulas.

The model's own answers are caught inside the backend, so everything behind them is compared:
un-normalising, units, limits, chunks, reuse and the gripper's sign.
"""
from dataclasses import replace

from fakes import make_spec
from libero_fakes import FakeEnv, install
import numpy as np
from openvla_checkpoint import Oft, Sizes, statistics, write_checkpoint
import pytest

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.cli.main import main
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import ActionChunk
from vla_pruner_ros.evaluation.environments.libero import libero_tasks
from vla_pruner_ros.evaluation.environments.libero.libero_actions import commands, FULL_SCALE
from vla_pruner_ros.evaluation.plan.episode_plan import FIRST_SEED, Job
from vla_pruner_ros.evaluation.plan.method_variants import Variant
from vla_pruner_ros.evaluation.running.episode_worker import EpisodeWorker, WorkerSetup

KEY = 'libero_spatial_no_noops'
SPEC = make_spec(action_names=('dx', 'dy', 'dz', 'drx', 'dry', 'drz', 'gripper'),
                 gripper_index=6, gripper_open=1.0, gripper_closed=0.0)
STEPS = 20
#: Statistics as wide as LIBERO's, so that no two numbers are alike.
STATISTICS = statistics()
STATISTICS['action'].update(q01=[-0.71, -0.83, -0.93, -0.11, -0.17, -0.15, 0.0],
                            q99=[0.93, 0.82, 0.937, 0.12, 0.19, 0.33, 1.0])


def published(normal, epsilon):
    """(7,) numbers for the simulator of one normalised action."""
    low, high = (np.array(STATISTICS['action'][name]) for name in ('q01', 'q99'))
    mask = np.array([True] * 6 + [False])
    action = np.where(mask, 0.5 * (normal + 1) * (high - low + epsilon) + low, normal)
    action[..., -1] = 2 * (action[..., -1] - 0.0) / (1.0 - 0.0) - 1
    action[..., -1] = np.sign(action[..., -1])
    action[..., -1] = action[..., -1] * -1.0
    return action


@pytest.fixture
def world(monkeypatch):
    install(monkeypatch)
    for suite, steps in (('libero_spatial', STEPS), ('libero_goal', 5)):  # short, to be quick
        monkeypatch.setitem(libero_tasks.SUITES, suite, libero_tasks.Suite(10, steps))


def folder(tmp_path, **more):
    return write_checkpoint(tmp_path / 'checkpoint', Sizes(), norm_stats={KEY: STATISTICS}, **more)


def parameters(place, **changes):
    return Parameters().changed({'checkpoint': str(place), 'center_crop': True, 'threads': 1,
                                 'execution_horizon': 1, **changes})


def run(monkeypatch, given, catch, variant=None, suite='libero_spatial'):
    """(row, what the model said in order) of one episode."""
    backend = load_backend(given)
    said = catch(backend)
    monkeypatch.setattr('vla_pruner_ros.backends.load_backend', lambda _: backend)
    worker = EpisodeWorker(WorkerSetup('libero', given, warm_up='own'))
    said.clear()  # the warm-up
    row = worker.run(Job(f'{suite}/0', FIRST_SEED, variant or Variant()))
    worker.close()
    return row, said


def catch_tokens(backend):
    said = []
    original = backend.tokens.decode

    def decode(tokens):
        said.append(original(tokens))
        return said[-1]
    backend.tokens.decode = decode
    return said


def catch_head(backend):
    said = []

    def remember(_module, _inputs, output):
        said.append(output[0].float().numpy().copy())
    backend.head.register_forward_hook(remember)
    return said


def told():
    return FakeEnv.made[-1].told[10:]


def test_openvla_is_asked_at_every_step_and_its_numbers_arrive(world, tmp_path, monkeypatch):
    given = parameters(folder(tmp_path), backend='openvla')
    row, said = run(monkeypatch, given, catch_tokens, suite='libero_goal')
    assert row['calls'] == row['steps'] == len(said) == 5
    assert told() == [published(one, 0.0).tolist() for one in said]
    assert all(isinstance(one, float) for one in told()[0])


def test_oft_executes_its_chunk_blindly_and_its_numbers_arrive(world, tmp_path, monkeypatch):
    given = parameters(folder(tmp_path, oft=Oft()), backend='openvla_oft', policy_images=2,
                       execution_horizon=8)
    row, said = run(monkeypatch, given, catch_head)
    assert (row['calls'], row['steps'], len(said)) == (3, STEPS, 3)  # 8 + 8 + 4
    wanted = np.concatenate([published(one, 1e-8) for one in said])[:STEPS]
    assert told() == wanted.tolist()


def test_a_reused_step_sends_the_rest_of_the_chunk(world, tmp_path, monkeypatch):
    given = parameters(folder(tmp_path, oft=Oft()), backend='openvla_oft', policy_images=2,
                       execution_horizon=4, reuse_angle=3.14, reuse_overlap=0.0,
                       reuse_image_change=0.0)
    row, said = run(monkeypatch, given, lambda backend: catch_head(steady_gripper(backend)),
                    Variant(reuse=True))
    # Two runs to compare, then a reused half chunk, a run, a reused half.
    assert (row['calls'], row['reused'], len(said)) == (5, 2, 3)
    steady = [one.copy() for one in said]
    for one in steady:
        one[:, -1] = 1.0
    first, second, third = (published(one, 1e-8).tolist() for one in steady)
    assert told() == first[:4] + second[:4] + second[4:] + third[:4] + third[4:]


def steady_gripper(backend):
    """A gripper that moves would veto the reuse."""
    spread = backend.data.action.spread

    def opened(values):
        values = values.copy()
        values[..., -1] = 1.0
        return spread(values)
    bounds = type('Bounds', (), {'spread': staticmethod(opened),
                                 'dimensions': backend.data.action.dimensions})()
    backend.data = replace(backend.data, action=bounds)
    return backend


def test_metres_alone_would_not_arrive_to_the_bit():
    native = np.random.default_rng(0).uniform(-1, 1, (1000, 7))
    chunk = ActionChunk(native * FULL_SCALE, 0, 0.05, native)
    exact, lossy = commands(chunk, SPEC), commands(replace(chunk, native=None), SPEC)
    assert (exact[:, :6] == native[:, :6]).all()
    assert (lossy[:, :3] != native[:, :3]).any()  # the negative control
    assert np.abs(lossy - exact).max() < 3e-16


@pytest.mark.parametrize('said, wanted', [(1.0, -1), (0.51, -1), (0.5, 0), (0.49, 1), (0.0, 1),
                                          (1.3, -1), (-0.2, 1)])
def test_an_open_gripper_is_minus_one(said, wanted):
    rows = np.zeros((1, 7))
    rows[0, 6] = said
    assert commands(ActionChunk(rows, 0, 0.05), SPEC)[0, 6] == wanted
    other = replace(SPEC, gripper_open=-1.0, gripper_closed=1.0)
    rows[0, 6] = 1 - 2 * said
    assert commands(ActionChunk(rows, 0, 0.05), other)[0, 6] == wanted


def test_a_limited_value_is_executed_as_limited():
    native = np.array([[0.9, 0.3, 1.7, 0.1, 0.2, 0.3, 1.0]])
    metres = native * FULL_SCALE
    metres[0, 0], metres[0, 2] = 0.01, 0.05  # cut by max_step
    rows = commands(ActionChunk(metres, 0, 0.05, native), SPEC)
    assert rows[0].tolist() == [0.01 / 0.05, 0.3, 1.0, 0.1, 0.2, 0.3, -1.0]


def test_a_policy_with_other_units_is_brought_to_full_scale():
    metres = np.array([[0.05, -0.025, 0.0, 0.5, 0.25, 0.0, 0.0]])
    rows = commands(ActionChunk(metres, 0, 0.05, metres), SPEC)  # bridge: metres and radians
    assert rows[0].tolist() == [1.0, -0.5, 0.0, 1.0, 0.5, 0.0, 1.0]


def test_the_command_runs_a_suite_and_says_with_what(world, tmp_path, capsys):
    place, out = folder(tmp_path, oft=Oft()), tmp_path / 'out'
    assert main(['eval', '--env', 'libero', '--tasks', 'libero_goal/1,libero_goal/0',
                 '--set', 'backend=openvla_oft', '--set', 'policy_images=2',
                 '--set', f'checkpoint={place}', '--set', 'execution_horizon=8',
                 '--pruners', 'vla_pruner', '--budgets', 'all,25%', '--episodes', '1',
                 '--jobs', '1', '--no-plots', '--out', str(out)]) == 0
    text = (out / 'report.md').read_text()
    for name in ('versions.robosuite', 'versions.mujoco', 'versions.libero', 'versions.opengl',
                 'libero_goal/1', 'libero_goal/0'):
        assert name in text
    assert (out / 'episodes.jsonl').read_text().count('"job"') == 4
    assert 'vla_pruner 64' in capsys.readouterr().out
