# SPDX-License-Identifier: Apache-2.0
"""The ``vla-pruner`` command: finds the subcommand, imports only that one, and words its errors.

Exit status: 0 done, 1 a fault of this program, 2 bad input or set-up, 130 interrupted, 141 the
reader of the output has gone.
"""
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
import os
import sys
import traceback

from vla_pruner_ros import __version__
from vla_pruner_ros.core.errors import VlaPrunerError
from vla_pruner_ros.core.install_hints import how_to_install

# name -> (module with ``main(argv) -> int``, what it does)
COMMANDS = {
    'demo': ('vla_pruner_ros.cli.demo', 'drive the simulated robot with the shipped policy'),
    'replay': ('vla_pruner_ros.cli.replay', 'run the policy on a rosbag2, pruned and unpruned'),
    'record': ('vla_pruner_ros.cli.record', 'record live topics into a rosbag2'),
    'bench': ('vla_pruner_ros.cli.bench', 'measure token selection and the decoder'),
    'eval': ('vla_pruner_ros.cli.eval', 'success under pruning in simulation, with tests'),
    'real-time': ('vla_pruner_ros.cli.real_time', 'motion and success while the model thinks'),
    'check': ('vla_pruner_ros.cli.check', 'load real weights and try them on a bag'),
    'inspect': ('vla_pruner_ros.cli.inspect', 'describe a checkpoint without loading it'),
    'params': ('vla_pruner_ros.cli.params', 'print the parameter table'),
}


def usage() -> str:
    """Help text."""
    rows = '\n'.join(f'  {name:9} {text}' for name, (_, text) in COMMANDS.items())
    return ('usage: vla-pruner [--debug] COMMAND ...\n\n'
            'Vision-Language-Action policies with pruned visual tokens.\n\n'
            f'commands:\n{rows}\n\n'
            'options:\n'
            '  -h, --help  this text; after a command, the help of that command\n'
            '  --version   the version of this package\n'
            '  --debug     show tracebacks\n')


def split(argv: Sequence[str]) -> tuple[bool, str | None, list[str]]:
    """(debug, command, its arguments); ``--debug`` may stand anywhere."""
    rest = [one for one in argv if one != '--debug']
    debug = len(rest) < len(argv)
    return debug, (rest[0] if rest else None), rest[1:]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status."""
    debug, command, rest = split(sys.argv[1:] if argv is None else argv)
    if command is None or command in ('-h', '--help'):
        print(usage(), end='')
        return 0 if command else 2
    if command == '--version':
        print(f'vla-pruner {__version__}')
        return 0
    if command not in COMMANDS:
        return fail(f'{command!r} is no command; accepted: {", ".join(COMMANDS)}', 2)
    # Before torch loads its OpenMP: threads that spin while waiting slow a busy machine down 20x.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    return guarded(f'vla-pruner {command}', lambda: import_module(COMMANDS[command][0]).main(rest),
                   debug)


def guarded(program: str, run: Callable[[], int | None], debug: bool = False) -> int:
    """Run a program; what it raises becomes one line and an exit status."""
    encodable()
    try:
        status = int(run() or 0)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return fail('interrupted', 130, program=program)
    except BrokenPipeError:  # the reader of the output has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except VlaPrunerError as error:
        return fail(str(error), 2, debug, program)
    except ModuleNotFoundError as error:
        return fail(f'the Python module {error.name!r} is missing: '
                    f'{how_to_install(error.name or "")}', 2, debug, program)
    except OSError as error:  # a file or folder that is not there, full or forbidden
        return fail(str(error), 2, debug, program)
    except Exception as error:
        return fail(f'{type(error).__name__}: {error} (--debug shows where)', 1, debug, program)


def encodable() -> None:
    """Let text through that the terminal's encoding cannot show, as question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='replace')


def fail(message: str, status: int, debug: bool = False, program: str = 'vla-pruner') -> int:
    """Print one line (and, when debugging, the traceback) and return ``status``."""
    with suppress(OSError):  # the terminal may have been closed
        if debug:
            traceback.print_exc()
        print(f'{program}: error: {" ".join(message.split())}', file=sys.stderr)
    return status


if __name__ == '__main__':
    sys.exit(main())
