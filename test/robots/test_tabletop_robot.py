# SPDX-License-Identifier: Apache-2.0
"""The tabletop robot: surface, kinematics, determinism, limits, projection."""
import numpy as np
import pytest

pytest.importorskip('mujoco')

from vla_pruner_ros.core.errors import ConfigError  # noqa: E402
from vla_pruner_ros.robots.robot_for_task import make_robot  # noqa: E402
from vla_pruner_ros.robots.tabletop import arm_kinematics as arm
from vla_pruner_ros.robots.tabletop.tabletop_objects import RGB  # noqa: E402
from vla_pruner_ros.robots.tabletop.tabletop_robot import TabletopRobot  # noqa: E402
from vla_pruner_ros.robots.tasks import get_task, TABLETOP_TASKS, TASKS  # noqa: E402


@pytest.fixture(scope='module')
def robot():
    robot = make_robot('reach-colour', 7)
    yield robot
    robot.close()


def drive(robot, *actions):
    for action in actions:
        result = robot.apply(np.array(action, dtype=float))
    return result


def raise_hand(robot):
    """To a height where nothing can be touched."""
    drive(robot, *[(0, 0, 1, -1)] * 5)


def test_an_observation_has_the_announced_shapes(robot):
    robot.reset(7)
    seen = robot.observe()
    assert robot.cameras == ('front', 'wrist') == tuple(seen.images)
    for image in seen.images.values():
        assert image.shape == (224, 224, 3) and image.dtype == np.uint8 and image.std() > 10
    assert seen.joint_names == robot.joint_names and len(seen.joint_names) == 7
    assert seen.joint_positions.shape == (7,) and np.isfinite(seen.joint_positions).all()
    assert seen.state.shape == (4,) and seen.time == 0
    assert np.allclose(seen.ee_position, robot.position) and seen.gripper_opening > 0.85
    assert np.allclose(np.abs(robot.orientation), [0, 0, 0, 1], atol=1e-6)


def test_the_inverse_kinematics_agrees_with_the_simulated_chain(robot):
    rng = np.random.default_rng(0)
    import mujoco
    robot.reset(0)
    for _ in range(100):
        point = rng.uniform(arm.WORKSPACE_LOW, arm.WORKSPACE_HIGH)
        joints = arm.inverse(point)
        robot.data.qpos[:5] = joints
        mujoco.mj_kinematics(robot.model, robot.data)
        assert np.allclose(robot.position, point, atol=1e-9)
        assert np.allclose(np.abs(robot.orientation), [0, 0, 0, 1], atol=1e-9)


@pytest.mark.parametrize('task', ['touch-two', 'follow-moving', 'place-bowl'])
def test_the_same_seed_and_actions_give_the_same_path_and_another_seed_does_not(task):
    robot = make_robot(task, 0)

    def path(seed):
        robot.reset(seed)
        raise_hand(robot)
        drive(robot, *[(0.3, 0.5, -0.2, 1.0)] * 7)
        return robot.data.qpos.copy(), robot.objects, robot.observe().images

    (qpos, objects, images), (again, same, pictures), (other, _, _) = path(1), path(1), path(2)
    assert np.array_equal(qpos, again) and np.array_equal(objects, same)
    assert not np.array_equal(qpos, other)
    assert all(np.array_equal(images[name], pictures[name]) for name in images)
    robot.close()


def test_full_speed_moves_the_hand_forty_millimetres_per_axis_and_control_step(robot):
    robot.reset(3)
    raise_hand(robot)
    centre = np.array([0.42, 0.0, 0.2])
    for _ in range(8):
        drive(robot, [*np.clip((centre - robot.position) / 0.04, -1, 1), -1])
    before = robot.position
    for step, action in enumerate([(0, 1, 0, 0), (0, 1, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0)], 1):
        drive(robot, action)
        expected = before + [0, 0.04 * min(step, 3), 0]
        assert np.linalg.norm(robot.position - expected) < 0.005
    drive(robot, (0, -50, 0, 0), (0, 0, 0, 0))  # clipped to -1
    assert robot.position[1] - before[1] == pytest.approx(0.08, abs=0.003)


