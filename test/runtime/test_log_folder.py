# SPDX-License-Identifier: Apache-2.0
"""Where ROS writes its log files."""
from pathlib import Path

import pytest

from vla_pruner_ros.runtime.log_folder import log_environment, usual_folder


@pytest.mark.parametrize('environ, folder', [
    ({'HOME': '/h'}, '/h/.ros/log'), ({'HOME': '/h', 'ROS_HOME': '/r'}, '/r/log'),
    ({'HOME': '/h', 'ROS_HOME': '~/r'}, '/h/r/log'),
    ({'HOME': '/h', 'ROS_HOME': '/r', 'ROS_LOG_DIR': '/l'}, '/l'), ({'ROS_LOG_DIR': '/l'}, '/l')])
def test_the_folder_is_chosen_as_ros_does(environ, folder):
    assert usual_folder(environ) == Path(folder)


@pytest.mark.parametrize('environ', [{}, {'HOME': ''}, {'ROS_HOME': '~/r'}])
def test_without_a_home_there_is_none(environ):
    assert usual_folder(environ) is None


def test_a_folder_that_works_is_left_alone(tmp_path, capsys):
    assert log_environment({'HOME': str(tmp_path)}) == {}
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('environ, why', [
    ({}, 'HOME is not set'), ({'HOME': '/proc'}, '/proc/.ros/log cannot be written'),
    ({'HOME': '/tmp', 'ROS_LOG_DIR': '/dev/null/x'}, '/dev/null/x cannot be written')])
def test_otherwise_it_is_a_temporary_one_and_a_line_says_so(
        environ, why, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    folder = Path(log_environment(environ)['ROS_LOG_DIR'])
    assert folder.is_dir() and folder.parent == tmp_path
    assert capsys.readouterr().err == f'ROS log files go to {folder}, because {why}\n'
