# SPDX-License-Identifier: Apache-2.0
"""The launch file in a real launch system; nothing to test here where none is installed."""
import importlib.util
import os
from pathlib import Path

from paths import ROOT

LAUNCH = ROOT / 'launch' / 'pruned_policy.launch.py'

# Not a skip: launch comes with a ROS installation only, and the file's contents are tested without
# it in test_ros_shipped.py.
if importlib.util.find_spec('launch_ros') is not None:
    import launch_files
    from launch_ros.utilities import evaluate_parameters
    import pytest

    @pytest.fixture(autouse=True)
    def environment():
        with launch_files.environment_kept():
            for name in ('OMP_WAIT_POLICY', 'FASTRTPS_DEFAULT_PROFILES_FILE',
                         'FASTDDS_DEFAULT_PROFILES_FILE'):
                os.environ.pop(name, None)
            yield

    def launched(**arguments):
        """Return (evaluated parameters of the only node, context) for launch arguments."""
        context, [node] = launch_files.launched(LAUNCH, arguments)
        return evaluate_parameters(context, node._Node__parameters), context

    def test_empty_arguments_leave_everything_to_the_parameter_file():
        parameters, _ = launched()
        files = [one for one in parameters if isinstance(one, Path)]
        assert [one.name for one in files] == ['pruned_policy.yaml']
        assert [one for one in parameters if isinstance(one, dict)] == [{'use_sim_time': False}]

    @pytest.mark.parametrize('name, text, value', [
        ('instruction', '5', '5'), ('device', 'cuda', 'cuda'), ('dry_run', 'true', True),
        ('camera_topics', "['a=/x', 'b=/y']", ('a=/x', 'b=/y')), ('base_frame', 'true', 'true'),
    ])
    def test_argument_overrides_the_file_with_the_right_type(name, text, value):
        parameters, _ = launched(**{name: text})
        given = next(one for one in parameters if isinstance(one, dict))
        assert given[name] == value and type(given[name]) is type(value)

    def test_processes_get_the_image_transport_and_a_sleeping_openmp():
        _, context = launched()
        assert context.environment['OMP_WAIT_POLICY'] == 'PASSIVE'
        assert Path(context.environment['FASTRTPS_DEFAULT_PROFILES_FILE']).is_file()
