# SPDX-License-Identifier: Apache-2.0
"""The package as pip, colcon and the two commands see it, and the boundaries between its parts."""
import ast
from fnmatch import fnmatch
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import types
import xml.etree.ElementTree as ElementTree

from paths import ROOT
import pytest
import yaml

from vla_pruner_ros import __version__

PACKAGE = ROOT / 'vla_pruner_ros'
SOURCES = sorted(PACKAGE.rglob('*.py'))
WITHOUT_ROS = ('core', 'backends', 'runtime', 'sim', 'cli')


def canonical(name):
    return re.sub(r'[-_.]+', '-', re.match(r'[\w.-]+', name).group()).lower()


@pytest.fixture(scope='module')
def setup():
    """Keywords given to ``setuptools.setup``; works where setuptools is not installed."""
    given = {}
    fakes = {name: types.ModuleType(name) for name in
             ('setuptools', 'setuptools.command', 'setuptools.command.develop')}
    fakes['setuptools'].setup = lambda **keywords: given.update(keywords)
    fakes['setuptools'].find_packages = lambda include: include
    fakes['setuptools.command.develop'].develop = object
    before, folder = dict(sys.modules), os.getcwd()
    sys.modules.update(fakes)
    os.chdir(ROOT)
    try:
        runpy.run_path(str(ROOT / 'setup.py'))
    finally:
        os.chdir(folder)
        for name in fakes:
            sys.modules.pop(name)
            if name in before:
                sys.modules[name] = before[name]
    return given


def imports(path):
    """Top-level packages that a file imports anywhere, and those at module level."""
    anywhere, at_start = set(), set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = ([one.name for one in node.names] if isinstance(node, ast.Import) else
                 [node.module] if isinstance(node, ast.ImportFrom) and not node.level else [])
        anywhere |= {name.split('.')[0] for name in names}
        if node in tree.body:
            at_start |= {name.split('.')[0] for name in names}
    return anywhere, at_start


def test_version_and_name_agree_everywhere(setup):
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert manifest.get('format') == '3'
    assert manifest.find('export/build_type').text == 'ament_python'
    assert manifest.find('name').text == setup['name'] == 'vla_pruner_ros'
    assert manifest.find('version').text == setup['version'] == __version__
    assert f'## {setup["version"]}' in (ROOT / 'CHANGELOG.md').read_text()
    assert manifest.find('license').text == setup['license'] == 'Apache-2.0'


