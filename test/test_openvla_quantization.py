"""int8 and int4 weights of the language model: what is rounded, how far it moves, its memory."""
from importlib.util import find_spec
import json
import sys
from types import SimpleNamespace

from decoder_reference import KeepThese
import numpy as np
from openvla_checkpoint import Oft, Sizes, write_checkpoint
import pytest
import torch

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends.decoder import DecoderConfig
from vla_pruner_ros.backends.openvla import checkpoint as checkpoint_module
from vla_pruner_ros.backends.openvla import quantize
from vla_pruner_ros.backends.openvla.memory import held, NotEnoughMemoryError
from vla_pruner_ros.cli.main import main
from vla_pruner_ros.core.engine import PolicyEngine
from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.core.parameters import Parameters
from vla_pruner_ros.core.selection import TokenSelector
from vla_pruner_ros.core.types import Observation

CPU, GPU = torch.device('cpu'), torch.device('cuda')
SMALL = DecoderConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=4,
                      num_attention_heads=4, num_key_value_heads=4, head_dim=16)
SEVEN_B = DecoderConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                        num_attention_heads=32, num_key_value_heads=32, head_dim=128)
needs_torchao = pytest.mark.skipif(
    find_spec('torchao') is None,
    reason="torchao is not installed: pip install 'torchao>=0.18'")


def parameters(folder, **changes):
    return Parameters().changed({'backend': 'openvla', 'checkpoint': str(folder), **changes})


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp('plain'))


@pytest.fixture(scope='module')
def plain(folder):
    return load_backend(parameters(folder))


@pytest.fixture(scope='module')
def rounded(folder):
    pytest.importorskip('torchao', reason="pip install 'torchao>=0.18'")
    return load_backend(parameters(folder, quantization='int8'))


@pytest.fixture(scope='module')
def by_hand(folder):
    """The same model with weights rounded here: one scale per row, 255 levels."""
    backend = load_backend(parameters(folder))
    for layer in backend.model.decoder.layers:
        for one in layer.modules():
            if isinstance(one, torch.nn.Linear):
                scale = one.weight.abs().amax(dim=1, keepdim=True) / 127.5
                levels = (one.weight / scale).round().clamp(-128, 127)
                one.weight.data = levels * scale
    return backend


def observation(seed=0, roles=('primary',), state=0):
    random = np.random.default_rng(seed)
    images = {role: random.integers(0, 256, (180, 320, 3), dtype=np.uint8) for role in roles}
    return Observation(images=images, state=np.zeros(state), instruction='put the marker in it',
                       stamp_ns=seed * 200_000_000)


@torch.inference_mode()
def logits(backend, seed=0):
    visual = backend.model.encode(backend.pixels(observation(seed)))
    embeds, _ = backend.assemble(visual, backend.words(observation().instruction))
    return backend.model.logits(backend.model.decoder(embeds))[0, -1]


def apart(one, other):
    return float((one - other).norm() / other.norm())


def steps(backend, count=4, **changes):
    engine = PolicyEngine(backend, parameters('', **changes))
    backend.reset()
    return [engine.step(observation(seed)) for seed in range(count)]


@needs_torchao
def test_the_linear_layers_of_the_decoder_are_rounded_and_nothing_else(plain, rounded):
    before = dict(plain.model.named_parameters())
    changed = set()
    for name, value in rounded.model.named_parameters():
        if type(value) is torch.nn.Parameter:
            assert torch.equal(value, before[name])
        else:
            changed.add(name)
            scale = before[name].abs().amax(dim=1, keepdim=True) / 127.5
            assert bool(((value.dequantize() - before[name]).abs() <= 0.51 * scale).all())
    assert len(changed) == 4 * 7
    assert all(name.startswith('language_model.model.layers.') for name in changed)


@needs_torchao
def test_logits_are_those_of_weights_rounded_by_hand(plain, rounded, by_hand):
    # The largest weight of a row lies exactly between two levels, so it may differ by one.
    assert apart(logits(rounded), logits(by_hand)) < 5e-3
    # The unrounded model is much further away, so this is not just a loose tolerance.
    assert apart(logits(plain), logits(by_hand)) > 2e-2


@needs_torchao
def test_rounding_moves_the_logits_by_percents_at_most(plain, rounded):
    assert 1e-4 < apart(logits(rounded), logits(plain)) < 0.05


