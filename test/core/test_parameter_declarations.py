# SPDX-License-Identifier: Apache-2.0
"""The parameter table: ranges, live changes, all or nothing."""
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import (
    accepted,
    GROUPS,
    LEVELS,
    Parameters,
    table,
    table_by_name,
)


@pytest.mark.parametrize('spec', table(), ids=lambda spec: spec.name)
def test_every_parameter_is_documented_and_accepts_its_default(spec):
    assert spec.metadata['doc'].endswith('.') and spec.metadata['group'] in GROUPS
    assert spec.metadata['level'] in LEVELS
    assert accepted(spec)
    assert Parameters().changed({spec.name: spec.default}) == Parameters()


def test_the_basic_parameters_are_a_dozen_that_every_user_has_to_think_of():
    basic = {spec.name for spec in table() if spec.metadata['level'] == 'basic'}
    assert basic == {'backend', 'checkpoint', 'device', 'token_budget', 'pruner', 'reuse',
                     'camera_topics', 'pose_topic', 'instruction', 'dry_run',
                     'execution_horizon', 'outputs', 'position_low', 'position_high',
                     'max_velocity'}


@pytest.mark.parametrize('spec', [one for one in table() if one.metadata['low'] is not None],
                         ids=lambda spec: spec.name)
def test_every_range_is_enforced_at_both_ends(spec):
    kind = type(spec.default)
    low, high = kind(spec.metadata['low']), kind(spec.metadata['high'])
    for value in (low, high):
        assert getattr(Parameters().changed({spec.name: value}), spec.name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f'{spec.name} is {value!r}; accepted: a'):
            Parameters().changed({spec.name: value})


@pytest.mark.parametrize('spec', [one for one in table() if one.metadata['choices']],
                         ids=lambda spec: spec.name)
def test_every_choice_is_accepted_and_others_are_not(spec):
    for value in spec.metadata['choices']:
        assert getattr(Parameters().changed({spec.name: value}), spec.name) == value
    with pytest.raises(ConfigError, match='one of'):
        Parameters().changed({spec.name: 'something'})


@pytest.mark.parametrize('updates, message', [
    ({'token_budged': 8}, "unknown parameter 'token_budged'; known: .*token_budget"),
    ({'token_budget': 64.0}, 'token_budget is 64.0; accepted: a whole number'),
    ({'token_budget': True}, 'token_budget is True'),
    ({'token_budget': '64'}, "token_budget is '64'"),
    ({'reuse': 1}, 'reuse is 1; accepted: true or false'),
    ({'temporal_decay': float('nan')}, 'temporal_decay is nan'),
    ({'max_step': [0.1, float('inf')]}, 'of finite numbers'),
    ({'max_step': ['a']}, 'of finite numbers'),
    ({'camera_topics': [1]}, 'of texts'),
    ({'action_layers': 'layer:x'}, "'latter_half' or 'layer:N'"),
    ({'position_low': [0.0]}, 'position_low has 1 values and position_high 0'),
    ({'position_low': [1.0], 'position_high': [1.0]}, 'position_low 1.0 is not below'),
    ({'gripper_open': 0.0}, 'gripper_open and gripper_closed are both 0.0')])
def test_a_refusal_names_the_value_and_what_is_accepted(updates, message):
    with pytest.raises(ConfigError, match=message):
        Parameters().changed(updates)


def test_every_refused_value_is_named_at_once():
    with pytest.raises(ConfigError, match='token_budget is -1.*; temporal_decay is 2.0'):
        Parameters().changed({'token_budget': -1, 'reuse': True, 'temporal_decay': 2.0})


def test_whole_numbers_and_lists_are_taken_as_what_they_mean():
    changed = Parameters().changed({'temporal_decay': 1, 'max_step': [1, 0.5]})
    assert changed.temporal_decay == 1.0 and isinstance(changed.temporal_decay, float)
    assert changed.max_step == (1.0, 0.5)


def test_the_old_snapshot_is_untouched():
    old = Parameters()
    assert old.changed({'token_budget': 8}).token_budget == 8
    assert old.token_budget == 64


def test_only_live_parameters_change_while_running():
    assert Parameters().changed({'token_budget': 8}, running=True).token_budget == 8
    with pytest.raises(ConfigError, match='device is read-only'):
        Parameters().changed({'device': 'cuda'}, running=True)
    assert Parameters().changed({'device': 'cpu'}, running=True) == Parameters()


def test_promised_parameters_are_live():
    live = {name for name, spec in table_by_name().items() if spec.metadata['live']}
    assert {'token_budget', 'pruner', 'reuse', 'reuse_angle', 'reuse_overlap',
            'max_consecutive_reuses', 'temporal_window', 'temporal_decay'} <= live


def test_the_paper_preset_overrides_three_parameters_and_nothing_else():
    mine = Parameters().changed({'refresh_period': 5, 'reuse_image_change': 9.0})
    assert mine.effective() == mine
    paper = mine.changed({'preset': 'paper'})
    assert paper.effective() == paper.changed({'unseen': 'zero', 'refresh_period': 0,
                                               'reuse_image_change': 0.0})
    assert paper.refresh_period == 5  # what was set is still shown


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(table_by_name())),
                       st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
                                 st.lists(st.floats(), max_size=3))))
def test_whatever_is_asked_for_is_either_refused_or_valid(updates):
    try:
        changed = Parameters().changed(updates)
    except ConfigError:
        return
    assert Parameters().changed(vars(changed)) == changed
