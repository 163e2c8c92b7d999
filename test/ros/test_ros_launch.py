# SPDX-License-Identifier: Apache-2.0
"""The launch file in a real launch system; nothing to test here where none is installed."""
import importlib.util
import os
from pathlib import Path
import runpy

from paths import ROOT

LAUNCH = ROOT / 'launch' / 'pruned_policy.launch.py'

# Not a skip: launch comes with a ROS installation only, and the file's contents are tested without
# it in test_ros_shipped.py.
if importlib.util.find_spec('launch_ros') is not None:
    from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
    from launch_ros.utilities import evaluate_parameters
    import pytest

    from launch import LaunchContext

    @pytest.fixture(autouse=True)
    def environment():
        before = dict(os.environ)
        for name in ('OMP_WAIT_POLICY', 'FASTRTPS_DEFAULT_PROFILES_FILE',
                     'FASTDDS_DEFAULT_PROFILES_FILE'):
            os.environ.pop(name, None)
        yield
        os.environ.clear()
        os.environ.update(before)

    def launched(**arguments):
        """Return (node action, its evaluated parameters) for launch arguments."""
        context = LaunchContext()
        context.launch_configurations.update(arguments)
        description = runpy.run_path(str(LAUNCH))['generate_launch_description']()
        nodes = []
        for entity in description.entities:
            if isinstance(entity, (DeclareLaunchArgument, SetEnvironmentVariable)):
                entity.visit(context)
            elif isinstance(entity, OpaqueFunction):
                nodes += entity.visit(context)
        assert len(nodes) == 1
        evaluated = evaluate_parameters(context, nodes[0]._Node__parameters)
        return nodes[0], evaluated, context

    def test_empty_arguments_leave_everything_to_the_parameter_file():
        _, parameters, _ = launched()
        files = [one for one in parameters if isinstance(one, Path)]
        assert [one.name for one in files] == ['pruned_policy.yaml']
        assert [one for one in parameters if isinstance(one, dict)] == [{'use_sim_time': False}]

    @pytest.mark.parametrize('name, text, value', [
        ('instruction', '5', '5'), ('device', 'cuda', 'cuda'), ('dry_run', 'true', True),
        ('camera_topics', "['a=/x', 'b=/y']", ('a=/x', 'b=/y')), ('base_frame', 'true', 'true'),
    ])
    def test_argument_overrides_the_file_with_the_right_type(name, text, value):
        _, parameters, _ = launched(**{name: text})
        given = next(one for one in parameters if isinstance(one, dict))
        assert given[name] == value and type(given[name]) is type(value)

    def test_processes_get_the_image_transport_and_a_sleeping_openmp():
        _, _, context = launched()
        assert context.environment['OMP_WAIT_POLICY'] == 'PASSIVE'
        assert Path(context.environment['FASTRTPS_DEFAULT_PROFILES_FILE']).is_file()
