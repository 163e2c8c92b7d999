# SPDX-License-Identifier: Apache-2.0
"""``vla-pruner bench WHAT``: finds the benchmark that was asked for."""
import argparse
from collections.abc import Sequence
from importlib import import_module
import sys

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import PRUNERS


def selection_arguments() -> argparse.ArgumentParser:
    """Command line of ``bench selection``."""
    parser = argparse.ArgumentParser(prog='vla-pruner bench selection', description=
        'Time the token selection alone, of every method; the last line is one JSON document.')
    parser.add_argument('--pruners', nargs='+', default=list(PRUNERS), choices=PRUNERS)
    parser.add_argument('--repeats', type=int, default=30, help='timed runs per row')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--threads', type=int, default=1, help='torch CPU threads')
    parser.add_argument('--clock', default='wall', choices=('wall', 'cpu'),
                        help='cpu: processor time, for a machine that is busy with other things')
    return parser


def decoder_arguments() -> argparse.ArgumentParser:
    """Command line of ``bench decoder``."""
    parser = argparse.ArgumentParser(prog='vla-pruner bench decoder', description=
        'Time the decoder at several budgets; the last line is one JSON document.')
    parser.add_argument('--models', nargs='+', default=['pocket', 'h512x12'],
                        help="'pocket' or hHIDDENxLAYERS")
    parser.add_argument('--pruner', default='vla_pruner',
                        choices=[one for one in PRUNERS if one != 'none'])
    parser.add_argument('--prune-layer', type=int, default=-1, help='-1 = default of the pruner')
    parser.add_argument('--repeats', type=int, default=20, help='timed runs per row')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16'),
                        help='of the random decoders')
    parser.add_argument('--clock', default='wall', choices=('cpu', 'wall'),
                        help="'cpu' is processor time, for a shared machine")
    parser.add_argument('--threads', type=int, default=1, help='torch CPU threads')
    return parser


def quantization_arguments() -> argparse.ArgumentParser:
    """Command line of ``bench quantization``."""
    parser = argparse.ArgumentParser(prog='vla-pruner bench quantization', description=
        'How far int8 and int4 weights move the answers of a checkpoint; the last line is one '
        'JSON document.')
    parser.add_argument('checkpoint', help='directory or repository id')
    parser.add_argument('--precisions', default='float32,bfloat16,float32+int8,bfloat16+int8,'
                        'bfloat16+int4', help='default: %(default)s')
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                        help="parameters, such as 'unnorm_key=bridge_orig' or 'token_budget=64'")
    return parser


# name -> (arguments, function that runs it, what it measures)
BENCHMARKS = {
    'selection': (selection_arguments, 'selection_benchmark:run_selection_benchmark',
                  'token selection alone, every method'),
    'decoder': (decoder_arguments, 'decoder_benchmark:run_decoder_benchmark',
                'the decoder at several budgets'),
    'quantization': (quantization_arguments, 'quantization_benchmark:run_quantization_benchmark',
                     'how far int8 and int4 weights move the answers of a checkpoint'),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark; returns the exit status.

    Raises:
        ConfigError: no such benchmark.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ('-h', '--help'):
        rows = '\n'.join(f'  {name:13} {text}' for name, (_, _, text) in BENCHMARKS.items())
        print(f'usage: vla-pruner bench WHAT ...\n\n{rows}')
        return 0 if words else 2
    if words[0] not in BENCHMARKS:
        raise ConfigError(f'bench {words[0]!r}; accepted: {", ".join(BENCHMARKS)}')
    arguments, runs, _ = BENCHMARKS[words[0]]
    options = arguments().parse_args(words[1:])
    module, _, function = runs.partition(':')
    return int(getattr(import_module(f'vla_pruner_ros.bench.{module}'), function)(options))