def test_the_hand_stays_in_the_work_space(robot):
    for direction in ((1, 1, 1), (-1, -1, 1)):
        robot.reset(5)
        raise_hand(robot)
        drive(robot, *[(*direction, 0)] * 25)
        assert (robot.position > arm.WORKSPACE_LOW - 0.003).all()
        assert (robot.position < arm.WORKSPACE_HIGH + 0.003).all()


def test_the_gripper_closes_with_plus_one_and_opens_with_minus_one(robot):
    robot.reset(3)
    raise_hand(robot)
    drive(robot, *[(0, 0, 0, 1)] * 6)
    assert robot.opening < 0.02
    drive(robot, *[(0, 0, 0, 0)] * 6)
    assert robot.opening == pytest.approx(0.45, abs=0.02)
    drive(robot, *[(0, 0, 0, -1)] * 6)
    assert robot.opening == pytest.approx(0.9, abs=0.02)


def test_an_episode_ends_at_the_step_limit_and_then_wants_a_reset(robot):
    robot.reset(3)
    raise_hand(robot)
    for _ in range(robot.task.step_limit - 5):
        result = robot.apply(np.zeros(4))
    assert result.truncated and not result.success and result.step == robot.task.step_limit
    with pytest.raises(ConfigError, match='reset'):
        robot.apply(np.zeros(4))
    robot.reset(3)
    assert robot.apply(np.array([0, 0, 1, -1])).step == 1


def test_bad_arguments_are_named(robot):
    with pytest.raises(ConfigError, match="'fly'.*reach-v3.*place-bowl"):
        make_robot('fly', 0)
    with pytest.raises(ConfigError, match='reach-v3'):
        TabletopRobot('reach-v3')
    with pytest.raises(ConfigError, match="front, wrist.*'corner'"):
        robot.project(np.zeros(3), 'corner')


def hue_matches(pixel, colour):
    wanted = np.array(RGB[colour]) / max(RGB[colour])
    return np.abs(pixel / max(pixel.max(), 1) - wanted).max() < 0.2


@pytest.mark.parametrize('camera', ['front', 'wrist'])
def test_a_world_point_is_projected_onto_the_pixel_where_it_is_drawn(robot, camera):
    found = 0
    for seed in range(12):
        robot.reset(seed)
        for _ in range(4):
            robot.apply(robot.expert_action())
        image, seen = robot.render(camera), robot.privileged()
        pixels = robot.project(seen.objects, camera)
        edges = robot.project(seen.objects + [0, 0.06, 0], camera)  # beside the cubes
        for colour, (column, row, depth), beside in zip(seen.colours, pixels, edges):
            if not (8 < column < 216 and 8 < row < 216 and depth > 0):
                continue
            hit = hue_matches(image[int(row), int(column)].astype(float), colour)
            found += hit
            if hit and 0 < beside[0] < 224 and 0 < beside[1] < 224:
                assert not hue_matches(image[int(beside[1]), int(beside[0])].astype(float), colour)
    assert found >= (40 if camera == 'front' else 15)  # of 48; the hand hides some


def test_a_robot_is_made_for_every_tabletop_task_and_names_agree():
    for name in TABLETOP_TASKS:
        assert get_task(name).scene == 'tabletop' and TASKS[name].name == name
        robot = make_robot(name, 0, image_size=32)
        assert isinstance(robot, TabletopRobot) and robot.task.name == name
        assert robot.task.moving_target == (name == 'follow-moving')


def test_the_other_robot_has_the_same_surface():
    pytest.importorskip('metaworld')
    robot = make_robot('reach-v3', 0)
    assert robot.cameras == ('corner',) and not robot.task.moving_target
    assert robot.position.shape == (3,) and robot.orientation.shape == (4,)
    assert np.linalg.norm(robot.orientation) == pytest.approx(1.0)
    names = set(dir(robot))
    for name in ('task', 'instruction', 'joint_names', 'reset', 'apply', 'observe', 'success',
                 'truncated', 'step_count', 'close', 'render'):
        assert name in names and hasattr(TabletopRobot, name) or name in ('task', 'step_count')
    robot.close()
