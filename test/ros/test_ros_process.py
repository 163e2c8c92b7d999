# SPDX-License-Identifier: Apache-2.0
"""Whole processes: start by themselves, stop on signals, record what they say."""
import os
import signal
import subprocess
import sys

from paths import HELPERS, ROOT
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
import ros_helpers

from vla_pruner_ros.replay.bag_reader import Bag


def environment():
    path = os.pathsep.join([str(ROOT), str(HELPERS), os.environ.get('PYTHONPATH', '')])
    return {**os.environ, 'PYTHONPATH': path, 'OMP_WAIT_POLICY': 'PASSIVE',
            'PYTHONUNBUFFERED': '1'}


class Side(ros_helpers.Rig):
    """The robot's half of a rig: the node is another process."""

    def __init__(self):
        ros_helpers.Rig.count += 1
        self.namespace = f'/side_{os.getpid()}_{ros_helpers.Rig.count}'
        self.contexts = [Context()]
        rclpy.init(context=self.contexts[0])
        self.robot = ros_helpers.Robot(self.contexts[0], self.namespace)
        self.executors = [SingleThreadedExecutor(context=self.contexts[0])]
        self.executors[0].add_node(self.robot.node)
        self.got = self.robot.got
        self.deadline = 90.0  # importing torch on a busy machine takes its time

    def close(self):
        self.executors[0].shutdown()
        self.robot.node.destroy_node()
        self.contexts[0].try_shutdown()


@pytest.fixture
def side():
    made = Side()
    yield made
    made.close()


