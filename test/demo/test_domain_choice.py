# SPDX-License-Identifier: Apache-2.0
"""Which ROS domain a demo takes."""
import socket

import pytest

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.demo import domain_choice
from vla_pruner_ros.demo.domain_choice import claimed, domain_of, in_use

TRIED = 101  # no domain that a test run takes; its ports are no ephemeral ones


@pytest.mark.parametrize('option, environ, domain', [
    (None, {}, None), (None, {'ROS_DOMAIN_ID': ''}, None), (None, {'ROS_DOMAIN_ID': '17'}, 17),
    (None, {'ROS_DOMAIN_ID': '0'}, 0), (3, {'ROS_DOMAIN_ID': '17'}, 3), (0, {}, 0)])
def test_the_option_wins_over_the_environment(option, environ, domain):
    assert domain_of(option, environ) == domain


@pytest.mark.parametrize('option, environ, words', [
    (233, {}, '--domain is 233; accepted: 0 to 232'), (-1, {}, '--domain is -1'),
    (None, {'ROS_DOMAIN_ID': 'mine'}, 'ROS_DOMAIN_ID is mine; accepted: 0 to 232')])
def test_what_is_no_domain_is_named(option, environ, words):
    with pytest.raises(ConfigError, match=words):
        domain_of(option, environ)


def test_a_claimed_domain_is_free_again_at_the_end():
    with claimed(TRIED) as first, pytest.raises(ConfigError, match=r'\(pid \d+\) runs in ROS '
                                                f'domain {TRIED}'):
        assert first == TRIED
        with claimed(TRIED):
            pass
    with claimed(TRIED) as again:
        assert again == TRIED


def test_nobodys_choice_is_a_domain_that_nobody_uses(monkeypatch):
    monkeypatch.setattr(domain_choice, 'in_use', lambda domain: domain not in (40, 41))
    with claimed(None) as first, claimed(None) as second:
        assert {first, second} == {40, 41}
        with pytest.raises(ConfigError, match='none of the ROS domains 1 to 101 is free'):
            with claimed(None):
                pass


@pytest.mark.parametrize('participant', [0, 3, 31])
def test_a_process_on_the_ports_of_a_domain_is_noticed(participant):
    assert not in_use(TRIED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(('', 7410 + 250 * TRIED + 2 * participant))
        assert in_use(TRIED)
