# SPDX-License-Identifier: Apache-2.0
"""Controllers by name, and the times at which they are stepped."""
import numpy as np
import pytest
from trajectory_fakes import MS, NOW

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.controllers.controller_interface import control_times
from vla_pruner_ros.robots.controllers.make_controller import make_controller


@pytest.mark.parametrize('kind', ['jtc', 'jtc_splicing', 'servo', 'ideal'])
def test_every_controller_holds_a_hand_where_it_is(kind):
    pose = np.array([0.1, 0.2, 0.3, 0.0, 0.6, 0.0, 0.8])
    controller = make_controller(kind)
    for now in range(NOW, NOW + 100 * MS, 4 * MS):
        controller.feedback(pose, now)
        setpoint = controller.command(now)
    np.testing.assert_allclose(setpoint.position, pose, atol=1e-12)
    np.testing.assert_array_equal(setpoint.velocity, np.zeros(6))
    assert controller.covered_until_ns is None and not controller.refused


@pytest.mark.parametrize('given, accepted', [
    ({'kind': 'pid'}, 'jtc, jtc_splicing, servo, ideal'),
    ({'kind': 'jtc', 'version': 'rolling'}, 'jazzy, kilted, humble'),
    ({'kind': 'jtc_splicing', 'version': 'kilted'}, 'rolling, 6.9'),
    ({'kind': 'ideal', 'version': 'dashing'}, 'humble'),
    ({'kind': 'jtc', 'cmd_timeot': 1.0}, 'cmd_timeout'),
    ({'kind': 'ideal', 'cmd_timeout': 1.0}, 'none'),
    ({'kind': 'servo', 'joints': ('a',)}, 'joints cannot'),
    ({'kind': 'jtc', 'joints': ('a', 'a')}, 'different names'),
    ({'kind': 'jtc', 'joints': ('a',), 'continuous': (True, False)}, '2 values for 1'),
    ({'kind': 'jtc', 'rate_hz': 0.0}, 'rate_hz'),
    ({'kind': 'jtc', 'cmd_timeout': -1.0}, '0 or more'),
    ({'kind': 'jtc', 'interpolation_method': 'cubic'}, 'splines, none'),
    ({'kind': 'jtc', 'version': 'humble', 'interpolate_from_desired_state': True}, 'jazzy'),
    ({'kind': 'jtc', 'version': 'kilted', 'open_loop_control': True}, 'humble, jazzy'),
    ({'kind': 'jtc', 'positions_upsampling': 'rest'}, 'rolling'),
])
def test_unknown_names_and_values_are_refused_with_the_accepted_ones(given, accepted):
    with pytest.raises(ConfigError, match=accepted):
        make_controller(given.pop('kind'), **given)


def test_the_control_rate_is_250_hz_and_a_jitter_repeats_with_its_seed():
    assert list(control_times(NOW, NOW + 12 * MS)) == [NOW, NOW + 4 * MS, NOW + 8 * MS]
    first, again, other = (list(control_times(NOW, NOW + 400 * MS, jitter_ns=MS, seed=seed))
                           for seed in (1, 1, 2))
    assert first == again != other
    late = np.array(first) - np.array(list(control_times(NOW, NOW + 400 * MS)))
    assert np.abs(late).max() <= MS and late.min() < 0 < late.max()


def test_a_jitter_by_which_cycles_could_overtake_each_other_is_refused():
    with pytest.raises(ConfigError, match='1999999'):
        next(control_times(0, MS, jitter_ns=2 * MS))
