"""``vla-pruner bench``: finds the benchmark that was asked for."""
from importlib import import_module
import sys
from typing import Optional, Sequence

from vla_pruner_ros.core.errors import ConfigError

BENCHMARKS = {
    'selection': ('vla_pruner_ros.cli.bench_selection', 'token selection alone, every method'),
    'decoder': ('vla_pruner_ros.cli.bench_decoder', 'the decoder at several budgets'),
    'quantization': ('vla_pruner_ros.cli.bench_quantization',
                     'how far int8 and int4 weights move the answers of a checkpoint'),
}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one benchmark.

    Raises:
        ConfigError: no such benchmark.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ('-h', '--help'):
        rows = '\n'.join(f'  {name:13} {text}' for name, (_, text) in BENCHMARKS.items())
        print(f'usage: vla-pruner bench WHAT ...\n\n{rows}')
        return 0 if words else 2
    if words[0] not in BENCHMARKS:
        raise ConfigError(f'bench {words[0]!r}; accepted: {", ".join(BENCHMARKS)}')
    return int(import_module(BENCHMARKS[words[0]][0]).main(words[1:]) or 0)
