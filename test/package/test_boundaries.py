# SPDX-License-Identifier: Apache-2.0
"""What may import what: rooms in layers, no cycles, heavy packages only where they belong."""
import ast
from collections import Counter
from pathlib import Path
import subprocess
import sys

from paths import PACKAGE
import pytest

#: A room imports from rooms of a lower layer, or from itself.
LAYERS = {
    'core': 0, 'statistics': 0, 'backends': 1, 'hf': 2, 'runtime': 2, 'robots': 3, 'ros': 3,
    'robots.node': 4, 'replay': 4, 'evaluation': 4, 'training': 4, 'bench': 5, 'check': 5,
    'demo': 5, 'cli': 6}
NAME = PACKAGE.name
PROGRAM = """
import importlib, pkgutil, sys
import {package}
for found in pkgutil.walk_packages({package}.__path__, '{package}.'):
    importlib.import_module(found.name)
print(','.join(name for name in {forbidden!r} if name in sys.modules))
"""


def modules():
    """Dotted name inside the package -> file."""
    return {'.'.join(path.relative_to(PACKAGE).with_suffix('').parts): path
            for path in sorted(PACKAGE.rglob('*.py'))}


def room(module):
    return 'robots.node' if module.startswith('robots.node') else module.split('.')[0]


def imports(source, known):
    """Modules of this package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f'{node.module}.{one.name}' for one in node.names]
            if any(one.partition(f'{NAME}.')[2] not in known for one in names):
                names.append(node.module)  # something of the package's own __init__
        for name in names:
            inside = name.partition(f'{NAME}.')[2] if name.startswith(f'{NAME}.') else ''
            if inside in known:
                found.add(inside)
            elif f'{inside}.__init__' in known:
                found.add(f'{inside}.__init__')
    return found


def graph():
    files = modules()
    return {name: imports(path.read_text(encoding='utf-8'), files) - {name}
            for name, path in files.items()}


def wrong_way(edges):
    return [f'{name} -> {other}' for name, others in edges.items() for other in sorted(others)
            if room(name) != room(other) and LAYERS[room(name)] <= LAYERS[room(other)]]


def cycle(edges):
    """One cycle of files, or []."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name):]
        if name in done:
            return []
        path.append(name)
        for other in edges.get(name, ()):
            found = visit(other)
            if found:
                return found
        path.pop()
        done.add(name)
        return []
    return next((found for found in map(visit, edges) if found), [])


def test_every_room_has_a_layer():
    rooms = {room(name) for name in modules()} - {'__init__'}
    assert rooms == set(LAYERS)


def test_rooms_import_only_from_lower_layers():
    assert wrong_way({name: others for name, others in graph().items()
                      if name != '__init__'}) == []


def test_no_files_import_each_other_in_a_circle():
    assert cycle(graph()) == []


def test_the_checks_see_what_they_are_for():
    edges = graph()
    edges['core.types'] = edges['core.types'] | {'ros.policy_node'}
    assert 'core.types -> ros.policy_node' in wrong_way(edges)
    assert cycle({'a': {'b'}, 'b': {'c'}, 'c': {'a'}}) == ['a', 'b', 'c']
    assert imports('def f():\n    from vla_pruner_ros.core import flops\n', modules()) == {
        'core.flops'}
    assert imports('from vla_pruner_ros.hf import VisualPruning\n', modules()) == {'hf.__init__'}


def test_a_file_name_means_one_file():
    names = Counter(path.stem for name, path in modules().items()
                    if path.stem != '__init__' and room(name) != 'cli')
    assert [name for name, count in names.items() if count > 1] == []


def pulled_in(package, forbidden):
    program = PROGRAM.format(package=package, forbidden=forbidden)
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [name for name in done.stdout.strip().split(',') if name]


@pytest.mark.parametrize('package, forbidden', [
    ('core', ('rclpy', 'transformers', 'mujoco', 'metaworld', 'sensor_msgs', 'cv2')),
    ('backends', ('rclpy', 'transformers', 'mujoco', 'metaworld', 'sensor_msgs')),
    ('hf', ('rclpy', 'mujoco')), ('runtime', ('rclpy', 'mujoco', 'sensor_msgs')),
    ('evaluation', ('rclpy',)), ('cli', ('rclpy', 'mujoco')), ('training', ('rclpy',))])
def test_heavy_packages_stay_where_they_belong(package, forbidden):
    assert pulled_in(f'{NAME}.{package}', forbidden) == []


def test_that_check_would_see_an_import():
    assert pulled_in(f'{NAME}.core', ('torch', 'numpy')) == ['torch', 'numpy']


@pytest.mark.parametrize('module', ['types', 'errors', 'parameter_declarations', 'flops',
                                    'registries'])
def test_plain_values_do_not_even_need_torch(module):
    code = f'import sys, vla_pruner_ros.core.{module}; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'


def test_the_node_imports_no_model_code_before_it_is_configured():
    code = 'import sys, vla_pruner_ros.ros.policy_node; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    if 'rclpy' in done.stderr:
        pytest.skip('rclpy is not installed')
    assert done.stdout.strip() == 'False', done.stderr


def test_the_files_are_found():
    assert len(modules()) > 100 and all(isinstance(one, Path) for one in modules().values())
