# SPDX-License-Identifier: Apache-2.0
"""The ``vla-pruner`` command, parameter files and ``--set``."""
import os
import subprocess
import sys

from paths import ROOT
import pytest
import yaml

from vla_pruner_ros import __version__
from vla_pruner_ros.cli import nodes
from vla_pruner_ros.cli.main import COMMANDS, guarded, main
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters, table
from vla_pruner_ros.runtime.parameter_files import load_parameters, parse_setting
from vla_pruner_ros.runtime.progress_line import Progress


@pytest.mark.parametrize('words, status', [(['--help'], 0), (['-h'], 0), ([], 2)])
def test_help_lists_every_command(capsys, words, status):
    assert main(words) == status
    shown = capsys.readouterr().out
    assert all(f'  {name} ' in shown for name in COMMANDS)


def test_help_loads_nothing_heavy():
    code = ('import sys; from vla_pruner_ros.cli.main import main; main(["--help"]); '
            'print([n for n in ("torch", "numpy", "cv2", "rclpy", "yaml") if n in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == '[]', done.stderr


@pytest.mark.parametrize('given, wanted', [(None, 'PASSIVE'), ('ACTIVE', 'ACTIVE')])
def test_waiting_threads_do_not_spin_unless_asked_to(monkeypatch, given, wanted):
    code = ('import os; from vla_pruner_ros.cli.main import main; main(["params"]); '
            'print(os.environ["OMP_WAIT_POLICY"])')
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    if given:
        monkeypatch.setenv('OMP_WAIT_POLICY', given)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == wanted, done.stderr


def test_runtime_and_command_line_import_without_ros():
    code = ('import importlib, pkgutil, sys; sys.modules["rclpy"] = None\n'
            'for name in ("runtime", "cli"):\n'
            '    package = importlib.import_module(f"vla_pruner_ros.{name}")\n'
            '    for one in pkgutil.iter_modules(package.__path__):\n'
            '        importlib.import_module(f"vla_pruner_ros.{name}.{one.name}")\n'
            'print("imported")')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'imported\n', done.stderr


def test_the_version_is_that_of_the_package(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'vla-pruner {__version__}\n'


@pytest.mark.parametrize('call, words', [
    ('from vla_pruner_ros.cli.nodes import pruned_policy as run', 'pruned_policy: error:'),
    ('from vla_pruner_ros.cli.nodes import sim_robot as run', 'sim_robot: error:'),
    ('from vla_pruner_ros.cli.main import main\n'
     'run = lambda: main(["record", "--topics", "/x", "-o", "bag"])', 'vla-pruner record: error:'),
    ('from vla_pruner_ros.cli.main import main\nrun = lambda: main(["demo"])',
     'vla-pruner demo: error:')])
def test_a_missing_ros_is_one_line_and_status_2(tmp_path, call, words):
    code = f'import sys; sys.modules["rclpy"] = None\n{call}\nsys.exit(run())'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert done.stderr.startswith(words) and 'source the setup file of your ROS' in done.stderr


@pytest.mark.parametrize('name', ['pruned_policy', 'sim_robot'])
def test_the_nodes_have_a_help_that_starts_nothing(capsys, monkeypatch, name):
    monkeypatch.setattr(sys, 'argv', [name, '--help'])
    assert getattr(nodes, name)() == 0
    assert capsys.readouterr().out.startswith(f'usage: {name} [--ros-args')


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'cp1252'])
@pytest.mark.parametrize('words', [['params'], ['params', '--yaml'], ['--help']])
def test_a_terminal_that_is_not_utf_8_is_no_fault(encoding, words):
    done = subprocess.run([sys.executable, '-m', 'vla_pruner_ros.cli.main', *words],
                          capture_output=True, cwd=ROOT,
                          env={**os.environ, 'PYTHONIOENCODING': encoding})
    assert done.returncode == 0 and done.stderr == b''
    assert done.stdout.decode(encoding)


