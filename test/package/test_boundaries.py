# SPDX-License-Identifier: Apache-2.0
"""What the core may not pull in, proved in a fresh interpreter."""
import subprocess
import sys

import pytest

FORBIDDEN = ('rclpy', 'transformers', 'mujoco', 'metaworld', 'sensor_msgs', 'cv2')
PROGRAM = """
import importlib, pkgutil, sys
import {package}
for found in pkgutil.walk_packages({package}.__path__, '{package}.'):
    importlib.import_module(found.name)
print(','.join(name for name in {forbidden!r} if name in sys.modules))
"""


def pulled_in(package, forbidden):
    program = PROGRAM.format(package=package, forbidden=forbidden)
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [name for name in done.stdout.strip().split(',') if name]


def test_core_imports_neither_ros_nor_models_nor_simulators():
    assert pulled_in('vla_pruner_ros.core', FORBIDDEN) == []


def test_the_check_would_see_an_import():
    assert pulled_in('vla_pruner_ros.core', ('torch', 'numpy')) == ['torch', 'numpy']


@pytest.mark.parametrize('module', ['types', 'errors', 'parameter_table', 'flops'])
def test_plain_values_do_not_even_need_torch(module):
    code = f'import sys, vla_pruner_ros.core.{module}; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'
