# SPDX-License-Identifier: Apache-2.0
"""Bad input reaches the node over real topics: counted, silent, recovered."""
import math

import cv2
from geometry_msgs.msg import PoseStamped
import numpy as np
import pytest
import ros_helpers
from sensor_msgs.msg import CompressedImage, JointState

make_rig = ros_helpers.make_rig
BAD_STATE = ('not_finite_joint', 'missing_joint', 'missing_pose', 'skew_pose')


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def refused_then_recovers(rig, bad, reason, **good):
    """Send ``bad`` until it is counted, then good input; no command answers a bad moment."""
    rig.until(lambda: int(rig.diagnostics().get(f'drops.{reason}', 0)), bad)
    assert rig.commands() == 0
    begin = rig.node.session.now()
    command = rig.flow(**good)
    # Order is kept on a reliable topic: the first command that comes is the answer to good input.
    # An image that lacked only its state may be answered once that comes.
    if not reason.startswith(BAD_STATE):
        first = (rig.got['ee_trajectory'] or rig.got['action_chunk'])[0]
        assert stamp_of(first) >= begin
    assert rig.node.session.active and command.points
    rig.until(lambda: rig.diagnostics()['reason'] == '', rig.robot.send)


@pytest.mark.parametrize('bad, reason', [
    (lambda robot: robot.send(gripper=math.nan), 'not_finite_joint:gripper'),
    (lambda robot: robot.send(gripper=math.inf), 'not_finite_joint:gripper'),
    (lambda robot: robot.send(name='elbow'), 'missing_joint:gripper'),
    (lambda robot: robot.images.publish(robot.picture()), 'missing_pose'),
    (lambda robot: robot.send(robot.picture(age=30.0)), 'stale_camera:corner'),
    (lambda robot: robot.send(robot.picture(age=-30.0)), 'future_camera:corner'),
    (lambda robot: robot.send(age=3.0), 'skew_pose'),
    (lambda robot: robot.send(robot.picture(encoding='rgb7')), 'unknown_encoding:corner'),
])
def test_bad_sensor_message_is_counted_and_moves_nothing(make_rig, bad, reason):
    rig = make_rig()
    refused_then_recovers(rig, lambda: bad(rig.robot), reason)


def test_missing_camera_is_named(make_rig):
    rig = make_rig()
    refused_then_recovers(rig, rig.robot.send_state, 'missing_camera:corner')


def jpeg(rig, cut=None):
    done, data = cv2.imencode('.jpg', np.full((8, 8, 3), 255, np.uint8))
    assert done
    message = CompressedImage(format='jpeg', data=data.tobytes()[:cut])
    message.header.stamp = rig.robot.stamp()
    return message


def test_truncated_jpeg_is_counted_and_the_next_whole_one_used(make_rig):
    rig = make_rig(compressed=True, camera_topics=['corner=camera/image_raw/compressed'])
    rig.until(lambda: int(rig.diagnostics().get('drops.truncated_image:corner', 0)),
              lambda: rig.robot.send(jpeg(rig, cut=-10)))
    assert rig.commands() == 0
    rig.until(rig.commands, lambda: rig.robot.send(jpeg(rig)))
    assert rig.backend.calls[-1].images['corner'].min() > 250


def test_raw_image_shorter_than_it_says_is_counted(make_rig):
    rig = make_rig()

    def bad():
        message = rig.robot.picture()
        message.height = 80
        rig.robot.send(message)

    refused_then_recovers(rig, bad, 'truncated_image:corner')


def test_row_padding_is_not_taken_for_pixels(make_rig):
    rig = make_rig()
    rig.until(rig.commands, lambda: rig.robot.send(rig.robot.picture(value=255, pad=13)))
    image = rig.backend.calls[-1].images['corner']
    assert image.shape == (8, 8, 3) and image.min() == 255


def test_camera_that_changes_size_resets_the_policy_and_goes_on(make_rig):
    rig = make_rig()
    rig.flow()
    rig.until(lambda: rig.backend.calls[-1].images['corner'].shape == (12, 12, 3),
              lambda: rig.robot.send(rig.robot.picture(size=12)))
    rig.until(lambda: rig.status()['resets'].get('camera_change') == 1,
              lambda: rig.robot.send(rig.robot.picture(size=12)))
    assert rig.flow().points


@pytest.mark.parametrize('text, reason', [
    ('', 'instruction_empty'), ('   ', 'instruction_empty'),
    ('reach ' * 1667, 'instruction_too_long'), ('x' * 10000, 'instruction_too_long'),
])
def test_bad_instruction_stops_the_policy_until_a_good_one_comes(make_rig, text,
                                                                 reason):
    from std_msgs.msg import String
    rig = make_rig()
    rig.flow()
    rig.robot.instructions.publish(String(data=text))
    rig.until(lambda: rig.diagnostics().get('reason') == reason, rig.robot.send)
    rig.until(lambda: int(rig.diagnostics().get(f'drops.{reason}', 0)))
    before, stop = rig.commands(), rig.node.session.now()
    rig.robot.instructions.publish(String(data='push'))
    rig.flow()
    first = rig.got['ee_trajectory'][before]
    assert stamp_of(first) >= stop
    assert rig.backend.calls[-1].instruction == 'push'


def test_instruction_the_policy_does_not_know_is_refused_by_name(make_rig):
    from std_msgs.msg import String
    rig = make_rig()
    rig.flow()
    rig.robot.instructions.publish(String(data='dance'))
    rig.until(lambda: rig.diagnostics().get('reason') == 'unknown_instruction', rig.robot.send)
    rig.robot.instructions.publish(String(data='reach'))
    rig.until(lambda: rig.diagnostics()['reason'] == '', rig.robot.send)


def test_actions_that_are_not_finite_are_dropped_whole(make_rig):
    rig = make_rig()
    rig.backend.value = math.nan
    rig.until(lambda: int(rig.diagnostics().get('failures.unsafe_action', 0)), rig.robot.send)
    assert rig.commands() == 0 and not rig.got['gripper_command'] and not rig.got['twist']
    rig.backend.value = 0.01
    begin = rig.node.session.now()
    rig.flow()
    assert stamp_of(rig.got['ee_trajectory'][0]) >= begin


def test_pose_in_another_frame_moves_nothing_and_is_named(make_rig):
    rig = make_rig()

    def send(frame):
        image = rig.robot.picture()
        pose = PoseStamped()
        pose.header.stamp, pose.header.frame_id = image.header.stamp, frame
        pose.pose.orientation.w = 1.0
        rig.robot.poses.publish(pose)
        rig.robot.joints.publish(JointState(header=pose.header, name=['gripper'], position=[0.5]))
        rig.robot.images.publish(image)

    rig.until(lambda: rig.diagnostics().get('reason') == 'pose_frame:camera_optical',
              lambda: send('camera_optical'))
    assert int(rig.diagnostics()['drops.pose_frame:camera_optical']) > 0
    assert rig.commands() == 0
    rig.until(rig.commands, lambda: send('base'))


def test_clock_that_jumps_back_resets_the_policy(make_rig):
    rig = make_rig()
    rig.flow()
    rig.until(lambda: rig.diagnostics().get('resets.clock_jump') == '1',
              lambda: rig.robot.send(rig.robot.picture(age=2.0), age=2.0))
