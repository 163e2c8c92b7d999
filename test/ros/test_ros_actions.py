# SPDX-License-Identifier: Apache-2.0
"""Controllers that are told by goals: an arm in two halves, and grippers."""
import asyncio
import sys
import threading

import fake_control_msgs
from fake_control_msgs import ABORTED, GripperCommand
import numpy as np
import pytest
from rclpy.action import ActionClient
import ros_helpers
from ros_helpers import FakeBackend, make_spec
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.ros.outputs.action_sender import OrderlyClient
from vla_pruner_ros.ros.outputs.control_actions import action_type, goal_for
from vla_pruner_ros.runtime.output_lines import OutputLine

make_rig = ros_helpers.make_rig
SPEC = make_spec(action_kind='joint_position', action_names=('a', 'b', 'grip'), gripper_index=2,
                 state_names=('a', 'b'), gripper_open=1.0, gripper_closed=-1.0)
BOTH = ['left=follow_joint_trajectory:/left/follow#0', 'right=follow_joint_trajectory:/right/go#1']


class Backend(FakeBackend):
    """Both joints move by 0.002 per row; the gripper does what ``grip`` says, row by row."""

    grip = -1.0

    def predict_action_chunk(self, observation, selector):
        answer = super().predict_action_chunk(observation, selector)
        answer.actions[:, :2] = 0.002 * np.arange(1, 9)[:, None]
        answer.actions[:, 2] = self.grip
        return answer


@pytest.fixture
def servers(monkeypatch):
    return fake_control_msgs.install(monkeypatch)


def make(make_rig, outputs, **parameters):
    rig = make_rig(Backend(SPEC), start=False, outputs=outputs, pose_topic='', **parameters)
    for line in outputs:
        name = line.partition('=')[0]
        for topic in (name, f'dry_run/{name}'):
            rig.robot._listen(JointTrajectory, topic, 10)
    rig.start()
    return rig


def send(rig):
    state = JointState(name=['a', 'b'], position=[0.0, 0.0])
    state.header.stamp = rig.robot.stamp()
    rig.robot.joints.publish(state)
    rig.robot.images.publish(rig.robot.picture())


def until(rig, servers, predicate):
    """Feed the node and let controllers answer until the predicate is true."""
    def fed():
        for server in list(servers.values()):
            server.answer()
        return predicate()
    return rig.until(fed, lambda: send(rig))


def ends(goal):
    """Positions in which a trajectory ends, and whether it holds them."""
    points = goal.trajectory.points
    return list(points[-1].positions), points[-1].positions == points[-2].positions


def test_both_halves_get_their_columns_of_the_same_plan(make_rig, servers):
    rig = make(make_rig, BOTH)
    left, right = servers['/left/follow'], servers['/right/go']
    until(rig, servers, lambda: right.goals and left.goals)
    first, second = left.goals[0].trajectory, right.goals[0].trajectory
    assert (first.joint_names, second.joint_names) == (['a'], ['b'])
    assert first.header == second.header
    assert [one.time_from_start for one in first.points] == [
        one.time_from_start for one in second.points]
    assert list(first.points[-1].positions) == pytest.approx([0.016])
    assert list(first.points[-1].velocities) == [0.0]


def test_half_a_command_never_leaves(make_rig, servers, monkeypatch):
    from vla_pruner_ros.ros import message_encoding
    real, broken = message_encoding.encode, []

    def encode(line, *args):
        if line.name == 'right' and not broken:
            broken.append(1)
            raise ValueError('a bug')
        return real(line, *args)
    monkeypatch.setattr(message_encoding, 'encode', encode)
    rig = make(make_rig, BOTH)
    until(rig, servers, lambda: broken and servers['/left/follow'].goals)
    assert ends(servers['/left/follow'].goals[0])[1]  # what came first is the hold


def test_a_new_goal_replaces_the_last_and_that_is_no_trouble(make_rig, servers):
    rig = make(make_rig, BOTH)
    left = servers['/left/follow']
    until(rig, servers, lambda: len(left.handles) > 3)
    facts = until(rig, servers, lambda: rig.status().get('outputs'))
    assert facts['left']['trouble'] == '' and facts['left']['aborted'] == 0
    assert facts['left']['goals'] >= 3


def test_nothing_leaves_until_both_servers_are_there_and_that_is_said(make_rig, servers, capfd):
    servers['/right/go'].up = False
    rig = make(make_rig, BOTH)
    left, right = servers['/left/follow'], servers['/right/go']
    until(rig, servers, lambda: 'output right (/right/go): no_server'
          in rig.diagnostics()['message'])
    until(rig, servers, lambda: rig.diagnostics().get('failures.no_server:right', '0') != '0')
    assert left.goals == [] == right.goals
    assert 'no command: no_server:right' in capfd.readouterr().err
    right.up = True
    until(rig, servers, lambda: right.goals and left.goals)
    until(rig, servers, lambda: rig.diagnostics()['message'] == 'running')


