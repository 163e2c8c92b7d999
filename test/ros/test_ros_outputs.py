# SPDX-License-Identifier: Apache-2.0
"""What a robot, a person and a program get from the node."""
import json

from builtin_interfaces.msg import Time
import cv2
import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
import ros_helpers
from ros_helpers import (
    BudgetBackend,
    FakeBackend,
    is_hold,
    JOINT_SPEC,
    LATCHED,
    make_spec,
    place,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import MultiDOFJointTrajectory

make_rig = ros_helpers.make_rig


def nanoseconds(time):
    return time.sec * 10**9 + time.nanosec


def translations(message):
    return [(one.transforms[0].translation.x, one.transforms[0].translation.y,
             one.transforms[0].translation.z) for one in message.points]


def test_raw_image_gives_poses_integrated_from_the_observed_one(make_rig):
    rig = make_rig(lock_step=True, base_frame='world')
    image = rig.robot.picture(value=255)
    rig.robot.send_state()
    rig.until(rig.commands, lambda: rig.robot.send(image))
    message = rig.got['ee_trajectory'][0]
    assert message.header.stamp == image.header.stamp
    assert message.header.frame_id == 'world'
    # The fake moves by 255 / 25500 = 0.01 m along x per 0.05 s; point 0 is the observation.
    np.testing.assert_allclose(translations(message),
                               [(0.1 + 0.01 * row, 0.2, 0.3) for row in range(9)], atol=1e-12)
    times = [nanoseconds(one.time_from_start) for one in message.points]
    assert times == [50_000_000 * row for row in range(9)]


def test_published_points_lie_ahead_of_the_clock(make_rig):
    rig = make_rig()
    message = rig.flow()
    received = rig.node.session.now()
    first = nanoseconds(message.header.stamp) + nanoseconds(message.points[0].time_from_start)
    assert first > nanoseconds(message.header.stamp)
    assert first > received - 20 * 10**9
    times = [nanoseconds(one.time_from_start) for one in message.points]
    assert all(after - before == 50_000_000 for before, after in zip(times, times[1:]))


def test_compressed_image_gives_a_chunk(make_rig):
    rig = make_rig(compressed=True, camera_topics=['corner=camera/image_raw/compressed'])

    def send():
        _, data = cv2.imencode('.png', np.full((8, 8, 3), 51, np.uint8))
        message = CompressedImage(format='png', data=data.tobytes())
        message.header.stamp = rig.robot.stamp()
        rig.robot.send(message)

    rig.until(rig.commands, send)
    steps = np.diff([one[0] for one in translations(rig.got['ee_trajectory'][0])])
    np.testing.assert_allclose(steps, 51 / 25500, atol=1e-12)


def test_gripper_is_told_in_the_robots_own_values(make_rig):
    spec = make_spec(gripper_open=-1.0, gripper_closed=1.0)
    rig = make_rig(FakeBackend(spec), gripper_open=0.04, gripper_joint='finger')
    rig.flow()
    message = rig.until(lambda: rig.got['gripper_command'])[0]
    assert message.joint_names == ['finger']
    # The fake answers 0, which is between both ends: what it was (open at first) stays.
    assert {one.positions[0] for one in message.points} == {0.04}


def test_joint_policy_publishes_a_joint_trajectory(make_rig):
    rig = make_rig(FakeBackend(JOINT_SPEC), joint_names=['shoulder', 'elbow'], pose_topic='')

    def send():
        state = JointState(name=['j1', 'j2'], position=[0.0, 0.0])
        state.header.stamp = rig.robot.stamp()
        rig.robot.joints.publish(state)
        rig.robot.images.publish(rig.robot.picture())

    rig.until(rig.commands, send)
    message = rig.got['action_chunk'][0]
    assert message.joint_names == ['shoulder', 'elbow']
    assert list(message.points[-1].positions) == pytest.approx([0.01, 0.0])  # the same target
    assert list(message.points[-1].velocities) == [0.0, 0.0]
    times = [nanoseconds(one.time_from_start) for one in message.points]
    assert times[0] > 0 and times == sorted(set(times))
    assert not rig.got['ee_trajectory'] and not rig.got['gripper_command']


def test_velocity_stream_follows_the_chunk_and_ends_in_zero(make_rig):
    rig = make_rig()
    rig.flow()
    twists = rig.got['twist']
    # 0.01 m in 0.05 s
    rig.until(lambda: any(abs(one.twist.linear.x - 0.2) < 1e-9 for one in twists))
    rig.until(lambda: len(twists) > 2 and twists[-1].twist.linear.x == 0.0)
    moving = [one for one in twists if one.twist.linear.x]
    stamps = [nanoseconds(one.header.stamp) for one in moving]
    assert stamps == sorted(set(stamps))
    assert len(moving) >= 2
    assert moving[0].header.frame_id == 'base'


def test_dry_run_tells_the_robot_nothing(make_rig):
    rig = make_rig(dry_run=True)
    rig.until(lambda: rig.got['dry_run/ee_trajectory'] and rig.got['dry_run/twist']
              and rig.got['dry_run/gripper_command'], rig.robot.send)
    assert rig.set(dry_run=False).successful
    rig.flow()
    dry = len(rig.got['dry_run/ee_trajectory'])
    first = nanoseconds(rig.got['ee_trajectory'][0].header.stamp)
    assert all(nanoseconds(one.header.stamp) < first
               for one in rig.got['dry_run/ee_trajectory'][:dry])


def test_switching_to_dry_run_stops_the_robot_first(make_rig):
    rig = make_rig()
    rig.flow()
    assert rig.set(dry_run=True).successful
    rig.until(lambda: is_hold(rig.got['ee_trajectory'][-1]))
    assert place(rig.got['ee_trajectory'][-1]) == pytest.approx((0.1, 0.2, 0.3), abs=0.09)
    told = rig.commands()
    rig.until(lambda: rig.got['dry_run/ee_trajectory'], rig.robot.send)
    assert rig.set(dry_run=False).successful
    rig.flow()
    assert len(rig.got['ee_trajectory'][told].points) > 2  # nothing real in between


def test_reset_service_clears_the_policys_memory(make_rig):
    rig = make_rig()
    rig.flow()
    answer = rig.reset()
    assert answer.success
    rig.until(lambda: rig.status()['resets'].get('request') == 1, rig.robot.send)


def test_reset_before_configuration_says_why_not(make_rig):
    answer = make_rig(start=False).reset()
    assert not answer.success and 'unconfigured' in answer.message


def test_late_joiner_gets_the_latched_status(make_rig):
    rig = make_rig()
    rig.flow()
    late = []
    rig.robot.node.create_subscription(String, 'pruned_policy/status',
                                       lambda message: late.append(json.loads(message.data)),
                                       LATCHED)
    status = rig.until(lambda: late and late[0])
    assert status['state'] == 'active' and status['last_step']['published']


def test_overlay_is_drawn_only_while_somebody_looks(make_rig, monkeypatch):
    from vla_pruner_ros.ros import command_publishers as publishers
    drawn = []
    real = publishers.draw_overlay
    monkeypatch.setattr(publishers, 'draw_overlay',
                        lambda *args: drawn.append(1) or real(*args))
    rig = make_rig(BudgetBackend(), pruner='uniform', token_budget=4)
    rig.flow()
    rig.flow()
    assert not drawn
    pictures = []
    subscription = rig.robot.node.create_subscription(Image, 'pruned_policy/overlay',
                                                      pictures.append, qos_profile_sensor_data)
    picture = rig.until(lambda: pictures and pictures[0], rig.robot.send)
    assert (picture.height, picture.width, picture.encoding) == (8, 8, 'rgb8')
    pixels = np.frombuffer(picture.data, np.uint8).reshape(8, 8, 3)
    # Tokens 0..3 of a 4 x 4 grid were kept: the upper two pixel rows stay bright.
    assert pixels[1, 1].tolist() == [255, 255, 255]
    assert pixels[2:].max() < 128
    rig.robot.node.destroy_subscription(subscription)
    rig.until(lambda: not rig.node.session.publishers.overlay_wanted())
    rig.flow()
    before = len(drawn)
    rig.flow()
    assert len(drawn) == before
    assert rig.set(publish_overlay=False).successful


def test_diagnostics_say_what_matters(make_rig):
    rig = make_rig()
    rig.flow()
    rig.until(lambda: rig.diagnostics().get('message') == 'running', rig.robot.send)
    told = rig.diagnostics()
    for key in ('pruner', 'token_budget', 'revision', 'rate_hz', 'reuse_rate', 'steps',
                'stages_ms.total', 'stages_ms.vision', 'resets.activation', 'target_period',
                'cameras.corner.received', 'cameras.corner.lost', 'cameras.corner.lost_share'):
        assert key in told, key
    assert rig.set(target_period=0.001).successful  # a step of the fake alone is not that fast
    rig.backend.predict_action_chunk = slow(rig.backend.predict_action_chunk)
    rig.until(lambda: 'wanted are 1 ms' in rig.diagnostics()['message'], rig.robot.send)
    assert rig.diagnostics()['level'] == '1'


def slow(function):
    def wrapped(*args):
        end = rclpy.clock.Clock().now().nanoseconds + 5_000_000
        while rclpy.clock.Clock().now().nanoseconds < end:
            pass
        return function(*args)
    return wrapped


def test_subscriber_that_cannot_match_is_named_in_the_log(make_rig, capfd):
    rig = make_rig()
    rig.robot.node.create_subscription(String, 'instruction', print, 1)
    rig.robot.node.create_subscription(MultiDOFJointTrajectory, 'pruned_policy/ee_trajectory',
                                       print, LATCHED)
    said = []

    def told():
        said.append(capfd.readouterr().err)
        return 'incompatible quality of service' in ''.join(said)

    rig.until(told)
    assert 'pruned_policy/ee_trajectory asks for' in ''.join(said)
    assert rig.flow().points  # the others still get theirs


def test_simulated_time_is_the_nodes_time(make_rig):
    rig = make_rig(use_sim_time=True)
    clock = rig.robot.node.create_publisher(Clock, '/clock', 1)

    def send(seconds):
        now = Time(sec=seconds)
        clock.publish(Clock(clock=now))
        image = rig.robot.picture()
        image.header.stamp = now
        rig.robot.send(image)

    rig.until(lambda: 'drops.future_camera:corner' in rig.diagnostics(),
              lambda: rig.robot.send(rig.robot.picture()))  # no /clock yet: the node is at 0
    rig.until(lambda: 'no /clock arrives' in rig.diagnostics()['message'])
    rig.until(rig.commands, lambda: send(100))
    assert rig.node.session.watchdog.trips == 0  # the step from 0 to 100 s is no silence
    assert rig.got['ee_trajectory'][0].header.stamp.sec == 100
    rig.until(lambda: rig.node.session.now() == 50 * 10**9, lambda: send(50))  # a bag starts again
    rig.until(lambda: rig.status()['resets'].get('clock_jump'), lambda: send(51))


@pytest.mark.parametrize('reliable', [False, True])
def test_camera_of_either_reliability_is_heard(make_rig, reliable):
    rig = make_rig()
    if reliable:
        node = rig.robot.node
        node.destroy_publisher(rig.robot.images)
        rig.robot.images = node.create_publisher(Image, 'camera/image_raw', 1)
        rig.until(lambda: rig.robot.images.get_subscription_count())
    assert rig.flow().points


def test_sensor_qos_can_be_overridden(make_rig):
    rig = make_rig(start=False)
    topic = f'{rig.namespace}/camera/image_raw'
    parameter = f'qos_overrides.{topic}.subscription.reliability'
    rig.node._parameter_overrides[parameter] = Parameter(parameter, value='reliable')
    rig.node.trigger_configure()
    infos = rig.robot.node.get_subscriptions_info_by_topic(topic) or rig.until(
        lambda: rig.robot.node.get_subscriptions_info_by_topic(topic))
    assert infos[0].qos_profile.reliability.name == 'RELIABLE'
