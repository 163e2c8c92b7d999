# SPDX-License-Identifier: Apache-2.0
"""Settings that must be made before anything is imported, and what to do without rclpy."""
import importlib.util
import os
from pathlib import Path
import signal
import sys

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / 'helpers'), str(HERE)]  # helpers by name, and the package ``parity``

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('MPLBACKEND', 'Agg')
# torch's own kernels narrowed by this variable: the libraries behind it follow, as on a processor
# that has no more.  (On one with AMX oneDNN would else choose a bfloat16 packing for torch's
# attention that the narrowed kernels lack.)
OLDER_PROCESSOR = {'default': 'SSE4_2', 'avx2': 'AVX2'}.get(os.environ.get('ATEN_CPU_CAPABILITY'))
if OLDER_PROCESSOR:
    os.environ.setdefault('MKL_ENABLE_INSTRUCTIONS', OLDER_PROCESSOR)
    os.environ.setdefault('ONEDNN_MAX_CPU_ISA', OLDER_PROCESSOR.replace('SSE4_2', 'SSE41'))
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
# Two test runs on one machine must not hear each other.
os.environ.setdefault('VLA_PRUNER_TEST_DOMAIN', str(1 + os.getpid() % 100))
os.environ['ROS_DOMAIN_ID'] = os.environ['VLA_PRUNER_TEST_DOMAIN']

# A job started in the background of a script ignores Ctrl-C, and so would every process it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import settings  # noqa: E402
import pytest  # noqa: E402

# The same examples in every run; --hypothesis-profile=default looks for others.
settings.register_profile('same', derandomize=True)
settings.load_profile('same')

#: Folders whose tests need rclpy.
ROS_FOLDERS = ('ros', 'robots/node', 'demo')
HAS_ROS = importlib.util.find_spec('rclpy') is not None
MUST_HAVE_ROS = os.environ.get('VLA_PRUNER_REQUIRE_ROS', '') == '1'

collect_ignore = [] if HAS_ROS else list(ROS_FOLDERS)


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that became full during a run: no result can be finished any more."""
    def full(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr('vla_pruner_ros.runtime.output_files.os.replace', full)


def pytest_report_header(config):
    if not HAS_ROS:
        return 'rclpy is not installed: the ROS tests are left out'
    return f'ROS_DOMAIN_ID={os.environ["ROS_DOMAIN_ID"]}'


def pytest_sessionstart(session):
    if MUST_HAVE_ROS and not HAS_ROS:
        pytest.exit('VLA_PRUNER_REQUIRE_ROS=1, but rclpy cannot be imported', returncode=1)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """A skipped ROS test is a failure where ROS must be there."""
    reporter = session.config.pluginmanager.get_plugin('terminalreporter')
    if not MUST_HAVE_ROS or reporter is None:
        return
    skipped = [report.nodeid for report in reporter.stats.get('skipped', [])
               if report.nodeid.startswith(tuple(f'test/{one}/' for one in ROS_FOLDERS))]
    if skipped:
        reporter.write_line(f'skipped although VLA_PRUNER_REQUIRE_ROS=1: {", ".join(skipped)}',
                            red=True)
        session.exitstatus = 1
