# SPDX-License-Identifier: Apache-2.0
"""How to install what is missing: words that work."""
import re

from paths import PACKAGE, ROOT
import pytest

from vla_pruner_ros.core.install_hints import EXTRAS, how_to_install, install_extra

FOLDER = 'in the source folder of vla_pruner_ros'


@pytest.mark.parametrize('module, words', [
    ('metaworld', f'pip install -e ".[sim]" {FOLDER}'),
    ('mujoco.viewer', f'pip install -e ".[sim]" {FOLDER}'),
    ('torch', f'pip install -e "." {FOLDER}'),
    ('cv2', f'sudo apt-get install python3-opencv, or pip install -e ".[opencv]" {FOLDER}'),
    ('sensor_msgs.msg', 'source the setup file of your ROS installation, or '
                        f'pip install -e ".[ros-pypi]" {FOLDER}'),
    ('something', 'pip install something')])
def test_a_missing_module_is_named_with_what_brings_it(module, words):
    assert how_to_install(module) == words


def test_several_extras_are_one_command():
    assert install_extra('sim', 'hf').startswith('pip install -e ".[sim,hf]" ')


def test_every_extra_that_is_named_exists():
    known = set(re.findall(r"^    '([\w-]+)': ", (ROOT / 'setup.py').read_text(), re.M))
    assert {'sim', 'ros-pypi'} <= known
    assert set(EXTRAS.values()) <= known


def test_no_message_names_a_package_that_no_index_has():
    guilty = [path.name for path in PACKAGE.rglob('*.py')
              if re.search(r'vla_pruner_ros\[|extra "', path.read_text())]
    assert guilty == []
