# SPDX-License-Identifier: Apache-2.0
"""A process with ROS in it that a signal ends in order, not at once."""
from collections.abc import Iterator
from contextlib import contextmanager
import os
import signal
import threading

import rclpy
from rclpy.signals import SignalHandlerOptions

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.runtime.installed_files import process_environment
from vla_pruner_ros.runtime.log_folder import log_environment


@contextmanager
def ros_process(args: list[str] | None = None) -> Iterator[threading.Event]:
    """Initialise rclpy and give an event that the first SIGINT, SIGTERM or SIGHUP sets.

    rclpy's own handlers end the context at once: no safe action could be published and no
    recording closed any more.  The signal handlers that were there before are put back at the end.
    A SIGHUP that is ignored (nohup) stays ignored.

    Raises:
        ConfigError: ROS refuses its arguments or cannot start.
    """
    os.environ.update({**process_environment(), **log_environment()})
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # of the middleware, of logging, of the arguments: no common base
        raise ConfigError(f'ROS cannot start ({type(error).__name__}): {error}') from error
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set())
              for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
              if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        rclpy.try_shutdown()
