# SPDX-License-Identifier: Apache-2.0
"""The replay command on made-up bags and, where they lie beside the project, on real ones."""
import json
import sys

from bags import Scene
from fakes import FakeBackend, make_spec
from paths import ROOT
import pytest
from skipped import shared_file

from vla_pruner_ros import backends
from vla_pruner_ros.cli.main import main

pytest.importorskip('rosbags.rosbag2', reason='bags need the package rosbags')
pytest.importorskip('matplotlib', reason='plots need matplotlib')
cv2 = pytest.importorskip('cv2', reason='pictures need OpenCV')


@pytest.fixture(autouse=True)
def fake_policy(monkeypatch):
    monkeypatch.setattr(backends, 'load_backend', lambda parameters: FakeBackend())


def replay(bag, out, *more):
    status = main(['replay', str(bag), '--out', str(out), '--budgets', 'all,8,4',
                   '--pruners', 'random', *more])
    return status, (json.loads((out / 'report.json').read_text()) if status == 0 else None)


@pytest.fixture
def bag(tmp_path):
    return Scene(frames=24).write(tmp_path / 'bag')


def test_a_bag_gives_the_same_chunks_twice(bag, tmp_path):
    first = replay(bag, tmp_path / 'a', '--no-pictures')[1]
    second = replay(bag, tmp_path / 'b', '--no-pictures')[1]
    assert first['chunks_sha256'] == second['chunks_sha256']
    assert [run['chunks_sha256'] for run in first['runs']] == [
        run['chunks_sha256'] for run in second['runs']]
    other = replay(bag, tmp_path / 'c', '--no-pictures', '--set', 'seed=1')[1]
    assert other['chunks_sha256'] != first['chunks_sha256']
    assert other['runs'][0]['chunks_sha256'] == first['runs'][0]['chunks_sha256']


def test_a_place_that_cannot_be_written_is_refused_before_a_policy_is_loaded(
        bag, monkeypatch, capsys):
    loaded = []
    monkeypatch.setattr(backends, 'load_backend', loaded.append)
    assert main(['replay', str(bag), '--out', '/dev/null/out']) == 2
    assert '--out /dev/null/out cannot be written' in capsys.readouterr().err and not loaded


@pytest.mark.parametrize('more', [[], ['--no-pictures']])
def test_a_disk_that_becomes_full_costs_the_files_but_not_the_table(
        bag, tmp_path, full_disk, capsys, more):
    assert replay(bag, tmp_path / 'out', *more)[0] == 2
    shown = capsys.readouterr()
    assert 'random 8' in shown.out and 'No space left on device' in shown.err
    assert not list((tmp_path / 'out').glob('*.json'))


