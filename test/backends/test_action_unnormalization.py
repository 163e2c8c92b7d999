# SPDX-License-Identifier: Apache-2.0
"""Action tokens, statistics, data set facts: numbers by hand."""
import numpy as np
import pytest

from vla_pruner_ros.backends.openvla.action_unnormalization import (
    ActionTokens,
    choose_statistics,
    read_bounds,
)
from vla_pruner_ros.backends.openvla.dataset_facts import action_names, facts, state_names
from vla_pruner_ros.core.errors import AnswerError, ConfigError


def test_the_highest_token_is_the_lowest_value():
    # 256 edges from -1 to 1 are 2/255 apart; the first centre lies half of that above -1.
    values = ActionTokens().decode([31999, 31872, 31745])
    assert values == pytest.approx([-1 + 1 / 255, 0.0, 1 - 1 / 255])


def test_the_lowest_token_shares_the_highest_value():
    values = ActionTokens().decode([31744, 31745])
    assert values[0] == values[1]


@pytest.mark.parametrize('token', [2, 31743, 32000, 32063])
def test_a_token_that_is_no_action_is_refused_with_the_range(token):
    with pytest.raises(AnswerError, match=f'token {token},.*31744 to 31999'):
        ActionTokens().decode([31800, token])


def test_values_are_spread_over_the_quantiles_and_the_gripper_is_not():
    block = {'q01': [-0.1, -1.0, 0.0], 'q99': [0.3, 1.0, 1.0], 'mask': [True, True, False]}
    bounds = read_bounds(block, 'quantiles', 'x')
    assert bounds.spread(np.array([0.5, -1.0, 0.7])) == pytest.approx([0.2, -1.0, 0.7])
    # Without the mask the third column would be 0.5 * (0.7 + 1) * 1 + 0 = 0.85.
    plain = read_bounds({**block, 'mask': [True] * 3}, 'quantiles', 'x')
    assert plain.spread(np.array([0.5, -1.0, 0.7]))[2] == pytest.approx(0.85)


def test_min_max_uses_the_extremes():
    block = {'q01': [0.0], 'q99': [1.0], 'min': [-2.0], 'max': [2.0]}
    assert read_bounds(block, 'min_max', 'x').spread(np.array([1.0])) == pytest.approx([2.0])


def test_proprioception_is_squeezed_and_clipped():
    bounds = read_bounds({'q01': [0.0, -1.0, 0.0], 'q99': [2.0, 1.0, 1.0]}, 'quantiles', 'x')
    assert bounds.squeeze(np.array([0.5, 3.0, -9.0])) == pytest.approx([-0.5, 1.0, -1.0])


def test_a_range_of_zero_is_survived_with_the_epsilon_of_oft():
    bounds = read_bounds({'q01': [1.0], 'q99': [1.0]}, 'quantiles', 'x', epsilon=1e-8)
    assert bounds.squeeze(np.array([1.0])) == pytest.approx([-1.0])
    assert bounds.spread(np.array([0.0], np.float32)) == pytest.approx([1.0])


@pytest.mark.parametrize('block, said', [
    (None, 'q01'), ({}, 'q01'), ({'q01': [0.0]}, 'q99'),
    ({'q01': [0.0, 1.0], 'q99': [1.0]}, 'one length'),
    ({'q01': [0.0], 'q99': [1.0], 'mask': [True, False]}, 'one length'),
    ({'q01': [0.0], 'q99': [float('nan')]}, 'not finite'),
    ({'q01': [1.0], 'q99': [0.0]}, 'not in order'), ({'q01': ['a'], 'q99': [0.0]}, 'ValueError')])
def test_unusable_statistics_say_why(block, said):
    with pytest.raises(ConfigError, match=said):
        read_bounds(block, 'quantiles', 'norm_stats')


def test_one_data_set_needs_no_key():
    assert choose_statistics({'only': {'action': 1}}, '') == ('only', {'action': 1})


def test_no_statistics_at_all_are_refused():
    with pytest.raises(ConfigError, match='no action statistics'):
        choose_statistics({}, '')


def test_libero_units_are_five_centimetres_and_half_a_radian():
    known = facts('libero_spatial_no_noops', 7)
    assert (known.rate, known.metres, known.radians, known.chunk) == (20.0, 0.05, 0.5, 8)


def test_two_arms_are_joint_positions_over_the_extremes():
    known = facts('aloha_fold_shirt', 14)
    assert (known.joints, known.bounds, known.chunk, known.rate) == (True, 'min_max', 25, 25.0)
    assert facts('my_two_arms', 14, rate=50.0).joints
    assert len(action_names(14, joints=True)) == len(set(state_names(14))) == 14


def test_an_unknown_data_set_needs_a_rate():
    with pytest.raises(ConfigError, match="'my_robot' is not known; set control_rate"):
        facts('my_robot', 7)
    assert facts('my_robot', 7, rate=12.0).rate == 12.0


def test_a_given_rate_overrides_the_table():
    assert facts('bridge_orig', 7).rate == 5.0
    assert facts('bridge_orig', 7, rate=4.0).rate == 4.0


def test_a_robot_of_unknown_dimensions_is_refused():
    with pytest.raises(ConfigError, match='9 dimensions'):
        action_names(9, joints=False)
    with pytest.raises(ConfigError, match='3 dimensions'):
        state_names(3)