@needs_torchao
def test_a_budget_of_all_is_the_unpruned_rounded_model_to_the_bit(rounded):
    unpruned = steps(rounded, pruner='none', token_budget=0)
    whole = steps(rounded, pruner='vla_pruner', token_budget=256)
    for (one, _), (other, _) in zip(unpruned, whole):
        assert one.actions.tolist() == other.actions.tolist()


@needs_torchao
def test_pruning_the_rounded_model_is_exact(rounded, by_hand):
    kept = sorted(np.random.default_rng(3).choice(256, 40, replace=False).tolist())

    def actions(backend, cut):
        selector = TokenSelector(KeepThese([kept], prune_layer=cut), 40, 256)
        return backend.predict_action_chunk(observation(), selector).actions

    # Hand-rounded weights run on plain layers, whose pruning is proven against masking elsewhere.
    assert actions(rounded, 2) == pytest.approx(actions(by_hand, 2), abs=1e-12)
    assert actions(rounded, 2).tolist() != actions(rounded, 1).tolist()


@needs_torchao
def test_rounded_and_plain_models_keep_nearly_the_same_tokens(plain, rounded):
    for pruner in ('fastv', 'vla_pruner'):
        pairs = [(one[1].kept[0], other[1].kept[0]) for one, other in zip(
            steps(rounded, 5, pruner=pruner, token_budget=64),
            steps(plain, 5, pruner=pruner, token_budget=64))]
        assert [len(one) for one, _ in pairs][-1] == 64
        shared = [len(np.intersect1d(one, other)) / len(other) for one, other in pairs]
        assert min(shared) > 0.7  # by chance: 0.25


@needs_torchao
def test_oft_runs_pruned_with_rounded_weights(tmp_path):
    checkpoint = write_checkpoint(tmp_path / 'c', Sizes(vocab=30080), oft=Oft())
    options = {'backend': 'openvla_oft', 'checkpoint': str(checkpoint), 'policy_images': 2}
    chunks = []
    for kind in ('none', 'int8'):
        backend = load_backend(Parameters().changed({**options, 'quantization': kind}))
        selector = TokenSelector(KeepThese([list(range(64))] * 2, prune_layer=2), 64, 256)
        seen = observation(roles=('primary', 'wrist'), state=8)
        chunks.append(backend.predict_action_chunk(seen, selector).actions)
    assert 0 < np.abs(chunks[1] - chunks[0]).max() < 0.05 * np.abs(chunks[0]).max()


@needs_torchao
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_planned_weights_are_the_weights_held(folder, dtype):
    loaded = checkpoint_module.load_model(
        checkpoint_module.read_checkpoint(folder), True, CPU,
        Parameters(dtype=dtype, quantization='int8'))
    found = held((loaded.model,), 'int8')
    # 4 layers: four 64 x 64, two 96 x 64 and one 64 x 96 bytes; per row a float32 scale and the
    # byte of an offset.
    assert found['int8'] == 4 * (4 * 64 * 64 + 3 * 96 * 64 + 5 * (5 * 64 + 2 * 96))
    assert sum(found.values()) == loaded.need.weights
    assert 'in int8' in loaded.memory() and f'in {dtype}' in loaded.memory()


@needs_torchao
def test_never_more_than_one_layer_of_the_decoder_is_held_unrounded(folder, monkeypatch):
    seen = []
    inner = checkpoint_module.fill

    def watched(model, sources, device, dtype, loaded):
        def count(name, owner):
            whole = [key for key, one in model.named_parameters()
                     if key.startswith(quantize.LAYERS) and one.dim() == 2
                     and one.device.type == 'cpu' and type(one) is torch.nn.Parameter]
            seen.append(len(whole))
            loaded(name, owner)
        inner(model, sources, device, dtype, count)

    monkeypatch.setattr(checkpoint_module, 'fill', watched)
    load_backend(parameters(folder, quantization='int8'))
    assert max(seen) == 1 and seen.count(1) == 4 * 7


def test_int4_of_a_7b_language_model_takes_half_a_byte_per_weight_and_scales():
    # Rows of 11008 are padded to 11264; groups of 128 have a scale and an offset of two bytes.
    attention, up, down = 4096 * 4096, 11008 * 4096, 4096 * 11264
    values = 32 * (4 * attention + 2 * up + down)
    assert quantize.rounded_bytes(SEVEN_B, 'int4') == values // 2 + values // 128 * 4
    assert quantize.group_of(SEVEN_B) == 128 and quantize.group_of(SMALL) == 32


