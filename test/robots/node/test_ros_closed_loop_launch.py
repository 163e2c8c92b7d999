# SPDX-License-Identifier: Apache-2.0
"""closed_loop.launch.py: one command for each shipped policy and its robot."""
import ast
import importlib.util
import json

from paths import ROOT
import pytest

from vla_pruner_ros.backends import shipped_policies as shipped
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.node.robot_parameters import TABLE

LAUNCH = ROOT / 'launch' / 'closed_loop.launch.py'


def test_arguments_for_the_robot_are_parameters_of_its_table():
    constants = {node.targets[0].id: node.value for node in ast.parse(LAUNCH.read_text()).body
                 if isinstance(node, ast.Assign)}
    names = {ast.literal_eval(key) for key in constants['ROBOT'].keys}
    assert names <= {one.name for one in TABLE}
    assert set(ast.literal_eval(constants['POLICY'])) == {'params_file', 'checkpoint', 'device'}


# Not a skip: launch comes with a ROS installation only.
if importlib.util.find_spec('launch_ros') is not None:
    from launch.actions import IncludeLaunchDescription
    from launch.utilities import perform_substitutions
    import launch_files
    from launch_ros.actions import Node
    from launch_ros.utilities import evaluate_parameters

    @pytest.fixture(autouse=True)
    def two_policies(tmp_path, monkeypatch):
        for name, tasks, cameras in (('metaworld', ['reach-v3', 'push-v3'], ['corner']),
                                     ('tabletop', ['touch-two'], ['front', 'wrist'])):
            folder = tmp_path / name
            folder.mkdir()
            (folder / shipped.CONFIGURATION).write_text(json.dumps(
                {'instructions': dict.fromkeys(tasks, ''), 'cameras': cameras}))
        monkeypatch.setattr(shipped, 'FOLDERS', {name: tmp_path / name
                                                 for name in ('metaworld', 'tabletop')})
        with launch_files.environment_kept():
            yield

    def launched(**arguments):
        """Return (arguments of the policy's launch file, the robot's overrides)."""
        context, actions = launch_files.launched(LAUNCH, arguments)
        [include] = [one for one in actions if isinstance(one, IncludeLaunchDescription)]
        [robot] = [one for one in actions if isinstance(one, Node)]
        given = evaluate_parameters(context, robot._Node__parameters)
        policy = {name: value if isinstance(value, str) else perform_substitutions(context, value)
                  for name, value in include.launch_arguments}
        return policy, next(one for one in given if isinstance(one, dict))

    def test_without_arguments_the_shipped_files_decide_everything():
        policy, robot = launched()
        assert robot['task'] == 'reach-v3' and robot['lock_step'] is True
        assert policy['checkpoint'] == '' and not {'camera_topics', 'max_skew'} & set(policy)

    def test_the_tabletop_policy_gets_its_cameras_and_a_task_of_its_own():
        policy, robot = launched(checkpoint='tabletop', lock_step='false', controller='jtc')
        assert robot['controller'] == 'jtc'
        assert ast.literal_eval(policy['position_low']) == [0.28, -0.2, 0.012]
        assert 'position_low' not in launched(checkpoint='tabletop')[0]  # lock step as ever
        assert (robot['task'], robot['lock_step']) == ('touch-two', False)
        assert policy['lock_step'] == 'false' and policy['checkpoint'] == 'tabletop'
        assert ast.literal_eval(policy['camera_topics']) == [
            'front=/camera/front/image_raw', 'wrist=/camera/wrist/image_raw']
        assert 0 < float(policy['max_skew']) < 0.05  # of the next moment's images
        assert launched(checkpoint='tabletop', task='reach-colour')[1]['task'] == 'reach-colour'

    def test_a_checkpoint_that_is_not_there_is_refused_with_the_names(tmp_path):
        with pytest.raises(ConfigError, match='metaworld, tabletop'):
            launched(checkpoint='tabeltop')

    def test_a_policy_of_another_family_brings_its_own_parameters(tmp_path):
        policy, robot = launched(checkpoint='someone/model', params_file='/my.yaml',
                                 task='push-v3')
        assert (policy['checkpoint'], robot['task']) == ('someone/model', 'push-v3')
        assert 'camera_topics' not in policy
