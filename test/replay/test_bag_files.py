# SPDX-License-Identifier: Apache-2.0
"""Bags in all their forms, whole and broken; and the writer of recordings."""
import gzip

from bags import Scene, T0, TYPES
import pytest
from skipped import shared_file

pytest.importorskip('rosbags.rosbag2', reason='bags need the package rosbags')
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin  # noqa: E402

from vla_pruner_ros.core.errors import ConfigError  # noqa: E402
from vla_pruner_ros.replay.bag_reader import Bag, full_type  # noqa: E402
from vla_pruner_ros.replay.bag_writer import BagWriter  # noqa: E402

FORMS = {
    'sqlite3': {'storage_plugin': StoragePlugin.SQLITE3},
    'mcap': {'storage_plugin': StoragePlugin.MCAP},
    'sqlite3, zstd per message': {'compression': (CompressionMode.MESSAGE,
                                                  CompressionFormat.ZSTD)},
    'sqlite3, zstd per file': {'compression': (CompressionMode.FILE, CompressionFormat.ZSTD)},
    'mcap, zstd per file': {'storage_plugin': StoragePlugin.MCAP,
                            'compression': (CompressionMode.FILE, CompressionFormat.ZSTD)},
}


def contents(path, **kwargs):
    with Bag(path, **kwargs) as bag:
        return [(topic, stamp) for topic, stamp, _ in bag.messages(list(bag.topics))]


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('metadata', [True, False])
def test_every_form_is_read_with_and_without_its_metadata(tmp_path, form, metadata):
    path = Scene(frames=3).write(tmp_path / 'bag', **FORMS[form])
    if not metadata:
        (path / 'metadata.yaml').unlink()
    found = contents(path)
    assert sorted(found) == sorted((topic, stamp) for topic, stamp, _ in Scene(3).messages())
    assert [stamp for _, stamp in found] == sorted(stamp for _, stamp in found)


def test_a_single_file_is_a_bag(tmp_path):
    path = Scene(frames=2).write(tmp_path / 'bag')
    [file] = path.glob('*.db3')
    assert len(contents(file)) == 7


def test_messages_come_out_as_they_went_in(tmp_path):
    with Bag(Scene(frames=1).write(tmp_path / 'bag')) as bag:
        messages = {topic: message for topic, _, message in bag.messages(list(bag.topics))}
        assert bag.topics['/camera/image_raw'].count == 1
        assert bag.span_ns[0] == T0
    assert messages['/instruction'].data == 'reach'
    assert messages['/camera/image_raw'].encoding == 'rgb8'
    assert bytes(messages['/camera/image_raw'].data[:3]) == bytes([0, 1, 2])
    assert messages['/ee_pose'].pose.position.y == 0.2


def test_the_recorders_bag_is_read_back(tmp_path):
    path = tmp_path / 'recorded'
    with BagWriter(path) as writer:
        for topic, kind, data, stamp in Scene(frames=2).serialized():
            writer.write(topic, kind, data, stamp)
    assert sorted(contents(path)) == sorted((t, stamp) for t, stamp, _ in Scene(2).messages())
    with Bag(path) as bag:
        assert {name: one.type_name for name, one in bag.topics.items()} == TYPES


def test_the_recorder_refuses_what_it_cannot_describe(tmp_path):
    (tmp_path / 'there').mkdir()
    with pytest.raises(ConfigError, match='there'):
        BagWriter(tmp_path / 'there')
    with BagWriter(tmp_path / 'bag') as writer:
        with pytest.raises(ConfigError, match="'my_msgs/msg/Odd'"):
            writer.write('/odd', 'my_msgs/msg/Odd', b'', 0)


def test_old_type_names_are_completed():
    assert full_type('sensor_msgs/Image') == 'sensor_msgs/msg/Image'
    assert full_type('sensor_msgs/msg/Image') == 'sensor_msgs/msg/Image'


@pytest.mark.parametrize('plugin, suffix', [(StoragePlugin.MCAP, '.mcap'),
                                            (StoragePlugin.SQLITE3, '.db3')])
@pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.95])
def test_a_truncated_bag_is_named(tmp_path, plugin, suffix, share):
    [whole] = Scene().write(tmp_path / 'bag', storage_plugin=plugin).glob(f'*{suffix}')
    data = whole.read_bytes()
    cut = tmp_path / f'cut{suffix}'
    cut.write_bytes(data[:int(len(data) * share)])
    with pytest.raises(ConfigError, match=f'cut{suffix} is (not a readable|damaged)'):
        contents(cut)


def test_what_is_not_a_bag_is_named(tmp_path):
    text = tmp_path / 'notes.txt'
    text.write_text('hello')
    fake = tmp_path / 'fake.mcap'
    fake.write_bytes(gzip.compress(b'hello'))
    empty = tmp_path / 'empty'
    empty.mkdir()
    for path, words in ((text, 'accepted: a bag directory'), (fake, 'not a readable rosbag2'),
                        (empty, 'accepted: a bag directory'), (tmp_path / 'none', 'no bag at')):
        with pytest.raises(ConfigError, match=words):
            contents(path)


def test_an_unknown_distribution_is_named(tmp_path):
    with pytest.raises(ConfigError, match="'noetic'; accepted: foxy"):
        contents(Scene(frames=1).write(tmp_path / 'bag'), distro='noetic')


@pytest.mark.parametrize('name, count', [
    ('droid_00000000_rosbag2_mcap', 499), ('droid_00000002_rosbag2_sqlite3', 181),
    ('soccer_goal_12.mcap', 2)])
def test_real_recordings_are_read_to_their_end(name, count):
    assert len(contents(shared_file(f'rosbag2/{name}'))) == count
