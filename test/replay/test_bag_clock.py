# SPDX-License-Identifier: Apache-2.0
"""What "now" is in a bag whose stamps come from another clock than its log times."""
import json
from types import SimpleNamespace

from bags import Scene
from fakes import FakeBackend, header
import pytest

from vla_pruner_ros import backends
from vla_pruner_ros.cli.main import main
from vla_pruner_ros.replay.bag_clock import instants

MS = 10**6


def nows(*messages, clock='stamps'):
    """Now, in ms, at each of some (topic, log ms, stamp ms)."""
    bag = SimpleNamespace(messages=lambda topics: [
        (topic, log * MS, SimpleNamespace(header=header(stamp * MS)))
        for topic, log, stamp in messages])
    wiring = SimpleNamespace(topics=())
    return [None if now is None else now / MS for _, now, _ in instants(bag, wiring, clock)]


def test_log_times_are_taken_as_they_are():
    assert nows(('a', 5, 900), ('a', 6, 100), clock='log') == [5, 6]


def test_now_is_the_newest_stamp_and_none_before_the_first():
    assert nows(('a', 1, 0), ('a', 2, 500), ('b', 3, 490), ('a', 4, 600)) == [None, 500, 500, 600]


def test_a_driver_that_lags_or_a_straggler_does_not_turn_time_back():
    takes = [(topic, log, 1000 + log - (300 if topic == 'b' else 0))
             for log in range(0, 2000, 50) for topic in ('a', 'b')]
    assert nows(*takes) == [1000 + log for _, log, _ in takes]
    assert nows(('a', 0, 1000), ('a', 50, 700), ('a', 100, 1100)) == [1000, 1000, 1100]


def test_a_second_take_turns_time_back_once_after_half_a_second():
    first = [('a', log, 9000 + log) for log in range(0, 500, 100)]
    second = [('a', log, log) for log in range(500, 1500, 100)]
    assert nows(*first, *second)[5:] == [9400] * 5 + [1000, 1100, 1200, 1300, 1400]


def test_one_stamp_from_the_far_future_holds_for_half_a_second():
    bag = [('a', 0, 1000), ('a', 10, 10**9), *(('a', log, 1000 + log)
                                              for log in range(100, 1000, 100))]
    assert nows(*bag) == [1000, 10**9] + [10**9] * 5 + [1600, 1700, 1800, 1900]


@pytest.mark.parametrize('clock', ['log', 'stamps'])
def test_a_late_second_sender_in_a_bag_changes_no_chunk(tmp_path, monkeypatch, clock):
    pytest.importorskip('rosbags.rosbag2', reason='bags need the package rosbags')
    pytest.importorskip('matplotlib', reason='plots need matplotlib')
    monkeypatch.setattr(backends, 'load_backend', lambda parameters: FakeBackend())

    class TwoSenders(Scene):
        """Every joint state comes again, 150 ms late."""

        def serialized(self):
            late = []
            for topic, kind, data, log in super().serialized():
                yield topic, kind, data, log
                if topic == '/joint_states':
                    late.append(data)
                    if len(late) > 3:
                        yield topic, kind, late[-4], log

    digests = []
    for scene in (Scene(frames=24), TwoSenders(frames=24)):
        out = tmp_path / type(scene).__name__
        bag = scene.write(tmp_path / f'bag_of_{type(scene).__name__}')
        assert main(['replay', str(bag), '--out', str(out), '--budgets', '8', '--no-pictures',
                     '--pruners', 'random', '--clock', clock]) == 0
        report = json.loads((out / 'report.json').read_text())
        assert [run['steps'] for run in report['runs']] == [6, 6]
        digests.append(report['chunks_sha256'])
    assert digests[0] == digests[1]