def test_every_entry_point_names_a_function_that_exists(setup):
    commands = dict(re.split(r'\s*=\s*', one) for one in setup['entry_points']['console_scripts'])
    assert set(commands) == {'vla-pruner', 'pruned_policy', 'sim_robot'}
    for target in commands.values():
        module, function = target.split(':')
        tree = ast.parse((ROOT / (module.replace('.', '/') + '.py')).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_everything_that_must_be_installed_is_named(setup):
    for folder, files in setup['data_files']:
        assert files, folder
        assert all((ROOT / one).is_file() for one in files)
    installed = {one for _, files in setup['data_files'] for one in files}
    on_disk = {str(path.relative_to(ROOT)) for name in ('launch', 'config')
               for path in (ROOT / name).rglob('*.*') if path.suffix != '.pyc'}
    assert on_disk <= installed
    assert {'package.xml', 'resource/vla_pruner_ros'} <= installed
    patterns = setup['package_data']['vla_pruner_ros']
    for path in PACKAGE.rglob('*'):
        if path.is_file() and '__pycache__' not in path.parts and path.suffix != '.py':
            name = str(path.relative_to(PACKAGE))
            # fnmatch's star also crosses folders, setuptools' does not: compare the depths too.
            assert any(fnmatch(name, one) and name.count('/') == one.count('/')
                       for one in patterns), f'{name} would not be installed'


def test_every_folder_with_modules_is_a_package():
    assert not [path for path in SOURCES if not (path.parent / '__init__.py').exists()]


def test_executables_look_their_interpreter_up_when_they_start():
    text = (ROOT / 'setup.cfg').read_text()
    assert re.search(r'\[build_scripts\]\nexecutable = /usr/bin/env python3\n', text)
    assert text.count('$base/lib/vla_pruner_ros') == 2


def test_message_packages_in_use_are_declared_for_apt_and_for_pip(setup):
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {one.text for one in manifest.iter('exec_depend')}
    used = {name for path in SOURCES for name in imports(path)[0]
            if name.endswith(('_msgs', '_srvs', '_interfaces')) or name == 'rclpy'}
    assert {'rclpy', 'sensor_msgs', 'trajectory_msgs', 'std_srvs'} <= used
    optional = {'composition_interfaces', 'control_msgs'}
    assert used - optional <= declared
    pip = {canonical(one) for one in setup['extras_require']['ros-pypi']}
    with_rclpy = {'rcl_interfaces', 'builtin_interfaces'}  # dependencies of the rclpy wheel
    assert {canonical(f'ros-{name}') for name in used - optional - with_rclpy} <= pip


def test_the_manifest_declares_nothing_that_is_not_imported_and_what_the_tests_need(setup):
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    sources = [*SOURCES, *(ROOT / 'launch').glob('*.py')]
    used = {name for path in sources for name in imports(path)[0]}
    declared = {one.text for one in manifest.iter('exec_depend')}
    # rclpy's lifecycle nodes import it; its wheel does not bring it.
    used.add('lifecycle_msgs')
    assert {one for one in declared if not one.startswith('python3-')} - used == set()
    tools = {one.text.removeprefix('python3-') for one in manifest.iter('test_depend')}
    assert tools == {'pytest', 'pytest-timeout', 'hypothesis'}
    assert tools <= {canonical(one) for one in setup['extras_require']['test']}


def test_an_index_page_would_show_the_readme(setup):
    assert setup['long_description'] == (ROOT / 'README.md').read_text(encoding='utf-8')
    assert setup['long_description_content_type'] == 'text/markdown'


def test_numpy_of_the_oldest_distribution_is_enough(setup):
    wanted = [*setup['install_requires'],
              *(one for extra in setup['extras_require'].values() for one in extra)]
    assert [one for one in wanted if canonical(one) == 'numpy'] == ['numpy>=1.21']
    kept = [line for line in (ROOT / 'constraints-robot.txt').read_text().splitlines()
            if line and not line.startswith('#')]
    assert kept == ['numpy<2']


def test_a_source_archive_holds_all_that_the_commands_need(tmp_path):
    pytest.importorskip('setuptools', reason='setuptools is not installed')
    folder = tmp_path / 'source'
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(
        '.git', '.venv*', 'build', 'install', 'log', 'out', '__pycache__', '*.egg-info',
        '.*_cache', '.hypothesis', '*.safetensors', '*.npz', '*.png'))
    # The archive must not depend on what a version control system knows.
    subprocess.run([sys.executable, '-c', 'from setuptools import build_meta; import sys; '
                    'build_meta.build_sdist(sys.argv[1])', str(tmp_path)], cwd=folder, check=True,
                   capture_output=True, timeout=240)
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        held = {name.partition('/')[2] for name in archive.getnames()}
    wanted = {str(path.relative_to(folder)) for path in folder.rglob('*')
              if path.is_file() and '.egg-info' not in str(path) and path.name != '.gitignore'}
    assert {'Makefile', 'constraints.txt', 'test/helpers/fakes.py', '.ci/run'} <= wanted
    assert wanted - held == set()


def test_constraints_pin_everything_that_the_commands_install(setup):
    lines = [line for line in (ROOT / 'constraints.txt').read_text().splitlines()
             if line and not line.startswith('#')]
    assert all(re.fullmatch(r'[a-z0-9-]+==[\w.]+( ; python_version (<|>=) "3\.11")?', line)
               for line in lines)
    pinned = {canonical(line) for line in lines}
    wanted = [*setup['install_requires'],
              *(one for extra in setup['extras_require'].values() for one in extra)]
    assert not {canonical(one) for one in wanted} - pinned


def test_core_requirements_are_few_and_torch_has_no_upper_bound(setup):
    assert {canonical(one) for one in setup['install_requires']} == {
        'numpy', 'torch', 'safetensors', 'pyyaml'}
    assert not [one for one in setup['install_requires'] if '<' in one or '==' in one]


# ---- boundaries