def test_a_reader_that_has_gone_is_no_fault():
    done = subprocess.run(
        ['bash', '-c', f'{sys.executable} -m vla_pruner_ros.cli.main params | true; '
         'echo ${PIPESTATUS[0]}'], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == '' and done.stdout in ('141\n', '0\n')


@pytest.mark.parametrize('error, status', [
    (FileNotFoundError(2, 'No such file', '/nowhere'), 2), (OSError(28, 'No space left'), 2),
    (ModuleNotFoundError('gone', name='metaworld'), 2), (ConfigError('wrong'), 2),
    (KeyboardInterrupt(), 130), (KeyError('ours'), 1)])
def test_what_a_program_raises_is_one_line_and_a_status(capsys, error, status):
    def run():
        raise error
    assert guarded('tool', run) == status
    shown = capsys.readouterr().err
    assert shown.startswith('tool: error: ') and shown.count('\n') == 1


@pytest.mark.parametrize('words', [
    ['bench', 'selection', '--device', 'foo'], ['bench', 'decoder', '--device', 'foo'],
    ['bench', 'decoder', '--models', 'huge'], ['bench', 'quantization', '/no/such/place'],
    ['inspect', '/no/such/place'], ['check', '/no/such/place', '--bag', '/no/such/bag'],
    ['eval', '--jobs', '0'], ['eval', '--env', 'nowhere'], ['demo', '--episodes', '0']])
def test_bad_input_is_status_2_whatever_the_command(capsys, words):
    assert main(words) == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_an_unknown_command_is_one_line(capsys):
    assert main(['fly']) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and "'fly' is no command; accepted: demo" in error


def test_a_users_mistake_is_one_line_and_status_2(capsys, tmp_path):
    assert main(['replay', str(tmp_path / 'none'), '--out', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and 'no bag at' in error
    assert not (tmp_path / 'out').exists()


def test_debug_shows_the_traceback(capsys, tmp_path):
    main(['replay', '--debug', str(tmp_path / 'none'), '--out', str(tmp_path / 'out')])
    assert 'Traceback' in capsys.readouterr().err


def test_bench_names_its_benchmarks(capsys):
    assert main(['bench', '--help']) == 0
    assert 'selection' in capsys.readouterr().out
    assert main(['bench', 'everything']) == 2


def test_params_prints_every_parameter_in_both_forms(capsys):
    assert main(['params']) == 0
    markdown = capsys.readouterr().out
    assert all(f'| `{spec.name}` |' in markdown for spec in table())
    assert main(['params', '--yaml']) == 0
    values = yaml.safe_load(capsys.readouterr().out)['/**']['ros__parameters']
    empty = {spec.name for spec in table() if spec.default == ()}
    assert set(values) == {spec.name for spec in table()} - empty


def test_a_nodes_parameter_file_is_accepted_as_it_is(tmp_path):
    path = tmp_path / 'node.yaml'
    path.write_text('/**:\n  ros__parameters:\n    token_budget: 98\n    use_sim_time: true\n'
                    '    max_skew: 1\n'
                    'other_node:\n  ros__parameters:\n    speed: 3\n'
                    '/pruned_policy:\n  ros__parameters:\n    pruner: fastv\n')
    loaded = load_parameters(path)
    assert (loaded.token_budget, loaded.pruner, loaded.max_skew) == (98, 'fastv', 1.0)


def test_the_printed_parameter_file_gives_the_defaults(tmp_path, capsys):
    main(['params', '--yaml'])
    path = tmp_path / 'all.yaml'
    path.write_text(capsys.readouterr().out)
    assert load_parameters(path) == Parameters()


def test_settings_win_over_the_file(tmp_path):
    path = tmp_path / 'flat.yaml'
    path.write_text('token_budget: 98\nreuse: true\n')
    loaded = load_parameters(path, ['token_budget=49', 'camera_topics=a=/a,b=/b@compressed',
                                    'max_step=0.1, 0.2', 'instruction=open: the drawer'])
    assert (loaded.token_budget, loaded.reuse) == (49, True)
    assert loaded.camera_topics == ('a=/a', 'b=/b@compressed')
    assert loaded.max_step == (0.1, 0.2)
    assert loaded.instruction == 'open: the drawer'


@pytest.mark.parametrize('text, words', [
    ('token_budget: many\n', "token_budget is 'many'"),
    ('tokens: 3\n', "unknown parameter 'tokens'"),
    ('- 1\n', 'holds a list'), ('a: [\n', 'is not YAML'),
    ('other:\n  ros__parameters:\n    a: 1\n', r"sections \['other'\]")])
def test_bad_files_are_named(tmp_path, text, words):
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_parameters(path)
    assert 'bad.yaml' in str(caught.value)


def test_bad_settings_are_named(tmp_path):
    with pytest.raises(ConfigError, match="'token_budget'; accepted: 'name=value'"):
        parse_setting('token_budget')
    with pytest.raises(ConfigError, match='cannot be read'):
        load_parameters(tmp_path / 'none.yaml')


def test_progress_off_a_terminal_is_a_few_lines(capsys):
    progress = Progress('run', 200)
    for done in range(201):
        progress.show(done)
    progress.end('9 steps')
    assert capsys.readouterr().err.splitlines() == [
        'run: 0 % ', 'run: 25 % ', 'run: 50 % ', 'run: 75 % ', 'run: 100 % ', 'run: 9 steps']
