# SPDX-License-Identifier: Apache-2.0
"""The whole loop on one machine, through real ROS topics.

Starts the simulated robot and the policy as two processes, drives them from here as an operator
would, changes the token budget while they run, and ends with a table and pictures.
"""
import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError, OutputError
from vla_pruner_ros.core.install_hints import how_to_install
from vla_pruner_ros.demo import demo_report as report
from vla_pruner_ros.demo.demo_pictures import film_strip, summary
from vla_pruner_ros.demo.domain_choice import claimed, domain_of, in_use
from vla_pruner_ros.demo.node_processes import (
    ENDS,
    environment,
    ProcessDied,
    Processes,
    ros_arguments,
)
from vla_pruner_ros.runtime.headless_pyplot import pyplot
from vla_pruner_ros.runtime.output_files import check_folder, write_text
from vla_pruner_ros.runtime.own_command import own_command
from vla_pruner_ros.runtime.terminal_tables import terminal_width, wrapped

LEGEND = """\
Milliseconds are medians per model run; policy Hz and robot Hz are steps per second of wall time,
the simulator included.  "pruned" is the share of model runs that dropped tokens: the first ones of
an episode are the warm-up of the method and drop none.
"""
WIDEST = 99  # columns of running text
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
    for name, low, high in (('episodes', 1, 1000), ('horizon', 1, 1000),
                            ('seed', 0, 2**31 - 1 - 1000)):
        value = getattr(options, name)
        if not low <= value <= high:
            raise ConfigError(f'--{name} is {value}; accepted: {low} to {high}')
    if options.viewer and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise ConfigError('--viewer needs a screen (DISPLAY and WAYLAND_DISPLAY are not set)')
    if options.keep_bag and (options.out / 'bag').exists():
        raise ConfigError(f'{options.out / "bag"} exists; remove it or choose another --out')
    blocks = report.parse_blocks(options.budgets)
    pyplot()
    check_folder(options.out)
    return policy, tasks, blocks


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


class Files:
    """What the demo writes; a failure is kept until the numbers are shown.

    Attributes:
        pictures: written so far.
        problems: what could not be written.
    """

    def __init__(self) -> None:
        self.pictures: list[Path] = []
        self.problems: list[OutputError] = []

    def draw(self, path: Path, picture: Callable[..., None], *content: Any) -> None:
        """Write one picture."""
        try:
            picture(path, *content)
            self.pictures.append(path)
        except OutputError as error:
            self.problems.append(error)


def run(client: Any, options: argparse.Namespace, policy: PolicyFacts, tasks: Sequence[str],
        blocks: Sequence[report.Block], files: Files) -> list[report.Episode]:
    """All episodes, with one line of progress each, and a film strip per task."""
    width = terminal_width()
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
                print(wrapped(report.episode_line(len(episodes), count, episode), width),
                      flush=True)
                if number == 0:
                    strips[block.label], told = frames, episode.instruction
        files.draw(options.out / f'film_{task}.png', film_strip, task, told, strips,
                   policy.cameras)
    return episodes


def finish(options: argparse.Namespace, episodes: Sequence[report.Episode],
           files: Files) -> None:
    """Table, summary plot and ``demo.json``.

    Raises:
        OutputError: a file could not be written; the table was printed.
    """
    lines = report.rows(episodes)
    width = min(terminal_width() or WIDEST, WIDEST)
    print(f'\n{wrapped(" ".join(LEGEND.split()), width, "")}\n')
    print(report.table(lines, terminal_width()), flush=True)  # first, because writing can fail
    files.draw(options.out / 'summary.png', summary, lines)
    document = {
        'settings': {name: str(value) if isinstance(value, Path) else value
                     for name, value in vars(options).items()},
        'rows': [line.as_json() for line in lines],
        'episodes': [vars(episode) for episode in episodes]}
    numbers = options.out / 'demo.json'
    write_text(numbers, json.dumps(document, indent=1) + '\n')
    print('\nPictures:')
    for one in files.pictures:
        print(f'  {one}')
    print(f'Numbers: {numbers}')
    if files.problems:
        raise files.problems[0]
    command = own_command()
    print(f'More: {command} demo --help, {command} --help', flush=True)


def run_demo(options: argparse.Namespace) -> int:
    """Run the demo that the command line asks for.

    Returns:
        0; when one of its processes died 1, or 2 where that one blamed its input or set-up.

    Raises:
        VlaPrunerError: bad arguments, something not installed, a policy that cannot start, a
            domain that is not free, results that cannot be written.
        KeyboardInterrupt: on SIGINT, SIGTERM and SIGHUP, after everything has been ended.
    """
    wanted = domain_of(options.domain, os.environ)
    policy, tasks, blocks = check(options)
    files = Files()
    try:
        with interrupted_by_signals(), claimed(wanted) as options.domain:
            episodes = drive(options, policy, tasks, blocks, files)
        finish(options, episodes, files)
        return 0
    except ProcessDied as error:
        # Several lines, so not left to the caller, who prints one.
        print(f'vla-pruner demo: error: {error}', file=sys.stderr)
        return 2 if error.status == 2 else 1


def drive(options: argparse.Namespace, policy: PolicyFacts, tasks: Sequence[str],
          blocks: Sequence[report.Block], files: Files) -> list[report.Episode]:
    """Start the nodes, run all episodes, end the nodes."""
    variables = environment(options.domain)
    os.environ.update(variables)  # before the middleware is loaded into this process
    try:
        from vla_pruner_ros.demo.demo_client import DemoClient
    except ImportError as error:
        raise MissingDependencyError(f'the demo needs ROS 2 ({error}): '
                                     f'{how_to_install("rclpy")}') from error
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    print(f'ROS_DOMAIN_ID={options.domain}; logs in {options.out}', flush=True)
    with Processes(variables, options.out) as processes:
        busy = in_use(options.domain)  # before this process is a participant itself
        client = DemoClient(processes.check)
        try:
            if busy:
                client.check_alone()
            start(processes, options, policy, tasks[0])
            print(f'Started {processes}', flush=True)
            client.wait_ready()
            print(f'Both nodes are up after {time.monotonic() - began:.1f} s', flush=True)
            return run(client, options, policy, tasks, blocks, files)
        finally:
            client.close()


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP act as Ctrl-C does; a SIGHUP that is ignored (nohup) stays ignored."""
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt
    before = {number: signal.signal(number, interrupt) for number in ENDS
              if signal.getsignal(number) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
