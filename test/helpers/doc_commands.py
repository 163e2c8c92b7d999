# SPDX-License-Identifier: Apache-2.0
"""Would this command of the documentation be accepted?  Parsed and looked up, never run."""
import argparse
import ast
from contextlib import redirect_stderr
from importlib import import_module
import io
import re
import subprocess

from paths import PACKAGE, ROOT

from vla_pruner_ros.cli.main import COMMANDS
from vla_pruner_ros.core.errors import VlaPrunerError
from vla_pruner_ros.core.parameter_declarations import Parameters, table_by_name
from vla_pruner_ros.runtime.parameter_files import load_parameters, parse_setting

#: Programs of the system: nothing of ours to check.
SYSTEM = ('.', 'cd', 'colcon', 'export', 'git', 'apt-get', 'rosdep', 'source', 'touch')
FOREIGN_MODULES = ('venv', 'pip', 'pytest')
ROS2_OF_OTHERS = (('bag',), ('control',), ('pkg',), ('lifecycle', 'set'), ('topic', 'hz'),
                  ('topic', 'info'))
#: Packages, nodes and topics of robots that the pages name.
FOREIGN_PACKAGES = ('rqt_image_view', 'so101_bringup', 'ur_moveit_config', 'ur_robot_driver')
FOREIGN_TOPICS = ('/diagnostics', '/joint_states', '/servo_node/start_servo',
                  '/servo_node/switch_command_type', '/tcp_pose_broadcaster/pose')
#: Where the policy node sends commands, also below ``~/dry_run``.
COMMAND_TOPICS = ('action_chunk', 'arm', 'ee_trajectory', 'gripper_command', 'twist')


class DocError(Exception):
    """The documentation names something that is not there."""


class Parsed(BaseException):
    """Raised instead of going on after the arguments were accepted; passes every handler."""


def check(words):
    """Say what kind of command this is.

    Raises:
        DocError: it would be refused.
    """
    program, rest = words[0], list(words[1:])
    if program in SYSTEM:
        return 'system'
    if program == 'vla-pruner':
        check_vla_pruner(rest)
    elif program in ('python', 'python3', 'python3.11') and rest[:1] == ['-m']:
        check_module(rest[1], rest[2:])
    elif program == 'python' and rest:
        wanted(ROOT / rest[0])
    elif program == 'make':
        check_make(rest)
    elif program == 'ros2':
        check_ros2(rest)
    elif program == 'pip':
        check_pip(rest)
    else:
        raise DocError(f'{program!r} is neither ours nor of the system')
    return program


def wanted(path):
    if not path.exists():
        raise DocError(f'{path.relative_to(ROOT)} does not exist')


def accept(condition, message):
    if not condition:
        raise DocError(message)


def parse(call, *arguments):
    """What the parser that ``call`` makes gives for its arguments; nothing after it runs."""
    original, said = argparse.ArgumentParser.parse_args, io.StringIO()

    def stop(parser, args=None, namespace=None):
        parser.allow_abbrev = False  # documentation writes options out
        raise Parsed(original(parser, args, namespace))

    argparse.ArgumentParser.parse_args = stop
    try:
        with redirect_stderr(said):
            call(*arguments)
    except Parsed as parsed:
        return parsed.args[0]
    except SystemExit as end:
        accept(not end.code, said.getvalue().strip())
    except VlaPrunerError as error:
        raise DocError(str(error)) from error
    finally:
        argparse.ArgumentParser.parse_args = original
    return argparse.Namespace()


def check_vla_pruner(rest):
    if rest[:1] in (['--help'], ['--version'], ['--debug']):
        return
    accept(rest and rest[0] in COMMANDS, f'vla-pruner has no command {rest[:1]}')
    if len(rest) > 1:  # in running text the bare name of a command is no call
        options = parse(import_module(COMMANDS[rest[0]][0]).main, rest[1:])
        check_parameters(options)


def check_parameters(options):
    """``--config`` exists, and ``--set`` names parameters with values they accept."""
    config = getattr(options, 'config', None)
    if config is not None:
        wanted(ROOT / config)
    try:
        load_parameters(config and ROOT / config, getattr(options, 'set', None) or ())
    except VlaPrunerError as error:
        raise DocError(str(error)) from error


def check_module(name, rest):
    if name in FOREIGN_MODULES:
        return
    source = ROOT / (name.replace('.', '/') + '.py')
    wanted(source)
    accept("__name__ == '__main__'" in source.read_text(encoding='utf-8'),
           f'{name} cannot be run')
    if rest:
        parse(import_module(name).main, rest)


def check_make(rest):
    targets = [one for one in rest if '=' not in one]
    variables = dict(one.split('=', 1) for one in rest if '=' in one)
    text = (ROOT / 'Makefile').read_text(encoding='utf-8')
    for one in targets:
        accept(re.search(rf'^{re.escape(one)}:', text, re.M), f'the Makefile has no target {one}')
    for name in variables:
        accept(f'$({name})' in text, f'the Makefile does not read {name}')
    dry = subprocess.run(['make', '-n', *rest], cwd=ROOT, capture_output=True, text=True)
    accept(dry.returncode == 0, dry.stderr)
    for command in ('demo', 'eval'):
        given = variables.get(f'{command.upper()}_ARGS')
        if given and command in targets:
            check_vla_pruner([command, *given.split()])


