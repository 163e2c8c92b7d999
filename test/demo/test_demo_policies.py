# SPDX-License-Identifier: Apache-2.0
"""Shipped policies by name, and what the demo asks them before anything is loaded."""
import json
from pathlib import Path
import subprocess
import sys

import pytest

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends import shipped_policies as shipped
from vla_pruner_ros.cli.demo import arguments
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.robots.camera_topics import camera_topics, cameras_of, check_cameras


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Two shipped policies, of which one has no files here; a third folder is the user's."""
    folders = {'metaworld': tmp_path / 'weights', 'tabletop': tmp_path / 'weights' / 'tabletop'}
    monkeypatch.setattr(shipped, 'FOLDERS', folders)
    write(folders['metaworld'], instructions={'reach-v3': 'reach'}, cameras=['corner'])
    (tmp_path / 'own').mkdir()
    return tmp_path


def write(folder, **values):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / shipped.CONFIGURATION).write_text(json.dumps(values))


def test_a_name_a_directory_and_nothing_are_accepted(weights, monkeypatch):
    assert shipped.checkpoint_folder('') == weights / 'weights'
    assert shipped.checkpoint_folder('metaworld') == weights / 'weights'
    assert shipped.checkpoint_folder(str(weights / 'own')) == weights / 'own'
    write(weights / 'weights' / 'tabletop', instructions={}, cameras=[])
    assert shipped.checkpoint_folder('tabletop') == weights / 'weights' / 'tabletop'
    (weights / 'tabletop').mkdir()
    monkeypatch.chdir(weights)
    assert shipped.checkpoint_folder('tabletop') == weights / 'weights' / 'tabletop'
    assert shipped.checkpoint_folder('./tabletop') == Path('tabletop')


def test_one_action_per_look_is_executed_unless_told_otherwise():
    assert arguments().parse_args(['--policy', 'tabletop']).horizon == 1
    assert arguments().parse_args(['--horizon', '2']).horizon == 2


@pytest.mark.parametrize('wrong', ['tabletop', 'tabeltop', '/no/such/place'])
def test_anything_else_is_refused_with_the_names_of_what_is_shipped(weights, wrong):
    with pytest.raises(ConfigError, match=f"{wrong}'.*not a directory and not a shipped policy; "
                                          'accepted: a directory, metaworld$'):
        load_backend(Parameters(checkpoint=wrong))


def test_the_configuration_tells_tasks_and_cameras(weights):
    write(weights / 'own', instructions={'b': 'x', 'a': 'y'}, cameras=['front', 'wrist'])
    assert shipped.policy_facts(str(weights / 'own')) == shipped.PolicyFacts(
        ('b', 'a'), ('front', 'wrist'))
    assert shipped.policy_facts('').cameras == ('corner',)


@pytest.mark.parametrize('text', ['', '[]', '{}', '{"instructions": {}}', '{"cameras": ["a"]}'])
def test_a_configuration_that_does_not_tell_them_is_named(weights, text):
    (weights / 'own' / shipped.CONFIGURATION).write_text(text)
    with pytest.raises(ConfigError, match='own.pocket_vla.json does not say which tasks'):
        shipped.policy_facts(str(weights / 'own'))


def test_a_missing_configuration_is_named(weights):
    with pytest.raises(ConfigError, match='own.pocket_vla.json does not say.*No such file'):
        shipped.policy_facts(str(weights / 'own'))


def test_every_shipped_policy_fits_the_robots_of_its_tasks():
    assert 'metaworld' in shipped.shipped_names()
    for name in shipped.shipped_names():
        facts = shipped.policy_facts(name)
        assert facts.tasks
        for task in facts.tasks:
            check_cameras(name, facts.cameras, task, cameras_of(task))


def test_the_topics_of_cameras():
    assert camera_topics(('corner',)) == list(Parameters().camera_topics)
    assert camera_topics(('front', 'wrist')) == ['front=/camera/front/image_raw',
                                                 'wrist=/camera/wrist/image_raw']


def test_a_robot_without_a_camera_of_the_policy_is_refused_with_both_lists():
    check_cameras('p', ['front'], 'reach-colour', ('front', 'wrist'))
    with pytest.raises(ConfigError, match=r"^policy 'pocket' needs camera\(s\) corner; task "
                                          'reach-colour has front, wrist$'):
        check_cameras('pocket', ['corner'], 'reach-colour', ('front', 'wrist'))


def test_asking_needs_no_torch():
    done = subprocess.run(
        [sys.executable, '-c', 'import sys; from vla_pruner_ros.backends.shipped_policies import '
         'policy_facts; import vla_pruner_ros.robots.camera_topics; '
         'import vla_pruner_ros.demo.run_demo; policy_facts(""); '
         'sys.exit("torch" in sys.modules)'], timeout=60)
    assert done.returncode == 0
