# SPDX-License-Identifier: Apache-2.0
"""Silence and surprises: the robot is told to stay, once, and the node goes on."""
import pytest
import ros_helpers
from ros_helpers import FakeBackend, is_hold, JOINT_SPEC, place
from sensor_msgs.msg import JointState

make_rig = ros_helpers.make_rig


def test_silence_holds_the_measured_pose_once_and_is_reported(make_rig):
    rig = make_rig(max_image_age=60.0)
    rig.flow()
    assert rig.set(watchdog_timeout=0.3).successful
    rig.until(lambda: is_hold(rig.got['ee_trajectory'][-1]))
    assert place(rig.got['ee_trajectory'][-1]) == pytest.approx((0.1, 0.2, 0.3), abs=0.09)
    rig.until(lambda: rig.diagnostics().get('level') == '2'
              and 'no chunk for' in rig.diagnostics()['message'])
    silent = rig.node.session.watchdog
    begin = rig.node.session.now()
    rig.until(lambda: silent.silence_ns(rig.node.session.now()) > 10**9)
    assert silent.trips == 1
    rig.flow()
    rig.until(lambda: not is_hold(rig.got['ee_trajectory'][-1]), rig.robot.send)
    assert len([one for one in rig.got['ee_trajectory'] if is_hold(one)
                and one.header.stamp.sec * 10**9 > begin + 10**9]) == 0
    rig.until(lambda: rig.diagnostics()['message'] == 'running', rig.robot.send)


def test_zero_sends_no_pose_but_zero_velocity(make_rig):
    rig = make_rig(watchdog_timeout=0.3, watchdog_action='zero')
    rig.until(lambda: rig.node.session.watchdog.trips == 1, rig.robot.send_state)
    rig.until(lambda: rig.got['twist'])
    assert rig.got['twist'][-1].twist.linear.x == 0.0
    rig.flow()
    assert not is_hold(rig.got['ee_trajectory'][0])


def test_none_sends_nothing(make_rig):
    rig = make_rig(watchdog_timeout=0.3, watchdog_action='none')
    rig.until(lambda: rig.node.session.watchdog.trips == 1, rig.robot.send_state)
    rig.flow()
    assert not is_hold(rig.got['ee_trajectory'][0])
    assert rig.until(lambda: rig.got['twist'])[0].twist.linear.x > 0.0


def test_hold_without_a_fresh_pose_invents_none(make_rig):
    rig = make_rig(watchdog_timeout=0.3)
    rig.until(lambda: rig.node.session.watchdog.trips == 1)  # nothing was ever received
    rig.until(lambda: rig.got['twist'])
    rig.flow()
    assert not is_hold(rig.got['ee_trajectory'][0])


def test_joint_policy_holds_its_measured_joints(make_rig):
    rig = make_rig(FakeBackend(JOINT_SPEC), watchdog_timeout=0.5, pose_topic='')

    def send():
        state = JointState(name=['j2', 'other', 'j1'], position=[2.0, 9.0, 1.0])
        state.header.stamp = rig.robot.stamp()
        rig.robot.joints.publish(state)

    rig.until(lambda: rig.got['action_chunk'], send)
    message = rig.got['action_chunk'][0]
    assert message.joint_names == ['j1', 'j2']
    assert [list(one.positions) for one in message.points] == [[1.0, 2.0]] * 2
    assert message.points[0].time_from_start.nanosec >= 25_000_000


def test_lock_step_robot_is_left_alone(make_rig):
    rig = make_rig(watchdog_timeout=0.3, lock_step=True)
    rig.flow()
    rig.until(lambda: rig.node.session.watchdog.silence_ns(rig.node.session.now()) > 10**9)
    assert rig.node.session.watchdog.trips == 0


def test_switched_to_dry_run_while_inactive_the_robot_hears_nothing(make_rig):
    rig = make_rig()
    rig.flow()
    rig.node.trigger_deactivate()
    rig.until(lambda: is_hold(rig.got['ee_trajectory'][-1]))
    told = rig.commands()
    assert rig.set(dry_run=True).successful
    rig.node.trigger_activate()
    rig.until(lambda: rig.got['dry_run/ee_trajectory'], rig.robot.send)
    assert rig.set(dry_run=False).successful
    rig.flow()
    assert not is_hold(rig.got['ee_trajectory'][told])


def test_unexpected_error_in_the_control_step_stops_the_robot_and_the_node_goes_on(
        make_rig, monkeypatch, capfd):
    rig = make_rig()
    rig.flow()
    runner = rig.node.session.runner
    real, broken = runner.tick, []

    def tick(*args):
        if not broken:
            broken.append(1)
            raise ZeroDivisionError('a bug')
        return real(*args)

    monkeypatch.setattr(runner, 'tick', tick)
    rig.until(lambda: is_hold(rig.got['ee_trajectory'][-1]))
    rig.until(lambda: rig.diagnostics().get('exceptions') == '1')
    rig.flow()
    rig.until(lambda: rig.diagnostics()['message'] == 'running', rig.robot.send)
    said = capfd.readouterr().err
    assert 'ZeroDivisionError: a bug' in said and 'Traceback' in said


def test_failing_policy_is_counted_and_used_again_when_it_works(make_rig):
    rig = make_rig()
    rig.flow()
    rig.backend.fail = RuntimeError('CUDA error')
    rig.until(lambda: rig.diagnostics().get('failures.backend_error') == '1', rig.robot.send)
    rig.flow()
    assert rig.status()['state'] == 'active'
