# SPDX-License-Identifier: Apache-2.0
"""A rate that does not drift."""
import threading

from vla_pruner_ros.runtime.steady_ticker import next_call, SteadyTicker


def test_calls_are_planned_on_one_grid_and_missed_ones_are_left_out():
    assert next_call(0, 3, 10) == 10
    assert next_call(0, 19, 10) == 10  # late, but nothing was missed yet
    assert next_call(0, 25, 10) == 20
    assert next_call(0, 57, 10) == 50


def test_planned_times_lie_whole_periods_apart_however_long_a_call_takes():
    planned, done = [], threading.Event()

    def tick(when):
        planned.append(when)
        if len(planned) == 3:
            threading.Event().wait(0.03)  # a slow call
        if len(planned) >= 20:
            done.set()

    ticker = SteadyTicker('test', 250.0, tick, on_error=lambda error: None)
    ticker.start()
    assert done.wait(20)
    ticker.close()
    steps = {after - before for before, after in zip(planned, planned[1:])}
    assert min(steps) == 4_000_000 and all(one % 4_000_000 == 0 for one in steps)
    assert max(steps) > 4_000_000  # the calls that came too late are not made up for


def test_a_call_that_fails_is_told_and_the_next_one_comes():
    errors, done = [], threading.Event()

    def tick(when):
        if not errors:
            raise ValueError('once')
        done.set()

    ticker = SteadyTicker('test', 500.0, tick, errors.append)
    ticker.start()
    assert done.wait(20)
    ticker.close()
    assert [str(one) for one in errors] == ['once']


def test_closing_before_the_start_is_harmless():
    SteadyTicker('test', 10.0, lambda when: None, lambda error: None).close()
