# SPDX-License-Identifier: Apache-2.0
"""The parameter table as ROS parameters: declared with descriptors, changed wholly or not at all.

``LiveParameters`` keeps the last accepted snapshot.  The inference thread takes it over at the
boundary between two steps; nothing changes in the middle of one.
"""
from collections.abc import Callable
from dataclasses import Field
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import accepted, Parameters, table

MOST_WORDS = 1000  # characters of an answer or a log line; a value may have a million
#: Read once at start; the descriptor itself says read-only.
START_ONLY = ('autostart',)


def descriptor(spec: 'Field[Any]') -> ParameterDescriptor:
    """Describe one parameter for ROS tools."""
    meta = spec.metadata
    result = ParameterDescriptor(name=spec.name, description=meta['doc'],
                                 read_only=spec.name in START_ONLY)
    notes = []
    if meta['choices']:
        notes.append(f'Accepted: {accepted(spec)}.')
    if not meta['live']:
        notes.append('Read-only while the node is configured; clean it up first.')
    result.additional_constraints = ' '.join(notes)
    ranged = meta['low'] is not None
    if ranged and isinstance(spec.default, float):
        result.floating_point_range = [FloatingPointRange(from_value=float(meta['low']),
                                                          to_value=float(meta['high']))]
    elif ranged and isinstance(spec.default, int):
        result.integer_range = [IntegerRange(from_value=int(meta['low']),
                                             to_value=int(meta['high']), step=1)]
    # Types are checked by the table: lists may be empty, numbers may be written without a point,
    # and the middleware's message would not even name the parameter.
    result.dynamic_typing = True
    return result


def plain(parameter: Parameter) -> Any:
    """Value of a ROS parameter as the table wants it (lists as tuples)."""
    value = parameter.value
    if hasattr(value, 'tolist'):  # array.array
        value = value.tolist()
    return tuple(value) if isinstance(value, list) else value


def _short(words: str) -> str:
    """Both ends of a long text: what it is about, and what is accepted."""
    half = MOST_WORDS // 2
    return words if len(words) <= MOST_WORDS else f'{words[:half]} ... {words[-half:]}'


class LiveParameters:
    """Declares the table on a node and holds the snapshot that is valid now.

    Raises:
        ConfigError: a value given at start (file, launch argument, command line) is refused.
    """

    def __init__(self, node: Node):
        """Declare everything on ``node``, with the values given at start."""
        self.configured = False
        #: Says why a snapshot does not fit the loaded policy, by raising ConfigError.
        self.fits: Callable[[Parameters], None] = lambda parameters: None
        self._logger = node.get_logger()
        self._names = {spec.name for spec in table()}
        #: (revision, snapshot): one object, so that other threads never see half a change.
        self.current: tuple[int, Parameters] = (0, Parameters().changed(self._declare(node)))
        for spec in table():
            value = getattr(self.snapshot, spec.name)
            if value == ():
                # An empty list would be taken as a byte array.
                kind = (Parameter.Type.DOUBLE_ARRAY if spec.metadata['group'] == 'safety'
                        else Parameter.Type.STRING_ARRAY)
                node.set_parameters([Parameter(spec.name, kind, [])])
            node.set_descriptor(spec.name, descriptor(spec))
        node.add_on_set_parameters_callback(self._on_set)

    @property
    def snapshot(self) -> Parameters:
        """The last accepted snapshot."""
        return self.current[1]

    def _declare(self, node: Node) -> dict[str, Any]:
        """Declare without limits, return all values; the table judges them with better words."""
        anything = ParameterDescriptor(dynamic_typing=True)
        values = {}
        for spec in table():
            default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
            value = plain(node.declare_parameter(spec.name, default, anything))
            # "name: []" in a file arrives without a type.
            no_list = value is None and isinstance(spec.default, tuple)
            values[spec.name] = () if no_list else value
        return values

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        ours = {one.name: plain(one) for one in parameters if one.name in self._names}
        if not ours:
            return SetParametersResult(successful=True)
        try:
            revision, before = self.current
            changed = before.changed(ours, running=self.configured)
            self.fits(changed)
        except Exception as error:  # whatever a value does to a check, the node outlives it
            words = _short(str(error) if isinstance(error, ConfigError)
                           else f'{type(error).__name__}: {error}')
            self._logger.warning(f'parameters unchanged: {words}')
            return SetParametersResult(successful=False, reason=words)
        if changed != before:
            self.current = (revision + 1, changed)
            self._logger.info(_short(f'revision {revision + 1}: ' + ', '.join(
                f'{name} = {getattr(changed, name)!r}' for name in ours)))
        return SetParametersResult(successful=True)
