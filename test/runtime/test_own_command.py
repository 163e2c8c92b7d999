# SPDX-License-Identifier: Apache-2.0
"""How the command is called: by name, from the virtual environment, through ROS."""
import sys

import pytest

from vla_pruner_ros.runtime.own_command import own_command


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An interpreter in a folder of its own, and nothing on the path."""
    (tmp_path / '.venv' / 'bin').mkdir(parents=True)
    monkeypatch.setattr(sys, 'executable', str(tmp_path / '.venv' / 'bin' / 'python'))
    monkeypatch.setenv('PATH', str(tmp_path / 'empty'))
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'vla-pruner').write_text('#!/bin/sh\n')
    (folder / 'vla-pruner').chmod(0o755)


def test_without_an_installation_it_is_a_module(place):
    assert own_command() == 'python -m vla_pruner_ros.cli.main'


def test_in_a_ros_workspace_ros2_runs_it(place, monkeypatch):
    script(place / 'install' / 'lib' / 'vla_pruner_ros')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/opt/ros/jazzy:{place / "install"}')
    assert own_command() == 'ros2 run vla_pruner_ros vla-pruner'


def test_beside_the_interpreter_it_is_a_path(place, monkeypatch):
    script(place / '.venv' / 'bin')
    assert own_command() == '.venv/bin/vla-pruner'
    (place / 'elsewhere').mkdir()
    monkeypatch.chdir(place / 'elsewhere')
    assert own_command() == str(place / '.venv' / 'bin' / 'vla-pruner')


def test_on_the_path_it_is_a_name(place, monkeypatch):
    script(place / 'empty')
    assert own_command() == 'vla-pruner'
