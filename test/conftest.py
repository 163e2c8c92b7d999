"""Settings that must be made before anything is imported, and what to do without rclpy."""
import importlib.util
import os
import signal

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('MPLBACKEND', 'Agg')
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
# Two test runs on one machine must not hear each other.
os.environ.setdefault('VLA_PRUNER_TEST_DOMAIN', str(1 + os.getpid() % 100))
os.environ['ROS_DOMAIN_ID'] = os.environ['VLA_PRUNER_TEST_DOMAIN']

# A job started in the background of a script ignores Ctrl-C, and so would every process it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402

ROS_FILES = ('test_ros', 'test_demo')
HAS_ROS = importlib.util.find_spec('rclpy') is not None
MUST_HAVE_ROS = os.environ.get('VLA_PRUNER_REQUIRE_ROS', '') == '1'

collect_ignore_glob = [] if HAS_ROS else [f'{name}*.py' for name in ROS_FILES]


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
               if os.path.basename(report.nodeid.split('::')[0]).startswith(ROS_FILES)]
    if skipped:
        reporter.write_line(f'skipped although VLA_PRUNER_REQUIRE_ROS=1: {", ".join(skipped)}',
                            red=True)
        session.exitstatus = 1