def test_missing_matplotlib_is_said_before_a_policy_is_loaded(bag, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.setattr(backends, 'load_backend', None)
    assert replay(bag, tmp_path / 'out')[0] == 2
    assert '--no-pictures): sudo apt-get install python3-matplotlib' in capsys.readouterr().err


def test_report_pictures_and_table(bag, tmp_path, capsys):
    status, report = replay(bag, tmp_path / 'out')
    assert status == 0
    for name in ('report.json', 'actions.png', 'stages.png', 'deviation.png', 'overlay.png'):
        assert name in report['files'] and (tmp_path / 'out' / name).stat().st_size > 500
    assert 'overlay.mp4' in report['files'] or report['no_video']
    sheet = cv2.imread(str(tmp_path / 'out' / 'overlay.png'))
    assert sheet is not None and sheet.std() > 10
    shown = capsys.readouterr()
    assert 'random 8' in shown.out and 'overlay.png' in shown.out
    assert '[3/3] random 4: 6 steps' in shown.err
    # 24 frames, 50 ms apart, four steps of 50 ms executed per chunk: every fourth is answered.
    assert [run['steps'] for run in report['runs']] == [6, 6, 6]
    assert report['runs'][0]['ticks'] == {'answered': 6, 'not_due': 18}
    assert [run['kept_share'] for run in report['runs']] == [1.0, 0.5, 0.25]
    against = report['runs'][1]['against_unpruned']
    assert against['action_deviation']['dx']['max'] > 0
    assert against['action_deviation']['dy']['max'] == 0
    assert against['chance_overlap'] == 0.5
    assert report['bag']['topics']['/ee_pose'] == {'type': 'geometry_msgs/msg/PoseStamped',
                                                   'messages': 24}


def test_the_brightest_tokens_are_the_fakes_full_attention_choice(bag, tmp_path):
    report = replay(bag, tmp_path / 'out', '--no-pictures', '--pruners', 'action_only',
                    '--set', 'temporal_window=1')[1]
    overlaps = [run['against_unpruned']['kept_overlap_full_attention']
                for run in report['runs'][1:]]
    assert all(overlap > 0.9 for overlap in overlaps)


def test_a_limit_in_seconds_of_bag_time(bag, tmp_path):
    report = replay(bag, tmp_path / 'out', '--no-pictures', '--limit', '0.5')[1]
    assert report['runs'][0]['steps'] == 3  # at 0, 0.2 and 0.4 s


def test_lock_step_answers_every_frame(bag, tmp_path):
    report = replay(bag, tmp_path / 'out', '--no-pictures', '--set', 'lock_step=true')[1]
    assert report['runs'][0]['steps'] == 24


def test_stamps_of_another_clock_than_the_log_are_noticed(tmp_path, capsys):
    path = Scene(frames=24, slow=4).write(tmp_path / 'bag')
    report = replay(path, tmp_path / 'out', '--no-pictures')[1]
    assert (report['clock'], report['runs'][0]['steps']) == ('stamps', 6)
    assert 'up to 8.4 s apart' in capsys.readouterr().err  # 5 s + 3 * 23 * 0.05 s
    usual = replay(Scene(frames=24).write(tmp_path / 'usual'), tmp_path / 'b', '--no-pictures')[1]
    assert usual['clock'] == 'log'
    assert report['runs'][0]['chunks_sha256'] == usual['runs'][0]['chunks_sha256']
    assert replay(path, tmp_path / 'c', '--clock', 'log')[0] == 2
    assert 'stale_camera:corner' in capsys.readouterr().err


def test_reuse_is_compared_with_the_plain_policy(bag, tmp_path):
    report = replay(bag, tmp_path / 'out', '--set', 'reuse=true', '--set', 'reuse_overlap=0.0',
                    '--set', 'reuse_image_change=0')[1]
    plain, whole = report['runs'][:2]
    assert (plain['label'], plain['reuse_rate']) == ('unpruned', 0.0)
    assert whole['label'] == 'all +reuse' and whole['reuse_reasons']['reused'] >= 1


@pytest.mark.parametrize('scene, more, words', [
    ({'without': ('/camera/image_raw',)}, (), "no topic '/camera/image_raw' for camera 'corner'"),
    ({'without': ('/ee_pose',)}, (), "no topic '/ee_pose' for the end-effector pose"),
    ({'without': ('/joint_states',)}, (), "no topic '/joint_states'"),
    ({'instruction': None}, (), 'give one with --instruction'),
    ({'instruction': 'brew coffee'}, (), 'known words: reach, push, stop; give an instruction'),
    ({'instruction': ''}, (), 'instruction_empty'),
    ({}, ('--set', 'camera_topics=corner=/joint_states'), 'is a sensor_msgs/msg/JointState'),
    ({}, ('--set', 'camera_topics=wrist=/camera/image_raw'), r"exactly ['corner']"),
    ({}, ('--pruners', 'magic'), "'magic'; accepted: none"),
    ({}, ('--budgets', '0'), "--budgets has '0'"),
    ({}, ('--limit', '-1'), '--limit is -1'),
    ({}, ('--set', 'max_image_age=0.5', '--set', 'joint_state_topic='), 'joint_state_topic is e'),
])
def test_what_cannot_be_replayed_is_one_clear_line(tmp_path, capsys, scene, more, words):
    path = Scene(frames=4, **scene).write(tmp_path / 'bag')
    assert replay(path, tmp_path / 'out', *more)[0] == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert words in error
    assert not (tmp_path / 'out' / 'report.json').exists()


def test_a_missing_topic_lists_those_that_are_there(tmp_path, capsys):
    path = Scene(frames=4, without=('/ee_pose',)).write(tmp_path / 'bag')
    replay(path, tmp_path / 'out')
    assert '/camera/image_raw (sensor_msgs/msg/Image, 4)' in capsys.readouterr().err


def test_an_instruction_by_hand_replaces_the_bags(tmp_path):
    path = Scene(frames=4, instruction='brew coffee').write(tmp_path / 'bag')
    assert replay(path, tmp_path / 'out', '--no-pictures', '--instruction', 'push')[0] == 0


def test_broken_frames_are_counted_and_the_rest_is_used(tmp_path):
    class Broken(Scene):
        def image(self, stamp, number):
            message = super().image(stamp, number)
            if number % 2:
                message.encoding = 'rgb9'
            return message

    path = Broken(frames=8).write(tmp_path / 'bag')
    report = replay(path, tmp_path / 'out', '--no-pictures', '--set', 'lock_step=true')[1]
    assert report['runs'][0]['steps'] == 4
    assert report['runs'][0]['drops'] == {'unknown_encoding:corner': 4}


@pytest.mark.parametrize('name, config, steps', [
    ('droid_00000002_rosbag2_sqlite3', 'replay_droid.yaml', 30),
    ('soccer_goal_12.mcap', 'replay_soccer.yaml', 2)])
def test_real_recordings_go_through_the_whole_path(tmp_path, monkeypatch, name, config, steps):
    spec = make_spec(state_names=('x', 'y', 'z', 'gripper_opening'))
    monkeypatch.setattr(backends, 'load_backend', lambda parameters: FakeBackend(spec))
    status, report = replay(shared_file(f'rosbag2/{name}'), tmp_path / 'out', '--config',
                            str(ROOT / 'config' / config), '--instruction', 'reach')
    assert status == 0
    assert report['runs'][0]['steps'] == steps
    assert report['runs'][0]['drops'] == {}
    assert (tmp_path / 'out' / 'overlay.png').stat().st_size > 10000


