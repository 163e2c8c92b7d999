# SPDX-License-Identifier: Apache-2.0
"""A process with ROS in it that SIGINT and SIGTERM end in order, not at once."""
from collections.abc import Iterator
from contextlib import contextmanager
import os
import signal
import threading

import rclpy
from rclpy.signals import SignalHandlerOptions

from vla_pruner_ros.runtime.installed_files import process_environment


@contextmanager
def ros_process(args: list[str] | None = None) -> Iterator[threading.Event]:
    """Initialise rclpy and give an event that the first SIGINT or SIGTERM sets.

    rclpy's own handlers end the context at once: no safe action could be published and no
    recording closed any more.  The signal handlers that were there before are put back at the end.
    """
    os.environ.update(process_environment())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set())
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        rclpy.try_shutdown()