BLOCKED = """
import importlib, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in sys.argv[1].split(','):
            raise ImportError('blocked: ' + name)
sys.meta_path.insert(0, Block())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def import_without(blocked, modules):
    return subprocess.run([sys.executable, '-c', BLOCKED, blocked, *modules], cwd=ROOT,
                          capture_output=True, text=True, timeout=240)


def test_everything_but_ros_imports_without_rclpy():
    modules = ['.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
               for path in SOURCES if path.relative_to(PACKAGE).parts[0] in WITHOUT_ROS]
    assert len(modules) > 20
    done = import_without('rclpy', modules)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_block_of_that_test_works():
    done = import_without('rclpy', ['vla_pruner_ros.ros.policy_node'])
    assert done.returncode == 1 and 'blocked: rclpy' in done.stderr


def test_ros_code_does_not_touch_torch():
    guilty = [path.name for path in (PACKAGE / 'ros').glob('*.py')
              if imports(path)[0] & {'torch', 'transformers', 'safetensors'}]
    assert guilty == []


def test_the_simulator_is_an_extra():
    guilty = [str(path.relative_to(ROOT)) for path in SOURCES
              if imports(path)[1] & {'metaworld', 'mujoco', 'matplotlib'}]
    assert guilty == []


def test_no_file_is_longer_than_400_lines():
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


# ---- the two commands

def test_make_names_a_missing_python(tmp_path):
    done = subprocess.run(['make', 'setup', f'VENV={tmp_path}/venv', 'PYTHON=/no/such/python'],
                          cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert 'No Python 3.10 to 3.13 found' in done.stderr and 'PYTHON=' in done.stderr


def test_make_clean_keeps_results():
    def removed(target):
        done = subprocess.run(['make', '-n', target], cwd=ROOT, capture_output=True, text=True,
                              timeout=60)
        return [word for line in done.stdout.splitlines() if line.startswith('rm -rf')
                for word in line.split()[2:]]
    assert '.venv' in removed('clean') and 'out' not in removed('clean')
    assert removed('clean-results') == ['out']


def test_the_virtual_environment_is_hidden_from_colcon_and_make_says_how_to_call(tmp_path):
    # With true instead of pip nothing is installed; the check of the machine then complains.
    done = subprocess.run(['make', 'setup', f'VENV={tmp_path}/venv', 'PIP=true', 'PY=true',
                           f'PYTHON={sys.executable}'], cwd=ROOT, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'venv' / 'COLCON_IGNORE').exists()
    assert f'Ready: {tmp_path}/venv/bin/vla-pruner --help' in done.stdout


def test_make_test_runs_pytest_with_a_passive_openmp():
    done = subprocess.run(['make', '-n', 'test', 'PYTEST_ARGS=-k nothing'], cwd=ROOT,
                          capture_output=True, text=True, timeout=60)
    assert 'pytest test -k nothing' in done.stdout
    text = (ROOT / 'Makefile').read_text()
    assert 'export OMP_WAIT_POLICY := PASSIVE' in text
    assert 'ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST' in text


def test_the_script_of_continuous_integration_is_sound():
    script = ROOT / '.ci' / 'run'
    assert os.access(script, os.X_OK)
    assert subprocess.run(['bash', '-n', script], timeout=60).returncode == 0
    assert 'make test' in script.read_text()


@pytest.mark.parametrize('reason, words', [
    ("ModuleNotFoundError: No module named 'mujoco'", 'pip install -e ".[sim]"'),
    ("ModuleNotFoundError: No module named 'mujoco.egl'", 'pip install -e ".[sim]"'),
    ('AttributeError: EGL has no display', 'sudo apt-get install libegl1')])
def test_a_missing_simulator_is_not_taken_for_a_missing_graphics_library(reason, words):
    from vla_pruner_ros.demo.machine_check import OPENGL, repair_of
    assert repair_of(reason, OPENGL).startswith(words)


def test_a_missing_part_is_named_with_the_command_that_installs_it():
    from vla_pruner_ros.demo.machine_check import problems
    checks = (('A thing', 'import no_such_module_at_all', 'sudo apt-get install thing'),
              ('Python', 'import json', 'nothing'))
    assert problems(checks) == [
        "A thing does not work: ModuleNotFoundError: No module named 'no_such_module_at_all'\n"
        '    install it with: sudo apt-get install thing']


def test_the_file_of_robot_parameters_is_the_table():
    source = (PACKAGE / 'robots' / 'node' / 'robot_parameters.py').read_text()
    table = ast.parse(source)
    defaults = {}
    for node in ast.walk(table):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'SimParameter':
            defaults[ast.literal_eval(node.args[0])] = ast.literal_eval(node.args[1])
    shipped = yaml.safe_load((ROOT / 'config' / 'sim_robot.yaml').read_text())
    assert shipped['/**']['ros__parameters'] == defaults
