# SPDX-License-Identifier: Apache-2.0
"""Time of a policy step and of a decoder pass at several token budgets.

Prints what the token count alone allows first, then medians, the ratio to the unpruned pass and to
plain ``transformers`` (where it is installed), all measured in the same run in alternating order,
and one JSON document as its last line.
"""
import argparse
from collections.abc import Callable, Sequence
from functools import partial
import json
import platform
import re
from statistics import median
import time
from typing import Any

import torch
from torch import Tensor

from vla_pruner_ros.backends.shared.decoder import Decoder, DecoderConfig
from vla_pruner_ros.backends.shared.row_removal import PrunedPass
from vla_pruner_ros.backends.shared.safetensors_loading import torch_device
from vla_pruner_ros.backends.shared.sequence_layout import SequenceLayout
from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.pruners import make_pruner
from vla_pruner_ros.core.pruners.interface import Pruner
from vla_pruner_ros.core.token_selector import TokenSelector
from vla_pruner_ros.core.types import PolicySpec, VisualLayout

SHARES = (0.5, 0.25, 0.125)
WORDS, QUERIES = 20, 8
WARM_UP = 5  # also gets a temporal pruner past its unpruned first steps
#: Processor time is not disturbed by neighbours on a shared machine.
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}
UNPRUNED, TRIMMED, STOCK = 'all', 'all, last layer trimmed', 'transformers'


def token_bound(layers: int, cut: int, full: int, short: int) -> float:
    """Share of the unpruned work that the token count alone leaves: (K + (L-K) n_kept/n) / L."""
    return (cut + (layers - cut) * short / full) / layers


def random_decoder(name: str, device: torch.device, dtype: torch.dtype) -> Decoder:
    """Return a random Llama-type decoder for a name such as ``h512x12`` (hidden x layers).

    Raises:
        ConfigError: not such a name.
    """
    match = re.fullmatch(r'h(\d+)x(\d+)', name)
    if match is None or int(match[1]) % 64 or not int(match[1]) or not int(match[2]):
        raise ConfigError(f"model is {name!r}; accepted: 'pocket' or 'hHIDDENxLAYERS' with HIDDEN "
                          'a multiple of 64, as h512x12')
    hidden, layers = int(match[1]), int(match[2])
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(
        hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, head_dim=64))
    return decoder.to(device=device, dtype=dtype).eval()


def pocket_case(device: torch.device) -> tuple[Any, str]:
    """Backend of the shipped policy; random weights of the same shape where none are shipped."""
    from vla_pruner_ros.backends.pocket.pocket_backend import PocketBackend
    from vla_pruner_ros.backends.pocket.pocket_model import PocketConfig, PocketVLA
    try:
        return PocketBackend.load(None, device), 'shipped'
    except ConfigError:
        torch.manual_seed(0)
        config = PocketConfig(words=('<unk>', 'go'), instructions={'go': 'go'},
                              state_mean=(0.0,) * 4, state_std=(1.0,) * 4)
        return PocketBackend(PocketVLA(config), device), 'random'


def stock_forward(decoder: Decoder, embeds: Tensor) -> Callable[[], Any] | None:
    """Plain ``transformers`` forward with the same weights, or None where it is not installed."""
    try:
        import transformers
    except ImportError:
        return None
    c = decoder.config
    model = transformers.LlamaModel(transformers.LlamaConfig(
        hidden_size=c.hidden_size, intermediate_size=c.intermediate_size, vocab_size=8,
        num_hidden_layers=c.num_hidden_layers, num_attention_heads=c.num_attention_heads,
        num_key_value_heads=c.num_key_value_heads, rms_norm_eps=c.rms_norm_eps,
        max_position_embeddings=4096, attn_implementation='sdpa'))
    model.load_state_dict(decoder.state_dict(), strict=False)
    model = model.to(device=embeds.device, dtype=embeds.dtype).eval()
    length = embeds.shape[1]
    open_mask = embeds.new_zeros(1, 1, length, length)  # parallel decoding: no causal mask
    return partial(model, inputs_embeds=embeds, attention_mask=open_mask, use_cache=False)


def warmed(pruner: Pruner, budget: int, tokens: int, run: Callable[[TokenSelector], Any]) -> None:
    """Run until the pruner cuts."""
    for step in range(WARM_UP + 32):
        run(TokenSelector(pruner, budget, tokens, step))
        if not pruner.hold_reason():
            return
    raise ConfigError(f'pruner {pruner.name!r} never leaves its warm-up')