def test_a_server_that_goes_stops_the_other_half_and_is_waited_for(make_rig, servers):
    rig = make(make_rig, BOTH)
    left, right = servers['/left/follow'], servers['/right/go']
    until(rig, servers, lambda: right.goals)
    right.up = False
    until(rig, servers, lambda: ends(left.goals[-1])[1])  # a hold
    sent = len(right.goals)
    until(rig, servers, lambda: rig.diagnostics().get('outputs.right.lost', '0') != '0')
    assert len(right.goals) == sent
    right.up = True
    until(rig, servers, lambda: len(right.goals) > sent and not ends(right.goals[-1])[1])


@pytest.mark.parametrize('what', ['rejected', 'aborted'])
def test_a_goal_that_is_not_carried_out_stops_both_and_is_counted(make_rig, servers, what):
    rig = make(make_rig, BOTH)
    left, right = servers['/left/follow'], servers['/right/go']
    until(rig, servers, lambda: left.handles)
    if what == 'rejected':
        left.rejects = True
    else:
        left.handles[-1].end(ABORTED, 'tolerance')
    until(rig, servers, lambda: ends(right.goals[-1])[1])
    until(rig, servers, lambda: int(rig.diagnostics().get(f'outputs.left.{what}', '0')) > 0)
    assert int(rig.diagnostics()[f'failures.goal_{what}:left']) > 0
    left.rejects = False
    until(rig, servers, lambda: rig.diagnostics().get('outputs.left.trouble') == '')
    until(rig, servers, lambda: rig.diagnostics()['message'] == 'running')


def test_a_controller_that_never_answers_is_counted_and_the_other_half_stopped(
        make_rig, servers, monkeypatch):
    monkeypatch.setattr('vla_pruner_ros.ros.outputs.action_sender.PATIENCE', 0.2)
    servers['/right/go'].silent = True
    rig = make(make_rig, BOTH)
    until(rig, servers, lambda: int(rig.diagnostics().get('outputs.right.unanswered', '0')) > 1)
    until(rig, servers, lambda: ends(servers['/left/follow'].goals[-1])[1])
    assert int(rig.diagnostics()['failures.no_answer:right']) > 0


def test_deactivation_ends_with_a_goal_that_holds(make_rig, servers):
    rig = make(make_rig, BOTH)
    left = servers['/left/follow']
    until(rig, servers, lambda: left.handles)
    rig.node.trigger_deactivate()
    place, held = ends(left.goals[-1])
    assert held and -0.001 <= place[0] <= 0.017
    sent = len(left.goals)
    rig.node.trigger_cleanup()
    assert len(left.goals) == sent and left.cancelled == 0


def test_where_nothing_is_known_to_hold_the_goal_is_cancelled(make_rig, servers):
    rig = make(make_rig, BOTH)
    until(rig, servers, lambda: servers['/left/follow'].handles)
    rig.node.session.runner.motion.clear()
    rig.node.session.runner.cache.clear()
    rig.node.trigger_deactivate()
    assert servers['/left/follow'].cancelled == 1


def test_in_dry_run_goals_become_trajectories_and_no_server_is_needed(make_rig, servers):
    for name in ('/left/follow', '/right/go', '/grip'):
        servers[name].up = False
    rig = make(make_rig, [*BOTH, 'g=gripper_action:/grip'], dry_run=True)
    got = rig.got
    until(rig, servers, lambda: got['dry_run/left'] and got['dry_run/right'] and got['dry_run/g'])
    assert list(got['dry_run/left'][0].points[-1].positions) == pytest.approx([0.016])
    assert [list(one.positions) for one in got['dry_run/g'][0].points] == [[0.0]]  # closed
    rig.node.trigger_deactivate()
    assert all(server.goals == [] for server in servers.values())


def test_a_gripper_is_asked_only_when_the_decision_changes(make_rig, servers):
    rig = make(make_rig, ['arm=joint_trajectory', 'g=gripper_action:/grip'],
               gripper_open=0.04, gripper_closed=0.0, gripper_effort=12.0)
    grip = servers['/grip']
    until(rig, servers, lambda: int(rig.status().get('steps', 0)) > 5 and grip.goals)
    assert [one.command.position for one in grip.goals] == [0.0]
    rig.backend.grip = 1.0
    until(rig, servers, lambda: len(grip.goals) > 1)
    assert [one.command.position for one in grip.goals] == [0.0, 0.04]
    assert grip.goals[1].command.max_effort == 12.0


def test_a_gripper_opens_when_its_row_is_executed_not_when_the_chunk_comes(make_rig, servers):
    rig = make(make_rig, ['arm=joint_trajectory', 'g=gripper_action:/grip'])
    late = [-1.0] * 6 + [1.0] * 2  # open in row 6: 0.3 s after the beginning
    rig.backend.grip = late
    session, seen = rig.node.session, []

    def watched():
        servers['/grip'].answer()
        if len(servers['/grip'].goals) == 2:
            seen.append(session.now())
        return seen
    rig.until(lambda: session.runner.motion.path, lambda: send(rig))
    begin = session.runner.motion.path.start_ns
    rig.until(watched)  # no further image: one chunk
    assert seen[0] - begin >= 0.3e9 - 1e7


