# SPDX-License-Identifier: Apache-2.0
"""Numbers in text: what int takes and a person did not mean is refused, not raised."""
import pytest

from vla_pruner_ros.backends.shared.captured_signals import ActionAttention
from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.core.whole_number import whole_number
from vla_pruner_ros.demo.demo_report import parse_blocks
from vla_pruner_ros.demo.domain_choice import domain_of
from vla_pruner_ros.evaluation.environments.libero.libero_tasks import parse_task
from vla_pruner_ros.evaluation.real_time.model_delays import parse_delay

NO_NUMBERS = ['', '²', '٣', '-1', '+1', '1_0', ' 1', '1.0', '1e3', '9' * 5000]


@pytest.mark.parametrize('text', NO_NUMBERS)
def test_what_is_not_written_in_plain_digits_is_no_number(text):
    assert whole_number(text) is None


@pytest.mark.parametrize('text, value', [('0', 0), ('7', 7), ('007', 7), ('999999999', 999999999)])
def test_plain_digits_are_their_number(text, value):
    assert whole_number(text) == value


@pytest.mark.parametrize('text', [one for one in NO_NUMBERS if one.strip() == one and one])
def test_everything_that_reads_a_number_refuses_them_by_name(text):
    with pytest.raises(BackendError, match='not .latter_half. or'):
        ActionAttention(f'layer:{text}', 4)
    with pytest.raises(ConfigError, match='accepted'):
        parse_blocks(f'all,{text}')
    with pytest.raises(ConfigError, match='accepted'):
        domain_of(None, {'ROS_DOMAIN_ID': text})
    with pytest.raises(ConfigError, match='accepted'):
        parse_delay(text)
    with pytest.raises(ConfigError, match='accepted'):
        parse_task(f'libero_spatial/{text}')
