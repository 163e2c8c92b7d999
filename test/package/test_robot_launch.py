# SPDX-License-Identifier: Apache-2.0
"""``robot:=NAME`` of the launch file: which files are read, in which order, what is refused."""
from pathlib import Path

import launch_stand_ins
from paths import ROOT
import pytest
from robot_files import NAMES

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.runtime.parameter_files import load_parameters

FILE = ROOT / 'launch' / 'pruned_policy.launch.py'


@pytest.fixture
def launch():
    with launch_stand_ins.launch_file(FILE) as defined:
        yield defined


def files(launch, **given):
    *files, overrides = launch_stand_ins.started(launch, **given)['parameters']
    return [Path(one).relative_to(ROOT).as_posix() if Path(one).is_relative_to(ROOT) else one
            for one in files], overrides


def test_without_a_robot_the_shipped_defaults_or_the_users_file_are_read(launch):
    assert files(launch)[0] == ['config/pruned_policy.yaml']
    assert files(launch, params_file='/my/own.yaml')[0] == ['/my/own.yaml']


def test_the_robots_file_is_read_first_and_arguments_last(launch):
    found, overrides = files(launch, robot='ur5e', params_file='/my/own.yaml', dry_run='false')
    assert found == ['config/robots/ur5e.yaml', '/my/own.yaml']
    assert overrides == {'use_sim_time': False, 'dry_run': False}


@pytest.mark.parametrize('robot', NAMES)
def test_a_robot_alone_is_not_undone_by_the_file_of_defaults(launch, robot):
    assert files(launch, robot=robot)[0] == [f'config/robots/{robot}.yaml']


def test_an_unknown_robot_is_refused_with_the_list(launch):
    with pytest.raises(ConfigError, match="robot is 'ur5'; accepted: aloha, fr3, .*, xarm7; for"):
        files(launch, robot='ur5')


def test_the_arguments_describe_the_robots(launch):
    default, words = launch_stand_ins.arguments(launch)['robot']
    assert default == '' and all(name in words for name in NAMES)


def test_two_parameter_files_by_hand_give_the_same(tmp_path):
    mine = tmp_path / 'mine.yaml'
    mine.write_text('/**:\n  ros__parameters:\n    max_velocity: [0.1]\n    dry_run: false\n')
    both = load_parameters(mine, (), load_parameters(ROOT / 'config/robots/ur5e.yaml'))
    assert both.max_velocity == (0.1,) and not both.dry_run
    assert both.joint_names[2] == 'elbow_joint' and len(both.max_acceleration) == 6
