# SPDX-License-Identifier: Apache-2.0
"""The texts of ``camera_topics`` and ``state_sources``."""
from fakes import make_spec
import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.types import CameraSpec
from vla_pruner_ros.runtime.input_mapping import (
    CameraTopic,
    parse_camera_topics,
    parse_state_sources,
    StateSource,
)


@pytest.mark.parametrize('entry, topic, compressed', [
    ('corner=/a', '/a', False), ('corner=/a/compressed', '/a/compressed', True),
    (' corner = /a@compressed', '/a', True), ('corner=/a/compressed@raw', '/a/compressed', False)])
def test_camera_entries(entry, topic, compressed):
    assert parse_camera_topics([entry]) == (CameraTopic('corner', topic, compressed),)


def test_cameras_come_in_the_order_of_the_policy():
    spec = make_spec(cameras=(CameraSpec('b', 8, 8), CameraSpec('a', 8, 8)))
    assert [one.role for one in parse_camera_topics(['a=/a', 'b=/b'], spec)] == ['b', 'a']


@pytest.mark.parametrize('entries, words', [
    (['/camera'], "'/camera'; accepted: 'role=topic'"), (['=/a'], 'accepted'),
    (['corner='], 'accepted'), (['corner=/a@theora'], 'theora'),
    (['corner=/a', 'corner=/b'], 'twice'), (['wrist=/a'], r"exactly \['corner'\]"),
    ([], r"exactly \['corner'\]"), (['corner=/a', 'wrist=/b'], r"exactly \['corner'\]")])
def test_bad_camera_entries(entries, words):
    with pytest.raises(ConfigError, match=words):
        parse_camera_topics(entries, make_spec())


def test_state_defaults_and_entries():
    assert parse_state_sources(['ee_y=const.-0.5', 'gripper=joint.finger.left'], make_spec()) == (
        StateSource('ee_x', 'pose', 'x'), StateSource('ee_y', 'const', '', -0.5),
        StateSource('ee_z', 'pose', 'z'), StateSource('gripper', 'joint', 'finger.left'))


def test_defaults_of_the_shipped_policy():
    spec = make_spec(state_names=('x', 'y', 'z', 'gripper_opening'))
    assert [(one.kind, one.key) for one in parse_state_sources([], spec)] == [
        ('pose', 'x'), ('pose', 'y'), ('pose', 'z'), ('joint', 'gripper')]


@pytest.mark.parametrize('entries, words', [
    (['speed=pose.x'], 'ee_x, ee_y, ee_z, gripper'), (['ee_x'], 'ee_x, ee_y'),
    (['ee_x=pose.height'], 'x y z qx'), (['ee_x=joint.'], 'accepted'),
    (['ee_x=const.nan'], 'NUMBER'), (['ee_x=const.many'], 'NUMBER'),
    (['ee_x=const.1', 'ee_x=const.2'], 'twice')])
def test_bad_state_entries(entries, words):
    with pytest.raises(ConfigError, match=words):
        parse_state_sources(entries, make_spec())
