# SPDX-License-Identifier: Apache-2.0
"""The whole demo over real topics: processes, chunks, live budgets, pictures; and how it ends."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

from paths import ROOT
import pytest

DEADLINE = 240.0  # seconds


class Demo:
    """A running demo; its output is read line by line."""

    def __init__(self, folder, *arguments):
        self.folder = folder
        self.lines = []
        self._process = subprocess.Popen(
            [sys.executable, '-u', '-m', 'vla_pruner_ros.cli.main', 'demo', '--out', str(folder),
             *arguments],  # the domain is that of the tests, ROS_DOMAIN_ID
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL)
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.rstrip('\n'))
                self._news.notify_all()
        with self._news:
            self.lines.append('<end>')
            self._news.notify_all()

    @property
    def text(self):
        return '\n'.join(self.lines)

    def wait_for(self, words):
        with self._news:
            assert self._news.wait_for(
                lambda: words in self.text or '<end>' in self.lines, DEADLINE), self.text
        assert words in self.text, self.text

    def pids(self):
        return {name: int(pid) for name, pid in re.findall(r'(\w+) \(pid (\d+)\)', self.text)}

    @property
    def pid(self):
        return self._process.pid

    def signal(self, number):
        self._process.send_signal(number)

    def end(self):
        self.wait_for('<end>')
        return self._process.wait(DEADLINE)

    def close(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(*arguments):
        running.append(Demo(tmp_path / f'demo{len(running)}', *arguments))
        return running[-1]
    yield begin
    for one in running:
        one.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_robot_is_driven_over_topics_and_the_budget_changes_while_it_runs(start):
    demo = start('--tasks', 'reach-v3', '--episodes', '1', '--budgets', 'all,49', '--horizon', '2')
    assert demo.end() == 0, demo.text
    document = json.loads((demo.folder / 'demo.json').read_text())
    full, pruned = document['episodes']
    for episode in (full, pruned):
        assert episode['refused'] == {} and 0 < episode['steps'] <= 125
        # One answer per two control steps; the last chunk may be cut short by success.
        assert len(episode['policy_steps']) == -(-episode['steps'] // 2)
        assert all(step['published'] for step in episode['policy_steps'])
    assert all(step['kept'] == [196] for step in full['policy_steps'])
    assert {step['token_budget'] for step in pruned['policy_steps']} == {49}
    assert all(step['kept'] == [49] for step in pruned['policy_steps'] if step['pruned'])
    assert any(step['pruned'] for step in pruned['policy_steps'])
    assert pruned['policy_steps'][0]['revision'] > full['policy_steps'][0]['revision']
    for name in ('film_reach-v3.png', 'summary.png'):
        assert (demo.folder / name).stat().st_size > 10_000
        assert str(demo.folder / name) in demo.text
    assert 'success' in demo.text and 'tokens kept' in demo.text
    assert not [pid for pid in demo.pids().values() if alive(pid)]


def two_camera_policy(folder):
    """A small policy with random weights for the tabletop."""
    from safetensors.torch import save_file
    import torch

    from vla_pruner_ros.backends.pocket.pocket_model import PocketConfig, PocketVLA, UNKNOWN
    torch.manual_seed(0)
    config = PocketConfig(
        words=(UNKNOWN, 'reach', 'the', 'red', 'cube'), cameras=('front', 'wrist'), hidden=32,
        heads=1, inner=64, layers=2, instructions={'reach-colour': 'reach the red cube'},
        state_mean=(0.4, 0.0, 0.2, 0.8), state_std=(0.1, 0.1, 0.1, 0.3))
    folder.mkdir()
    (folder / 'pocket_vla.json').write_text(json.dumps(config.to_json()))
    save_file({name: value.contiguous() for name, value in PocketVLA(config).state_dict().items()},
              folder / 'pocket_vla.safetensors')
    return folder


def test_a_two_camera_policy_drives_the_tabletop_and_gets_each_episodes_instruction(
        start, tmp_path):
    folder = two_camera_policy(tmp_path / 'policy')
    demo = start('--checkpoint', str(folder), '--episodes', '4', '--budgets', '49',
                 '--horizon', '8')
    assert demo.end() == 0, demo.text
    episodes = json.loads((demo.folder / 'demo.json').read_text())['episodes']
    assert [one['seed'] for one in episodes] == [900_000, 900_001, 900_002, 900_003]
    told = [one['instruction'] for one in episodes]
    assert len(set(told)) > 1
    assert all(f'"{words}"' in demo.text and '{' not in words for words in told)
    for number, episode in enumerate(episodes):
        assert episode['task'] == 'reach-colour' and episode['refused'] == {}
        steps = episode['policy_steps']
        assert len(steps) == -(-episode['steps'] // 8) and all(one['published'] for one in steps)
        assert all(one['kept'] == ([49, 49] if one['pruned'] else [196, 196]) for one in steps)
        changed = bool(number) and told[number] != told[number - 1]
        assert ('instruction' in steps[0]['resets']) == changed
    assert (demo.folder / 'film_reach-colour.png').stat().st_size > 10_000


def test_ctrl_c_ends_everything(start):
    demo = start('--tasks', 'reach-v3', '--episodes', '1000', '--budgets', 'all')
    demo.wait_for('Both nodes are up')
    assert set(demo.pids()) == {'sim_robot', 'pruned_policy'}
    demo.signal(signal.SIGINT)
    assert demo.end() == 130
    assert not [pid for pid in demo.pids().values() if alive(pid)]


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_and_a_polite_end_leave_nothing_behind(start, number):
    demo = start('--tasks', 'reach-v3', '--episodes', '1000', '--budgets', 'all')
    demo.wait_for('Started sim_robot')
    demo.signal(number)
    assert demo.end() == 130
    assert len(demo.pids()) == 2 and not [pid for pid in demo.pids().values() if alive(pid)]


def test_the_nodes_end_when_the_demo_is_killed(start):
    demo = start('--tasks', 'reach-v3', '--episodes', '1000', '--budgets', 'all')
    demo.wait_for('Both nodes are up')
    demo.signal(signal.SIGKILL)
    assert demo.end() == -signal.SIGKILL
    end = time.monotonic() + DEADLINE
    while [pid for pid in demo.pids().values() if alive(pid)]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(demo.pids()) == 2


def test_a_second_demo_in_the_domain_is_refused_at_once(start):
    first = start('--tasks', 'reach-v3', '--episodes', '1000', '--budgets', 'all')
    first.wait_for('ROS_DOMAIN_ID=')
    second = start('--tasks', 'reach-v3')
    assert second.end() == 2
    assert f'another demo (pid {first.pid}) runs in ROS domain' in second.text
    assert '--domain' in second.text and 'Started' not in second.text


@pytest.mark.parametrize('name', ['sim_robot', 'pruned_policy'])
def test_a_domain_with_such_a_node_is_refused_before_anything_starts(start, name):
    import rclpy
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(name, context=context)
    try:
        demo = start('--tasks', 'reach-v3')
        assert demo.end() == 2
    finally:
        node.destroy_node()
        context.try_shutdown()
    assert f'is busy: there already: /{name}' in demo.text and not demo.pids()


def test_a_node_that_dies_is_reported_with_its_last_words(start):
    demo = start('--tasks', 'reach-v3', '--episodes', '1000', '--budgets', 'all')
    demo.wait_for('Both nodes are up')
    os.kill(demo.pids()['sim_robot'], signal.SIGKILL)
    assert demo.end() == 1
    assert 'sim_robot ended with status -9' in demo.text
    assert not [pid for pid in demo.pids().values() if alive(pid)]
