# SPDX-License-Identifier: Apache-2.0
"""The model runs beside the executor, never in it."""
import threading

import ros_helpers
from ros_helpers import FakeBackend

make_rig = ros_helpers.make_rig


class SlowBackend(FakeBackend):
    """Answers when ``released`` is set, once ``slow`` is."""

    def __init__(self):
        super().__init__()
        self.slow = False
        self.entered, self.released = threading.Event(), threading.Event()
        self.threads = set()

    def predict_action_chunk(self, observation, selector):
        self.threads.add(threading.get_ident())
        if self.slow:
            self.entered.set()
            assert self.released.wait(60)
        return super().predict_action_chunk(observation, selector)


def at_work(make):
    backend = SlowBackend()
    rig = make(backend)
    rig.flow()
    backend.slow = True
    rig.until(backend.entered.is_set, rig.robot.send)
    return rig, backend


def test_node_answers_while_the_model_runs_and_the_newest_frame_wins(make_rig):
    rig, backend = at_work(make_rig)
    assert rig.set(token_budget=3).successful
    assert rig.reset().success
    calls = len(backend.calls)
    for value in (10, 20, 30):
        last = rig.robot.picture(value=value)
        before = rig.node.session.runner.cache.cameras()['corner']['received']
        rig.robot.send(last)
        rig.until(lambda before=before: rig.node.session.runner.cache.cameras()['corner'][
            'received'] > before)
    backend.slow = False
    backend.released.set()
    rig.until(lambda: len(backend.calls) >= calls + 2)
    # One call was under way; of the three frames that came meanwhile only the last is used.
    assert backend.calls[calls + 1].images['corner'].max() == 30
    assert len(backend.threads) == 1 and threading.get_ident() not in backend.threads


def test_answer_that_comes_after_deactivation_is_not_published(make_rig):
    rig, backend = at_work(make_rig)
    told = rig.commands()
    rig.node.trigger_deactivate()
    rig.until(lambda: rig.commands() == told + 1)  # the hold
    backend.slow = False
    backend.released.set()
    rig.until(lambda: len(backend.calls) >= 2)
    rig.node.trigger_activate()
    begin = rig.node.session.now()
    rig.flow()
    first = rig.got['ee_trajectory'][told + 1]
    assert first.header.stamp.sec * 10**9 + first.header.stamp.nanosec >= begin


def test_cleaning_up_waits_for_the_model(make_rig):
    rig, backend = at_work(make_rig)
    rig.node.trigger_deactivate()
    timer = threading.Timer(0.2, backend.released.set)
    timer.start()
    rig.node.trigger_cleanup()
    assert backend.released.is_set()
    timer.join()
    assert not any(thread.name == 'inference' for thread in threading.enumerate())
