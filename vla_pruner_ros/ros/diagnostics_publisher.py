# SPDX-License-Identifier: Apache-2.0
"""What the node says about itself: ``/diagnostics`` for tools, ``~/status`` (JSON) for programs.

``summarise`` turns numbers into a level and a sentence and needs no ROS; the rest is message
plumbing.
"""
from collections.abc import Mapping
import json
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from vla_pruner_ros.ros import qos_profiles as qos
from vla_pruner_ros.ros.message_encoding import time_message
from vla_pruner_ros.ros.status_facts import Trends

OK, WARN, ERROR = 0, 1, 2
LOG_EVERY = 30.0  # seconds between repeats of a warning
PATIENCE = 5.0  # seconds that a camera may take to send its first frame
LOSS_WARNING = 0.1  # share of lost frames that is worth a word


def summarise(facts: Mapping[str, Any]) -> tuple[int, str]:
    """Level and sentence from the facts of ``Session.facts`` (or of an unconfigured node)."""
    if facts.get('failure'):
        return ERROR, f'configuration failed: {facts["failure"]}'
    if facts['state'] != 'active':
        return OK, facts['state']
    problems: list[str] = []
    level = OK
    if facts['time_ns'] == 0:
        level = WARN
        problems.append('use_sim_time is true and no /clock arrives')
    if facts['watchdog_tripped']:
        level = ERROR
        problems.append(f'no chunk for {facts["silence_s"]:.1f} s '
                        f'({facts["reason"] or "no input"})')
    elif facts['reason']:
        level = WARN
        problems.append(f'waiting: {facts["reason"]}')
    total = facts['stages_ms'].get('total', 0.0)
    if total > facts['target_period'] * 1e3:
        level = max(level, WARN)
        problems.append(f'a step takes {total:.0f} ms, wanted are '
                        f'{facts["target_period"] * 1e3:.0f} ms')
    for name, output in facts.get('outputs', {}).items():
        if output['trouble']:
            level = max(level, WARN)
            problems.append(f'output {name} ({output["action"]}): {output["trouble"]}')
    for role, camera in facts['cameras'].items():
        if camera['lost_share'] > LOSS_WARNING:
            level = max(level, WARN)
            problems.append(
                f'camera {role} loses {camera["lost_share"]:.0%} of its frames on the way: start '
                + ('its driver, too,' if facts['dds_chosen'] else 'its driver and this node')
                + ' with FASTRTPS_DEFAULT_PROFILES_FILE and FASTDDS_DEFAULT_PROFILES_FILE set to '
                + facts['dds_profile'])
        elif camera['publishers'] and not camera['received'] and facts['watched_s'] > PATIENCE:
            level = max(level, WARN)
            problems.append(
                f'camera {role} has a publisher on {camera["topic"]} but no frame arrives: '
                'message type, quality of service, or images larger than the shared-memory '
                f'segment (set FASTRTPS_DEFAULT_PROFILES_FILE to {facts["dds_profile"]} for both '
                'processes)')
        elif not camera['publishers']:
            level = max(level, WARN)
            problems.append(f'nobody publishes {camera["topic"]} (camera {role})')
    return level, '; '.join(problems) or 'running'


def flatten(facts: Mapping[str, Any], prefix: str = '') -> list[tuple[str, str]]:
    """Nested facts -> (dotted key, text) rows."""
    rows: list[tuple[str, str]] = []
    for key, value in facts.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f'{prefix}{key}.')
        else:
            rows.append((f'{prefix}{key}', f'{value:.4g}' if isinstance(value, float)
                         else str(value)))
    return rows


class Reporter:
    """Publishers of diagnostics and status; lives as long as the node, in every state."""

    def __init__(self, node: LifecycleNode):
        """Advertise the two topics."""
        self._node = node
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics',
                                                  qos.diagnostics())
        self._status = node.create_publisher(String, '~/status', qos.latched())
        self._level = OK
        self._logged = 0.0
        self._trends = Trends()

    def diagnose(self, facts: dict[str, Any]) -> None:
        """Publish one DiagnosticArray; log when the level changes."""
        if 'cameras' in facts:  # a policy is configured
            facts = self._trends.add(facts, self._node.count_publishers)
        level, sentence = summarise(facts)
        status = DiagnosticStatus(level=bytes([level]), message=sentence,
                                  name=f'{self._name}: policy',
                                  hardware_id=str(facts.get('backend', '')))
        status.values = [KeyValue(key=key, value=value) for key, value in flatten(facts)]
        array = DiagnosticArray(status=[status])
        array.header.stamp = time_message(self._node.get_clock().now().nanoseconds)
        self._diagnostics.publish(array)
        now = time.monotonic()
        if level != self._level or (level != OK and now - self._logged > LOG_EVERY):
            # Two call sites: rclpy ties a severity to the line that logs.
            if level == OK:
                self._node.get_logger().info(f'diagnostics: {sentence}')
            else:
                self._node.get_logger().warning(f'diagnostics: {sentence}')
            self._level, self._logged = level, now

    def status(self, facts: Mapping[str, Any]) -> None:
        """Publish the latched JSON status."""
        self._status.publish(String(data=json.dumps(facts, sort_keys=True)))
