# SPDX-License-Identifier: Apache-2.0
"""Runs a module as a child that does not outlive its parent, however the parent ends.

``python -m vla_pruner_ros.demo.watched_module MODULE ARGUMENT...`` expects standard input to be a
pipe that the parent holds open and never writes to: its end is the end of the parent, also by
SIGKILL.  The module is then interrupted as by Ctrl-C, and ended when that does not help.
"""
import faulthandler
import os
import runpy
import signal
import sys
import threading

PATIENCE_S = 15.0  # after the interrupt


def watch() -> None:
    """Wait in the background for the end of standard input; the module gets an empty one."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_interrupt_at_end, args=(pipe,), daemon=True).start()


def _interrupt_at_end(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    # Its timer needs no Python thread: a module that is stuck in a library ends as well.
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    """Watch, and run the module that the command line names."""
    sys.argv = sys.argv[1:]
    watch()
    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)


if __name__ == '__main__':
    main()
