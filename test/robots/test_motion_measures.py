# SPDX-License-Identifier: Apache-2.0
"""Measures of executed motion, by hand."""
import math

import numpy as np
import pytest
from trajectory_fakes import MS

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.controllers import motion_measures as measures

TIMES = np.arange(0, 80, 4) * MS


def ramp_with_step():
    """1 per second; at sample 10 a step of 0.1 on top."""
    positions = np.arange(20) * 0.004
    positions[10:] += 0.1
    return positions


def test_a_step_at_an_arrival_is_a_boundary_step_and_nothing_is_elsewhere():
    found = measures.smoothness(TIMES, ramp_with_step(), [39 * MS])
    assert found.boundary.position_max == pytest.approx(0.104)
    assert found.boundary.velocity_max == pytest.approx(25.0)         # 0.1 / 0.004
    assert found.boundary.acceleration_max == pytest.approx(6250.0)   # 25 / 0.004
    assert found.elsewhere.position_max == pytest.approx(0.004)
    assert found.elsewhere.velocity_max == pytest.approx(0.0, abs=1e-9)


def test_the_same_step_without_an_arrival_is_elsewhere():
    found = measures.smoothness(TIMES, ramp_with_step(), [])
    assert found.elsewhere.position_max == pytest.approx(0.104)
    assert math.isnan(found.boundary.position_max)


def test_the_window_decides_what_belongs_to_an_arrival():
    arrival = [28 * MS]  # sample 7; the step is at sample 10
    near = measures.smoothness(TIMES, ramp_with_step(), arrival, window=3)
    far = measures.smoothness(TIMES, ramp_with_step(), arrival, window=1)
    assert near.boundary.position_max == pytest.approx(0.104)
    assert far.boundary.position_max == pytest.approx(0.004)


def test_a_position_step_belongs_to_its_later_sample():
    at = measures.smoothness(TIMES, ramp_with_step(), [40 * MS], window=0)
    before = measures.smoothness(TIMES, ramp_with_step(), [36 * MS], window=0)
    assert at.boundary.position_max == pytest.approx(0.104)
    assert before.boundary.position_max == pytest.approx(0.004)


def test_the_99th_percentile_lies_between_the_two_largest_of_few_steps():
    found = measures.smoothness(TIMES, ramp_with_step(), []).elsewhere
    # 19 steps: index 0.99 * 18 = 17.82 between 0.004 and 0.104.
    assert found.position_p99 == pytest.approx(0.004 + 0.82 * 0.1)


def test_steps_are_lengths_over_all_columns():
    rows = np.column_stack([np.arange(20) * 0.003, np.arange(20) * 0.004])
    found = measures.smoothness(TIMES, rows, []).elsewhere
    assert found.position_max == pytest.approx(0.005)


def test_uneven_times_count_as_they_are():
    times = [0, 4 * MS, 10 * MS]
    found = measures.smoothness(times, [0.0, 0.004, 0.016], []).elsewhere
    assert found.velocity_max == pytest.approx(1.0)  # 1 per second, then 2
    assert found.acceleration_max == pytest.approx(200.0)  # within 5 ms


def test_a_sample_is_uncovered_where_the_newest_chunk_has_ended():
    # Arrivals at 8 and 40 ms, ends at 24 and 60: uncovered 24-36 (4 samples) and 60-76 (5) of 18.
    share = measures.uncovered_share(TIMES, [8 * MS, 40 * MS], [24 * MS, 60 * MS])
    assert share == pytest.approx(9 / 18)
    assert measures.uncovered_share(TIMES, [], []) == 1.0
    assert measures.uncovered_share(TIMES, [0], [80 * MS]) == 0.0


def test_path_lengths_and_their_ratio():
    there_and_back = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert measures.path_length(there_and_back) == pytest.approx(10.0)
    assert measures.path_ratio(there_and_back, [[0.0, 0.0], [0.0, 4.0]]) == pytest.approx(2.5)
    assert math.isnan(measures.path_ratio(there_and_back, [[1.0, 1.0]]))


def test_rows_squeezed_into_half_their_time_are_off_speed():
    # 1 per second for 40 ms, then twice as fast; the policy meant 1 per second throughout.
    positions = np.concatenate([np.arange(10) * 0.004, 0.036 + np.arange(1, 11) * 0.008])
    begins, ends = [0, 16 * MS, 44 * MS, 60 * MS], [16 * MS, 32 * MS, 60 * MS, 76 * MS]
    share = measures.off_speed_share(TIMES, positions, begins, ends, [1.0] * 4)
    assert share == pytest.approx(0.5)
    assert measures.off_speed_share(TIMES, positions, begins, ends, [1.0, 1.0, 2.0, 2.0]) == 0.0


def test_a_row_that_stands_is_not_off_speed_for_a_tremor():
    assert measures.off_speed_share(TIMES, np.arange(20) * 1e-6, [0], [40 * MS], [0.0]) == 0.0
    assert math.isnan(measures.off_speed_share(TIMES, np.zeros(20), [], [], []))


@pytest.mark.parametrize('times, positions', [([0, 1], [0.0]), ([0, 0], [0.0, 1.0])])
def test_unusable_samples_are_refused(times, positions):
    with pytest.raises(ConfigError):
        measures.smoothness(times, positions, [])


def test_a_row_that_ends_before_it_begins_is_refused():
    with pytest.raises(ConfigError, match='each end after'):
        measures.off_speed_share(TIMES, np.zeros(20), [MS], [MS], [1.0])
