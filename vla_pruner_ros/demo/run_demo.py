# SPDX-License-Identifier: Apache-2.0
"""The whole loop on one machine, through real ROS topics.

Starts the simulated robot and the policy as two processes, drives them from here as an operator
would, changes the token budget while they run, and ends with a table and pictures.
"""
import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any

from vla_pruner_ros.backends.shipped_policies import (
    policy_facts,
    PolicyFacts,
)
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.demo import demo_report as report
from vla_pruner_ros.demo.demo_pictures import film_strip, pyplot, summary
from vla_pruner_ros.demo.node_processes import (
    environment,
    ProcessDied,
    Processes,
    ros_arguments,
)

LEGEND = """
Milliseconds are medians per model run; policy Hz and robot Hz are steps per second of wall time,
the simulator included.  "pruned" is the share of model runs that dropped tokens: the first ones of
an episode are the warm-up of the method and drop none.
"""
BAG_TOPICS = ('/joint_states', '/ee_pose', '/instruction',
              '/pruned_policy/ee_trajectory', '/pruned_policy/gripper_command',
              '/pruned_policy/status', '/sim_robot/episode')


def check(options: argparse.Namespace
          ) -> tuple[PolicyFacts, list[str], tuple[report.Block, ...]]:
    """Facts of the policy, tasks and blocks of a command line.

    Raises:
        ConfigError: something is not usable; names it and what is accepted.
        MissingDependencyError: matplotlib is missing.
    """
    from vla_pruner_ros.robots.camera_topics import cameras_of, check_cameras
    name = options.checkpoint or options.policy
    policy = policy_facts(name)
    tasks = ([task.strip() for task in options.tasks.split(',')] if options.tasks
             else list(policy.tasks))
    for task in tasks:
        check_cameras(name, policy.cameras, task, cameras_of(task))
    for name, low, high in (('episodes', 1, 1000), ('horizon', 1, 1000), ('domain', 0, 232),
                            ('seed', 0, 2**31 - 1 - 1000)):
        value = getattr(options, name)
        if not low <= value <= high:
            raise ConfigError(f'--{name} is {value}; accepted: {low} to {high}')
    if options.viewer and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise ConfigError('--viewer needs a screen (DISPLAY and WAYLAND_DISPLAY are not set)')
    if options.keep_bag and (options.out / 'bag').exists():
        raise ConfigError(f'{options.out / "bag"} exists; remove it or choose another --out')
    pyplot()
    return policy, tasks, report.parse_blocks(options.budgets)


def start(processes: Processes, options: argparse.Namespace, policy: PolicyFacts,
          task: str) -> None:
    """Start the robot (that of the first ``task``), the policy and, if wanted, the recorder."""
    from vla_pruner_ros.robots.camera_topics import camera_topics, image_topic, MAX_SKEW
    lock_step = not options.real_time
    processes.start('sim_robot', 'vla_pruner_ros.robots.node.robot_node', ros_arguments({
        'lock_step': lock_step, 'execution_horizon': options.horizon, 'autostart': False,
        'viewer': options.viewer, 'task': task}))
    checkpoint = os.path.abspath(options.checkpoint) if options.checkpoint else options.policy
    skew = {'max_skew': MAX_SKEW} if len(policy.cameras) > 1 else {}
    processes.start('pruned_policy', 'vla_pruner_ros.ros.policy_node', ros_arguments({
        'lock_step': lock_step, 'execution_horizon': options.horizon, 'pruner': options.pruner,
        'token_budget': 0, 'checkpoint': checkpoint,
        'camera_topics': camera_topics(policy.cameras), **skew}))
    if options.keep_bag:
        images = [image_topic(camera) for camera in policy.cameras]
        processes.start('record', 'vla_pruner_ros.cli.main', [
            'record', '--topics', *images, *BAG_TOPICS, '--output', str(options.out / 'bag')])


def run(client: Any, options: argparse.Namespace, policy: PolicyFacts, tasks: Sequence[str],
        blocks: Sequence[report.Block], pictures: list[Path]) -> list[report.Episode]:
    """All episodes, with one line of progress each, and a film strip per task."""
    episodes: list[report.Episode] = []
    count = len(tasks) * len(blocks) * options.episodes
    for task in tasks:
        strips, told = {}, ''
        for block in blocks:
            # Both nodes are running: this is the live change that an operator would make.
            client.set_policy(token_budget=block.budget, reuse=block.reuse)
            for number in range(options.episodes):
                episode, frames = client.run_episode(task, block.label, options.seed + number,
                                                     frames=number == 0)
                episodes.append(episode)
                print(report.episode_line(len(episodes), count, episode), flush=True)
                if number == 0:
                    strips[block.label], told = frames, episode.instruction
        path = options.out / f'film_{task}.png'
        film_strip(path, task, told, strips, policy.cameras)
        pictures.append(path)
    return episodes


def finish(options: argparse.Namespace, episodes: Sequence[report.Episode],
           pictures: list[Path]) -> None:
    """Table, summary plot and ``demo.json``."""
    lines = report.rows(episodes)
    path = options.out / 'summary.png'
    summary(path, lines)
    pictures.append(path)
    document = {
        'settings': {name: str(value) if isinstance(value, Path) else value
                     for name, value in vars(options).items()},
        'rows': [line.as_json() for line in lines],
        'episodes': [vars(episode) for episode in episodes]}
    (options.out / 'demo.json').write_text(json.dumps(document, indent=1) + '\n')
    print(LEGEND)
    print(report.table(lines))
    print('\nPictures:')
    for one in pictures:
        print(f'  {one}')
    print(f'Numbers: {options.out / "demo.json"}', flush=True)


def run_demo(options: argparse.Namespace) -> int:
    """Run the demo that the command line asks for; 0, or 1 when one of its processes died.

    Raises:
        VlaPrunerError: bad arguments, something not installed, a policy that cannot start.
        KeyboardInterrupt: on SIGINT and SIGTERM, after everything has been ended.
    """
    policy, tasks, blocks = check(options)
    options.out.mkdir(parents=True, exist_ok=True)
    variables = environment(options.domain)
    os.environ.update(variables)  # before the middleware is loaded into this process
    try:
        from vla_pruner_ros.demo.demo_client import DemoClient
    except ImportError as error:
        from vla_pruner_ros.core.errors import MissingDependencyError
        raise MissingDependencyError(
            f'the demo needs ROS 2 ({error}): source the setup file of your ROS installation, or '
            'install the extra "ros-pypi" of this package') from error
    before = signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    print(f'ROS_DOMAIN_ID={options.domain}; logs in {options.out}', flush=True)
    pictures: list[Path] = []
    try:
        with Processes(variables, options.out) as processes:
            start(processes, options, policy, tasks[0])
            print(f'Started {processes}', flush=True)
            client = DemoClient(processes.check)
            try:
                client.wait_ready()
                print(f'Both nodes are up after {time.monotonic() - began:.1f} s', flush=True)
                episodes = run(client, options, policy, tasks, blocks, pictures)
            finally:
                client.close()
        finish(options, episodes, pictures)
        return 0
    except ProcessDied as error:
        # Several lines, so not left to the caller, who prints one.
        print(f'vla-pruner demo: error: {error}', file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