def test_too_little_memory_counts_rounded_weights(folder, monkeypatch):
    class Enough:
        loaded = staticmethod(lambda name, owner: pytest.fail('tensors were read'))

    monkeypatch.setattr(checkpoint_module, 'WeightQuantizer', lambda *_: Enough)
    monkeypatch.setattr(checkpoint_module, 'available', lambda device: 2 ** 20)
    with pytest.raises(NotEnoughMemoryError, match=r'in float32 and int8 .*1\.0 MiB are avail'):
        load_backend(parameters(folder, quantization='int8'))


@pytest.mark.parametrize('changes, said', [
    ({'quantization': 'int4'}, "int4 needs a CUDA device, device is 'cpu'"),
    ({'quantization': 'int8', 'dtype': 'float16'}, 'int8 overflows in float16'),
    ({'quantization': 'int8', 'backend': 'pocket', 'checkpoint': ''}, "'pocket' accepts only")])
def test_what_does_not_work_is_refused_by_name(folder, changes, said):
    with pytest.raises(ConfigError, match=said):
        load_backend(parameters(folder).changed(changes))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="'int3'; accepted: one of none, int8, int4"):
        Parameters().changed({'quantization': 'int3'})


@pytest.mark.parametrize('found', [None, SimpleNamespace(quantize_=None)])
def test_a_missing_or_old_library_says_what_to_install(folder, monkeypatch, found):
    monkeypatch.setitem(sys.modules, 'torchao.quantization', found)
    with pytest.raises(MissingDependencyError, match=r"pip install 'torchao>=0\.18'"):
        load_backend(parameters(folder, quantization='int8'))


@needs_torchao
def test_int4_asks_the_library_for_the_layout_of_its_gpu_kernel(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: (8, 7))
    asked = quantize.WeightQuantizer('int4', SEVEN_B, GPU, torch.bfloat16)._config
    assert asked.group_size == 128 and str(asked.int4_packing_format) == 'tile_packed_to_4d'


@pytest.mark.parametrize('capability, dtype, hidden, said', [
    ((7, 5), torch.bfloat16, 64, 'capability 8.0 or newer, cuda has 7.5'),
    ((8, 7), torch.float32, 64, 'dtype is float32; set dtype to bfloat16'),
    ((8, 7), torch.bfloat16, 48, 'multiples of 32, this model has 48')])
def test_int4_refuses_gpus_precisions_and_sizes_that_its_kernel_does_not_know(
        monkeypatch, capability, dtype, hidden, said):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: capability)
    config = DecoderConfig(hidden, 96, 4, 4, 4, hidden // 4)
    with pytest.raises(ConfigError, match=said):
        quantize.WeightQuantizer('int4', config, GPU, dtype)


@needs_torchao
def test_the_benchmark_compares_precisions_and_says_what_does_not_run(folder, capsys):
    assert main(['bench', 'quantization', str(folder), '--frames', '5', '--set',
                 'temporal_window=2', '--precisions',
                 'float32,float32,bfloat16,float32+int8,bfloat16+int4']) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    reference, same, half, int8, int4 = json.loads(lines[-1])['rows']
    assert same['output_relative'] == {'mean': 0.0, 'max': 0.0} and same['kept_overlap'] == 1.0
    assert same['action_max'] == 0.0 and same['actions_compared'] == 5
    for one in (half, int8):
        assert 0 < one['output_relative']['mean'] < 0.05 and one['kept_overlap'] > 0.5
    assert 'in int8' in int8['memory'] and 'in int8' not in reference['memory']
    assert 'needs a CUDA device' in int4['refused'] and len(lines) == 1 + 5 + 1


def test_the_benchmark_needs_a_reference(folder, capsys):
    assert main(['bench', 'quantization', str(folder), '--precisions', 'bfloat16+int4']) == 2
    assert main(['bench', 'quantization', str(folder), '--frames', '0']) == 2
    assert '--frames is 0' in capsys.readouterr().err


def test_inspect_shows_the_memory_of_rounded_weights(folder, capsys):
    assert main(['inspect', str(folder), '--json']) == 0
    memory = json.loads(capsys.readouterr().out)['memory']
    assert list(memory) == ['float32', 'bfloat16', 'float16', 'int8', 'int4']
    layers = 4 * (4 * 64 * 64 + 3 * 96 * 64)
    saved = memory['bfloat16']['weights'] - memory['int8']['weights']
    assert saved == layers - 4 * 5 * (5 * 64 + 2 * 96)
