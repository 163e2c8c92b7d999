# SPDX-License-Identifier: Apache-2.0
"""Files shipped beside the code: parameter file, launch file, transport profile."""
import ast
from pathlib import Path
import xml.etree.ElementTree as ElementTree

from paths import ROOT
import pytest
import yaml

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters, table, table_by_name
from vla_pruner_ros.runtime import parameter_files as parameter_file
from vla_pruner_ros.runtime.installed_files import DDS_PROFILE, process_environment, shipped_file

LAUNCH = ROOT / 'launch' / 'pruned_policy.launch.py'


def test_parameter_file_is_made_from_the_table():
    text = shipped_file('config/pruned_policy.yaml').read_text()
    assert text == parameter_file.render(), 'run: make docs'


def test_parameter_file_gives_the_defaults_to_any_node_name():
    given = yaml.safe_load(parameter_file.render())['/**']['ros__parameters']
    assert Parameters().changed(given) == Parameters()
    commented = {spec.name for spec in table()} - set(given)
    assert commented == {spec.name for spec in table() if spec.default == ()}
    for spec in table():
        assert type(given.get(spec.name, ())) in (type(spec.default), list, tuple)


def launch_constants():
    """Argument dictionaries of the launch file, read without importing ``launch``."""
    tree = ast.parse(LAUNCH.read_text())
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body
            if isinstance(node, ast.Assign)}


def test_launch_arguments_are_parameters_of_the_table():
    constants = launch_constants()
    known = table_by_name()
    assert set(constants['PARAMETER_ARGUMENTS']) <= set(known)
    texts = {name for name in constants['PARAMETER_ARGUMENTS']
             if isinstance(known[name].default, str)}
    assert set(constants['TEXT']) == texts


def test_launch_file_leaves_tuning_to_the_parameter_file():
    tuning = {spec.name for spec in table()
              if spec.metadata['group'] in ('pruning', 'reuse', 'safety')}
    # Which of them depend on the robot, a launch file that knows the robot passes on.
    tuning -= {'position_low', 'position_high', 'tracking_tolerance'}
    constants = launch_constants()
    assert not tuning & {*constants['PARAMETER_ARGUMENTS'], *constants['OTHER_ARGUMENTS']}
    assert {'params_file', 'namespace', 'use_sim_time', 'log_level'} <= set(
        constants['OTHER_ARGUMENTS'])


def test_profile_has_room_for_large_images_and_keeps_other_hosts():
    root = ElementTree.parse(shipped_file(DDS_PROFILE)).getroot()
    space = {'dds': 'http://www.eprosima.com'}

    def texts(tag):
        return [one.text for one in root.findall(f'.//dds:{tag}', space)]

    assert texts('segment_size') == [str(64 * 2**20)]
    assert texts('maxMessageSize') == [str(16 * 2**20)]
    assert texts('type') == ['SHM', 'UDPv4']
    assert texts('useBuiltinTransports') == ['false']


def test_environment_names_the_profile_for_old_and_new_releases():
    extra = process_environment({})
    assert extra['OMP_WAIT_POLICY'] == 'PASSIVE'
    assert extra['FASTRTPS_DEFAULT_PROFILES_FILE'] == extra['FASTDDS_DEFAULT_PROFILES_FILE']
    assert Path(extra['FASTDDS_DEFAULT_PROFILES_FILE']).is_file()


@pytest.mark.parametrize('own', [
    {'FASTRTPS_DEFAULT_PROFILES_FILE': '/mine.xml'}, {'FASTDDS_DEFAULT_PROFILES_FILE': '/mine'},
    {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}, {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}])
def test_a_users_own_transport_is_respected(own):
    assert set(process_environment({**own, 'OMP_WAIT_POLICY': 'ACTIVE'})) == set()


def test_file_that_is_not_shipped_says_where_it_was_looked_for():
    with pytest.raises(ConfigError, match='config/nothing.yaml'):
        shipped_file('config/nothing.yaml')


def test_installed_files_are_found_through_the_ament_prefix(tmp_path, monkeypatch):
    place = tmp_path / 'share' / 'vla_pruner_ros' / 'config'
    place.mkdir(parents=True)
    (place / 'only_here.yaml').write_text('{}')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path}')
    assert shipped_file('config/only_here.yaml') == place / 'only_here.yaml'