def alternate(runs: dict[str, Callable[[], Any]], options: argparse.Namespace,
              device: torch.device) -> dict[str, float]:
    """Median milliseconds of each run; one of each per round, so that all share the weather."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    clock = CLOCKS[options.clock]
    for turn in range(WARM_UP + options.repeats):
        for name, run in runs.items():
            _wait(device)
            begin = clock()
            run()
            _wait(device)
            if turn >= WARM_UP:
                times[name].append((clock() - begin) * 1e3)
    return {name: median(row) for name, row in times.items()}


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def pruned_runs(spec: PolicySpec, options: argparse.Namespace,
                run: Callable[[TokenSelector], Any]) -> dict[str, tuple[int, Pruner, Any]]:
    """Budget label -> (budget, its own pruner past the warm-up, a callable that does one run)."""
    tokens, result = spec.tokens_per_image, {}
    for share in SHARES:
        budget = round(tokens * share)
        pruner = make_pruner(Parameters(pruner=options.pruner, prune_layer=options.prune_layer),
                             spec, causal=False)
        warmed(pruner, budget, tokens, run)

        def one(pruner: Pruner = pruner, budget: int = budget) -> Any:
            return run(TokenSelector(pruner, budget, tokens, WARM_UP))

        result[f'{share:.1%}'.replace('.0%', '%')] = (budget, pruner, one)
    return result


def bench_decoder(name: str, decoder: Decoder, sequence: SequenceLayout, embeds: Tensor,
                  options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the decoder pass alone (parallel decoding)."""
    visual, layers = sequence.visual, len(decoder.layers)
    spec = PolicySpec(name, (), (), (), 'ee_delta', QUERIES, 0.05, visual.rows, visual.cols,
                      layers, causal=False)

    def run(selector: TokenSelector, trim: bool | None = None) -> None:
        call = PrunedPass(decoder, sequence, selector, causal=False, trim=trim)
        call.prefill(embeds)
        selector.feedback(call.feedback())

    keep_all = TokenSelector(None, 0, spec.tokens_per_image)
    pruned = pruned_runs(spec, options, run)
    runs: dict[str, Callable[[], Any]] = {UNPRUNED: partial(run, keep_all),
                                          TRIMMED: partial(run, keep_all, True)}
    runs.update({label: one for label, (_, _, one) in pruned.items()})
    stock = stock_forward(decoder, embeds)
    if stock is not None:
        runs[STOCK] = stock
    return _rows(name, 'decoder', alternate(runs, options, embeds.device), pruned,
                 sequence, layers)


def bench_pocket(options: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Rows of the shipped policy: the whole step, then its decoder alone."""
    backend, weights = pocket_case(device)
    spec, name = backend.spec, f'pocket ({weights} weights)'
    observation = backend.example_observation()
    pruned = pruned_runs(spec, options, partial(backend.predict_action_chunk, observation))
    keep_all = TokenSelector(None, 0, spec.tokens_per_image)
    runs = {UNPRUNED: partial(backend.predict_action_chunk, observation, keep_all)}
    runs.update({label: one for label, (_, _, one) in pruned.items()})
    model = backend.model
    words = model.config.tokenize(observation.instruction)
    embeds, layout, text, queries = model.assemble(
        model.encode_image(torch.rand(1, 3, 224, 224, device=device)),
        torch.tensor([words], device=device), torch.zeros(1, len(spec.state_names), device=device))
    sequence = SequenceLayout(embeds.shape[1], layout, text, queries)
    rows = _rows(name, 'step', alternate(runs, options, device), pruned, sequence,
                 spec.decoder_layers)
    return rows + bench_decoder(name, model.decoder, sequence, embeds, options)


def _rows(name: str, what: str, medians: dict[str, float], pruned: dict[str, Any],
          sequence: SequenceLayout, layers: int) -> list[dict[str, Any]]:
    """One row per run, with its bound; the bounds are printed before the times."""
    full, tokens = sequence.length, sequence.visual.tokens_per_image
    rows = []
    for label, ms in medians.items():
        budget, pruner, _ = pruned.get(label, (tokens, None, None))
        bound = 1.0 if pruner is None else token_bound(layers, pruner.prune_layer, full,
                                                       full - (tokens - budget))
        rows.append({'model': name, 'what': what, 'run': label, 'kept': budget, 'ms': round(ms, 3),
                     'prune_layer': None if pruner is None else pruner.prune_layer,
                     'share_of_unpruned': round(ms / medians[UNPRUNED], 4),
                     'token_bound': round(bound, 4),
                     'share_of_transformers': round(ms / medians[STOCK], 4)
                     if STOCK in medians else None})
    return rows


def _print_group(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    first = rows[0]
    bounds = ', '.join(f'{row["run"]} x{1 / row["token_bound"]:.2f}' for row in rows
                       if row['prune_layer'] is not None)
    print(f'\n{first["model"]}, {first["what"]}: the decoder\'s token count alone allows {bounds}')
    print(f'{"run":<26}{"kept":>6}{"ms":>10}{"speed-up":>10}{"vs transformers":>17}')
    for row in rows:
        stock = row['share_of_transformers']
        print(f'{row["run"]:<26}{row["kept"]:>6}{row["ms"]:>10.2f}'
              f'{1 / row["share_of_unpruned"]:>10.2f}'
              + (f'{1 / stock:>17.2f}' if stock else ''), flush=True)


@torch.inference_mode()
def run_decoder_benchmark(options: argparse.Namespace) -> int:
    """Run the benchmark; returns the exit status."""
    if options.repeats < 1 or options.threads < 1:
        raise ConfigError(f'--repeats is {options.repeats} and --threads is {options.threads}; '
                          'accepted: 1 or more')
    device, dtype = torch_device(options.device), getattr(torch, options.dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    try:
        for name in options.models:
            if name == 'pocket':
                new = bench_pocket(options, device)
            else:
                decoder = random_decoder(name, device, dtype)
                visual = VisualLayout(1, 1, 16, 16)
                text = slice(visual.stop, visual.stop + WORDS)
                sequence = SequenceLayout(text.stop + QUERIES, visual, text,
                                          slice(text.stop, text.stop + QUERIES))
                embeds = torch.randn(1, sequence.length, decoder.config.hidden_size)
                new = bench_decoder(name, decoder, sequence,
                                    embeds.to(device=device, dtype=dtype), options)
            for what in ('step', 'decoder'):
                _print_group([row for row in new if row['what'] == what])
            rows += new
    finally:
        torch.set_num_threads(before)
    print(json.dumps({'benchmark': 'decoder', 'unit': 'ms', 'statistic': 'median',
                      'clock': options.clock, 'repeats': options.repeats,
                      'threads': options.threads, 'device': options.device,
                      'dtype': options.dtype, 'pruner': options.pruner, 'torch': torch.__version__,
                      'machine': platform.machine(), 'rows': rows}))
    return 0