@pytest.fixture
def start():
    processes = []

    def run(*command):
        processes.append(subprocess.Popen([sys.executable, *command], env=environment(), text=True,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return processes[-1]
    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def node_arguments(side, **changes):
    values = {**ros_helpers.DEFAULTS, 'autostart': True, **changes}
    out = ['--ros-args', '-r', f'__ns:={side.namespace}']
    for name, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        out += ['-p', f'{name}:={text}']
    return out


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_node_starts_by_itself_and_a_signal_ends_it_after_a_hold(start, side, number):
    node = start(str(HELPERS / 'ros_fake_node.py'), *node_arguments(side))
    side.until(lambda: side.status().get('state') == 'active')
    side.flow()
    node.send_signal(number)
    side.until(lambda: ros_helpers.is_hold(side.got['ee_trajectory'][-1]))  # the safe action
    out, _ = node.communicate(timeout=60)
    assert node.returncode == 0, out
    assert 'Traceback' not in out


def test_no_model_code_is_loaded_before_the_node_is_configured(start):
    # OpenMP reads OMP_WAIT_POLICY when torch is loaded, and main() sets it.
    node = start('-c', 'import sys, vla_pruner_ros.ros.policy_node; '
                       'sys.exit("torch" in sys.modules)')
    out, _ = node.communicate(timeout=60)
    assert node.returncode == 0, out


def test_value_refused_at_start_is_one_line_and_exit_status_2(start, side):
    node = start('-m', 'vla_pruner_ros.ros.policy_node', *node_arguments(side, pruner='best'))
    out, _ = node.communicate(timeout=90)
    assert node.returncode == 2
    assert "pruner is 'best'; accepted: one of none, random" in out and 'Traceback' not in out


@pytest.mark.parametrize('arguments', [['-p', 'no_value'], ['--params-file', '/no/such/file'],
                                       ['--no-such-option']])
def test_ros_arguments_that_ros_refuses_are_one_line_and_exit_status_2(start, arguments):
    node = start('-c', 'import sys; from vla_pruner_ros.cli.nodes import sim_robot; '
                       'sys.exit(sim_robot())', '--ros-args', *arguments)
    out, _ = node.communicate(timeout=90)
    assert node.returncode == 2
    assert out.splitlines()[-1].startswith('sim_robot: error: ROS cannot start')
    assert 'Traceback' not in out


@pytest.mark.parametrize('home', [None, '/proc'])
def test_a_home_that_cannot_be_written_does_not_stop_a_process(start, monkeypatch, home, tmp_path):
    monkeypatch.delenv('ROS_LOG_DIR', raising=False)
    monkeypatch.delenv('HOME')
    if home:
        monkeypatch.setenv('HOME', home)
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    process = start('-c', 'from vla_pruner_ros.ros.ros_process import ros_process\n'
                          'with ros_process(): print("runs")')
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and out.endswith('runs\n')
    assert out.startswith(f'ROS log files go to {tmp_path}/vla_pruner_ros_log_')


def test_a_topic_that_cannot_be_is_refused_before_a_bag_is_made(start, tmp_path):
    recorder = start('-m', 'vla_pruner_ros.cli.main', 'record', '--topics', 'a//b',
                     '-o', str(tmp_path / 'bag'))
    out, _ = recorder.communicate(timeout=60)
    assert recorder.returncode == 2 and '--topics a//b' in out
    assert not (tmp_path / 'bag').exists()


def test_failed_autostart_keeps_the_node_reachable(start, side):
    node = start('-m', 'vla_pruner_ros.ros.policy_node',
                 *node_arguments(side, checkpoint='/no/such/directory'))
    side.until(lambda: '/no/such/directory' in side.status().get('failure', ''))
    assert side.status()['state'] == 'unconfigured'
    assert side.set(checkpoint='/neither/this').successful
    node.send_signal(signal.SIGINT)
    node.communicate(timeout=60)
    assert node.returncode == 0


def test_recorder_writes_a_bag_that_can_be_read_back(start, side, tmp_path):
    topics = [f'{side.namespace}/{name}' for name in
              ('camera/image_raw', 'joint_states', 'ee_pose', 'never_published')]
    recorder = start('-m', 'vla_pruner_ros.cli.main', 'record', '--topics', *topics,
                     '-o', str(tmp_path / 'bag'))
    robot = side.robot
    side.until(lambda: robot.images.get_subscription_count()
               and robot.joints.get_subscription_count() and robot.poses.get_subscription_count())
    sent = 0

    def send():
        nonlocal sent
        sent += 1
        robot.send(robot.picture(value=sent))

    side.until(lambda: sent >= 12, send)
    recorder.send_signal(signal.SIGINT)
    out, _ = recorder.communicate(timeout=60)
    assert recorder.returncode == 0, out
    assert 'nobody published it' in out
    with Bag(tmp_path / 'bag') as bag:
        assert set(bag.topics) == set(topics[:3])
        assert bag.topics[topics[0]].type_name == 'sensor_msgs/msg/Image'
        values = [message.data[0] for _, _, message in bag.messages([topics[0]])]
        assert len(values) > 5 and values == sorted(values) and max(values) <= sent
        _, logged, pose = next(iter(bag.messages([topics[2]])))
        stamp = pose.header.stamp.sec * 10**9 + pose.header.stamp.nanosec
        assert pose.pose.position.z == 0.3
        assert stamp <= logged < stamp + 10 * 10**9


def test_recorder_stops_after_its_duration(start, side, tmp_path):
    recorder = start('-m', 'vla_pruner_ros.cli.main', 'record', '--topics',
                     f'{side.namespace}/joint_states', '-o', str(tmp_path / 'bag'),
                     '--duration', '0.2')
    side.until(lambda: recorder.poll() is not None, side.robot.send_state)
    assert recorder.returncode == 0


def test_recorder_that_heard_nothing_says_so(start, side, tmp_path):
    recorder = start('-m', 'vla_pruner_ros.cli.main', 'record', '--topics', '/silence',
                     '-o', str(tmp_path / 'bag'))
    side.until(lambda: any(name == 'vla_pruner_record'
                           for name in side.robot.node.get_node_names()))
    recorder.send_signal(signal.SIGINT)
    out, _ = recorder.communicate(timeout=60)
    assert recorder.returncode == 2 and 'no message came on /silence' in out