def test_a_stop_takes_back_what_the_gripper_has_still_ahead(make_rig, servers):
    rig = make(make_rig, ['arm=joint_trajectory', 'g=gripper_trajectory'])
    rig.backend.grip = [-1.0] * 6 + [1.0] * 2
    heard = rig.got['g']
    rig.until(lambda: heard, lambda: send(rig))
    assert heard[0].points[-1].positions[0] == 1.0
    rig.node.trigger_deactivate()
    rig.until(lambda: [one.positions[0] for one in heard[-1].points][-2:] == [0.0, 0.0])
    assert {one.positions[0] for one in heard[-1].points} == {0.0}


def test_after_a_stop_no_gripper_opens_that_was_to_open_later(make_rig, servers):
    rig = make(make_rig, ['arm=joint_trajectory', 'g=gripper_action:/grip'])
    rig.backend.grip = [-1.0] * 4 + [1.0] * 4  # open 0.2 s after the beginning
    session = rig.node.session
    rig.until(lambda: session.runner.motion.path, lambda: send(rig))
    session.stop_for('a bug')
    begin, player = session.now(), session.publishers._streams[0]._player
    stopped = player.stopping
    rig.until(lambda: session.now() > begin + 6e8)
    assert stopped and not player.stopping
    assert [one.command.position for one in servers['/grip'].goals] == [0.0]


def test_a_rejected_gripper_goal_is_tried_again_and_the_arm_goes_on(make_rig, servers,
                                                                    monkeypatch):
    monkeypatch.setattr('vla_pruner_ros.ros.outputs.action_sender.PATIENCE', 0.2)
    servers['/grip'].rejects = True
    rig = make(make_rig, ['arm=joint_trajectory', 'g=gripper_action:/grip'])
    until(rig, servers, lambda: len(servers['/grip'].goals) > 2)
    until(rig, servers, lambda: 'output g (/grip): rejected' in rig.diagnostics()['message'])
    assert 'failures.goal_rejected:g' not in rig.diagnostics()


def test_goals_of_parallel_grippers_name_the_joint():
    goal = goal_for(fake_control_msgs.ParallelGripperCommand, 'parallel_gripper_action',
                    trajectory(0.03), 5.0)
    assert (list(goal.command.name), list(goal.command.position)) == (['finger'], [0.03])
    assert list(goal.command.effort) == [5.0]
    free = goal_for(fake_control_msgs.ParallelGripperCommand, 'parallel_gripper_action',
                    trajectory(0.03), 0.0)
    assert list(free.command.effort) == []


def trajectory(position):
    from vla_pruner_ros.ros.message_encoding import joint_trajectory
    return joint_trajectory(['finger'], [[position]], [5], 5)


def test_without_control_msgs_configuration_fails_and_names_the_package(make_rig, monkeypatch):
    for name in ('control_msgs', 'control_msgs.action'):
        monkeypatch.setitem(sys.modules, name, None)
    rig = make_rig(Backend(SPEC), start=False, pose_topic='', outputs=BOTH)
    rig.node.trigger_configure()
    assert rig.node.state == 'unconfigured'
    told = rig.node.facts()['failure']
    assert "'left' is a follow_joint_trajectory" in told
    assert 'apt install ros-$ROS_DISTRO-control-msgs' in told
    assert rig.set(outputs=['arm=joint_trajectory']).successful
    rig.node.trigger_configure()
    assert rig.node.state == 'inactive'  # nothing was left behind


def test_an_old_control_msgs_says_what_it_has(servers):
    line = OutputLine('g', 'parallel_gripper_action', '/g', (2,), (None,), ('finger',), 30.0)
    assert action_type(line) is fake_control_msgs.ParallelGripperCommand
    sys.modules['control_msgs.action'].__dict__.pop('ParallelGripperCommand')
    with pytest.raises(ConfigError, match='accepted: follow_joint_trajectory, gripper_action'):
        action_type(line)
    assert sys.modules['control_msgs.action'].GripperCommand is GripperCommand


def test_an_answer_that_is_faster_than_rclpys_notes_is_not_lost(monkeypatch):
    order, entered, release = [], threading.Event(), threading.Event()

    def slow(self, goal):
        entered.set()
        assert release.wait(20)
        order.append('noted')

    async def handle(self, data):
        order.append('answered')
    monkeypatch.setattr(ActionClient, '__init__', lambda self: None)
    monkeypatch.setattr(ActionClient, 'send_goal_async', slow)
    monkeypatch.setattr(ActionClient, 'execute', handle)
    client = OrderlyClient()
    threads = [threading.Thread(target=client.send_goal_async, args=(None,)),
               threading.Thread(target=lambda: asyncio.run(client.execute(None)))]
    threads[0].start()
    assert entered.wait(20)
    threads[1].start()
    threads[1].join(0.2)
    release.set()
    for one in threads:
        one.join()
    assert order == ['noted', 'answered']