def check_pip(rest):
    extras = re.findall(r"^\s+'([\w-]+)': ", (ROOT / 'setup.py').read_text(encoding='utf-8'), re.M)
    for one in rest:
        named = re.match(r'\.\[(.*)\]$', one)
        for extra in named.group(1).split(',') if named else ():
            accept(extra in extras, f'no extra {extra!r}; there are {extras}')
    for option, name in zip(rest, rest[1:]):
        if option == '-r':
            wanted(ROOT / name)


def check_ros2(rest):
    verb = rest[0] if rest else ''
    if verb in ('launch', 'run') and rest[1:2] and rest[1] in FOREIGN_PACKAGES:
        return
    if verb == 'launch' and rest[1:]:
        check_launch(rest[1], rest[2], rest[3:])
    elif verb == 'run' and rest[1:]:
        check_run(rest[1], rest[2], rest[3:])
    elif verb == 'param' and rest[3:]:
        check_live(*rest[2:5])
    elif verb in ('service', 'topic') and rest[1:2] in (['call'], ['echo']):
        node, _, name = rest[2].strip('/').partition('/')
        if rest[2] in FOREIGN_TOPICS or (
                node == 'pruned_policy' and name.removeprefix('dry_run/') in COMMAND_TOPICS):
            return
        folder = {'pruned_policy': 'ros', 'sim_robot': 'robots/node'}.get(node)
        accept(folder, f'no node {node}')
        accept(any(f"'~/{name}'" in one.read_text() for one in (PACKAGE / folder).glob('*.py')),
               f'{node} has no ~/{name}')
    else:
        others = any(tuple(rest[:len(one)]) == one for one in ROS2_OF_OTHERS)
        accept(others or len(rest) == 1 or rest[:2] == ['param', 'set']
               or rest[:2] == ['param', 'describe'], f'ros2 {" ".join(rest)} is not known here')


def assigned(path, name):
    """The dictionary or tuple that a file assigns to ``name``, as a syntax tree."""
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        targets = getattr(node, 'targets', [getattr(node, 'target', None)])
        if any(getattr(one, 'id', '') == name for one in targets):
            return node.value
    raise DocError(f'{path.name} has no {name}')


def check_launch(package, file, arguments):
    path = ROOT / 'launch' / file
    accept(package == 'vla_pruner_ros', f'package {package}')
    wanted(path)
    names = (('PARAMETER_ARGUMENTS', 'OTHER_ARGUMENTS') if file.startswith('pruned')
             else ('ROBOT', 'POLICY'))
    known = {ast.literal_eval(key) for name in names for key in assigned(path, name).keys}
    for one in arguments:
        name, _, value = one.partition(':=')
        accept(name in known, f'{file} has no argument {name}; there are {sorted(known)}')
        if name == 'params_file' and value != 'MINE.yaml':  # the reader's own
            wanted(ROOT / value)
        elif name == 'robot':
            wanted(ROOT / 'config' / 'robots' / f'{value}.yaml')
        elif name in table_by_name():
            check_value(name, value)


def check_value(name, value):
    try:
        Parameters().changed(dict([parse_setting(f'{name}={value}')]))
    except VlaPrunerError as error:
        raise DocError(str(error)) from error


def robot_parameters():
    """Parameter of ``sim_robot`` -> may it change while it runs (read without rclpy)."""
    rows = assigned(PACKAGE / 'robots' / 'node' / 'robot_parameters.py', 'TABLE').elts
    return {ast.literal_eval(row.args[0]): any(one.arg == 'live' for one in row.keywords)
            for row in rows}


def check_run(package, executable, rest):
    scripts = re.findall(r"'([\w-]+) = ", (ROOT / 'setup.py').read_text(encoding='utf-8'))
    accept(package == 'vla_pruner_ros' and executable in scripts,
           f'{package} {executable}; executables: {scripts}')
    if executable == 'vla-pruner':
        return check_vla_pruner(rest)
    for option, given in zip(rest, rest[1:]):
        if option == '-p':
            name, _, value = given.partition(':=')
            if executable == 'sim_robot':
                accept(name in robot_parameters(), f'sim_robot has no parameter {name}')
            else:
                check_value(name, value)


def check_live(node, name, value):
    if node.strip('/') == 'sim_robot':
        accept(robot_parameters().get(name), f'sim_robot has no parameter {name} that changes')
        return
    accept(node == '/pruned_policy', f'no node {node}')
    accept(name in table_by_name(), f'no parameter {name}')
    accept(table_by_name()[name].metadata['live'], f'{name} does not change while the policy runs')
    check_value(name, value)
