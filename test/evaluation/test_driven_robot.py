# SPDX-License-Identifier: Apache-2.0
"""The world that goes on while the model thinks, with a robot without physics."""
from fakes import make_parameters, make_spec
import numpy as np
import pytest
from tracked_robot import START, TrackedRobot

from vla_pruner_ros.core.types import CameraSpec
from vla_pruner_ros.evaluation.real_time.driven_robot import DrivenRobot, START_NS
from vla_pruner_ros.runtime.motion.robot_commands import EndEffectorCommand
from vla_pruner_ros.runtime.observation_cache import ObservationCache

MS = 10**6
TURN = (1.0, 0.0, 0.0, 0.0)


def make_world(controller='ideal', camera_hz=20.0, limit=40, **options):
    spec = make_spec(cameras=(CameraSpec('front', 8, 8), CameraSpec('wrist', 8, 8)))
    cache = ObservationCache(spec, make_parameters(
        instruction='reach', camera_topics=['front=/a', 'wrist=/b']))
    return DrivenRobot(TrackedRobot(limit), cache, controller, camera_hz, **options)


def command(now_ns, rows, gripper=None):
    """``rows``: {ms from now: metres along x from the start}."""
    poses = np.array([(START[0] + x, 0.0, 0.2, *TURN) for x in rows.values()])
    times = now_ns + np.array([when * MS for when in rows], np.int64)
    return EndEffectorCommand(poses, times, gripper, now_ns)


def test_the_robot_follows_a_command_through_the_controller_in_virtual_time():
    world = make_world()
    world.advance(20 * MS)
    world.send(command(world.now_ns, {100: 0.05}), world.now_ns + 100 * MS)
    world.advance(60 * MS)
    assert world.now_ns == START_NS + 80 * MS
    assert world.robot.place[0] == pytest.approx(START[0] + 0.05 * 56 / 100)
    motion = world.motion
    assert len(motion.times_ns) == len(motion.commanded) == len(motion.measured) == 20
    assert set(np.diff(motion.times_ns)) == {4 * MS}
    assert motion.arrivals_ns == [START_NS + 20 * MS] and motion.ends_ns == [START_NS + 120 * MS]


def test_pictures_are_stamped_when_they_are_taken_and_drawn_only_when_they_are_used():
    world = make_world()
    world.advance(130 * MS)  # pictures at 0, 52 and 100 ms: the first cycles that are due
    take = world._cache.take(world.now_ns)
    assert take.reason == ''
    assert take.observation.stamp_ns == START_NS + 100 * MS
    assert world.robot.drawn == [('front', pytest.approx(0.1)), ('wrist', pytest.approx(0.1))]
    assert (take.observation.images['front'] == 10).all()
    assert take.observation.pose[0] == tuple(START)


def test_a_camera_of_30_hz_takes_30_pictures_a_second():
    world = make_world(camera_hz=30.0)
    world.advance(1000 * MS)
    assert world._cache.cameras()['front']['received'] == 30


def test_the_gripper_does_what_the_row_under_way_says_and_keeps_the_last():
    world = make_world()
    world.send(command(world.now_ns, {40: 0.0, 80: 0.0}, np.array([1.0, 0.0])), world.now_ns)
    world.advance(160 * MS)
    assert world.robot.openings == [1.0] * 10 + [0.0] * 30


def test_a_refused_command_is_counted_and_did_not_arrive():
    world = make_world('jtc')
    world.advance(200 * MS)
    world.send(command(START_NS, {100: 0.05}), START_NS + 100 * MS)
    assert world.motion.refused == {'past': 1} and not world.motion.arrivals_ns


def test_an_episode_that_is_over_stands_still_while_time_goes_on():
    world = make_world()
    world.send(command(world.now_ns, {40: 0.2}), world.now_ns)
    world.advance(400 * MS)
    assert world.over and world.robot.time < 0.04 and world.now_ns == START_NS + 400 * MS
    world = make_world(limit=2)
    world.advance(400 * MS)
    assert world.over and not world.robot.success and world.robot.time == pytest.approx(0.1)


def test_servo_is_asked_for_velocities_thirty_times_a_second():
    asked = []

    def twist(now_ns, period_ns):
        asked.append((now_ns, period_ns))
        return np.array([0.05, 0, 0, 0, 0, 0])
    world = make_world('servo', twist=twist)
    world.advance(1000 * MS)
    assert len(asked) == 30 and {period for _, period in asked} == {33333333}
    assert 0.01 < world.robot.place[0] - START[0] < 0.05  # late and slower, as Servo is
