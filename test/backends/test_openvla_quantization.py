# SPDX-License-Identifier: Apache-2.0
"""int8 and int4 weights of the language model: what is rounded, how far it moves, its memory."""
from importlib.util import find_spec
import json
import subprocess
import sys
from types import SimpleNamespace

from decoder_reference import KeepThese
import numpy as np
from openvla_checkpoint import Oft, Sizes, write_checkpoint
import pytest
import torch

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends.openvla import checkpoint_loading as checkpoint_module
from vla_pruner_ros.backends.openvla import weight_quantization as quantize
from vla_pruner_ros.backends.openvla.memory_estimate import held, NotEnoughMemoryError
from vla_pruner_ros.backends.shared.decoder import DecoderConfig
from vla_pruner_ros.cli.main import main
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.errors import BackendError, ConfigError, MissingDependencyError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.token_selector import TokenSelector
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
def rounded4(folder):
    pytest.importorskip('torchao', reason="pip install 'torchao>=0.18'")
    return load_backend(parameters(folder, quantization='int4', dtype='bfloat16'))


def round8(weight):
    """One scale per row, 255 levels."""
    scale = weight.abs().amax(dim=1, keepdim=True) / 127.5
    return (weight / scale).round().clamp(-128, 127) * scale


def round4(weight, group=32):
    """16 levels from the least to the largest weight of each group."""
    parts = weight.float().unflatten(1, (-1, group))
    low, high = parts.amin(2, keepdim=True), parts.amax(2, keepdim=True)
    scale = (high - low) / 15
    return (((parts - low) / scale).round() * scale + low).flatten(1)


def levels(weight):
    """(rows, columns) float32: what the layer multiplies with."""
    unit = torch.eye(weight.shape[1], dtype=weight.dtype)
    return torch.nn.functional.linear(unit, weight).T.float()


@pytest.fixture(scope='module')
def by_hand(folder):
    """The same model with weights rounded here, on plain layers."""
    backend = load_backend(parameters(folder))
    for layer in backend.model.decoder.layers:
        for one in layer.modules():
            if isinstance(one, torch.nn.Linear):
                one.weight.data = round8(one.weight)
    return backend


@pytest.fixture(scope='module')
def widened4(folder, rounded4):
    """The levels of the int4 model on plain layers."""
    backend = load_backend(parameters(folder, dtype='bfloat16'))
    for name, one in backend.model.named_parameters():
        if quantize.is_rounded(rounded4.model.get_parameter(name)):
            one.data = levels(rounded4.model.get_parameter(name)).bfloat16()
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
    return float((one.float() - other.float()).norm() / other.float().norm())


def steps(backend, count=4, **changes):
    engine = PolicyEngine(backend, parameters('', **changes))
    backend.reset()
    return [engine.step(observation(seed)) for seed in range(count)]


@needs_torchao
@pytest.mark.parametrize('kind', ['int8', 'int4'])
def test_the_linear_layers_of_the_decoder_are_rounded_and_nothing_else(
        plain, rounded, rounded4, kind):
    model, dtype = {'int8': (rounded.model, torch.float32),
                    'int4': (rounded4.model, torch.bfloat16)}[kind]
    before = {name: one.to(dtype) for name, one in plain.model.named_parameters()}
    changed = set()
    for name, value in model.named_parameters():
        if type(value) is torch.nn.Parameter:
            assert torch.equal(value, before[name])
            continue
        changed.add(name)
        ours = {'int8': round8, 'int4': round4}[kind](before[name])
        error, least = apart(levels(value), before[name]), apart(ours, before[name])
        assert error == pytest.approx(least, rel=0.03), name
    assert len(changed) == 4 * 7
    assert all(name.startswith('language_model.model.layers.') for name in changed)


@needs_torchao
def test_int4_rounds_each_group_of_a_row_on_its_own(plain, rounded4):
    name = 'language_model.model.layers.1.mlp.down_proj.weight'
    before = plain.model.get_parameter(name).to(torch.bfloat16)
    found = levels(rounded4.model.get_parameter(name))
    counts = [len(one.unique()) for row in found for one in row.split(32)]
    assert max(counts) <= 16 < len(found[0].unique())  # 96 values in three groups of 32
    error = apart(found, before)
    # Groups of other sizes round measurably better or worse.
    assert apart(round4(before, 16), before) < 0.9 * error
    assert apart(round4(before, 48), before) > 1.05 * error


@needs_torchao
def test_logits_are_those_of_weights_rounded_by_hand(plain, rounded, by_hand):
    # The largest weight of a row lies exactly between two levels, so it may differ by one.
    assert apart(logits(rounded), logits(by_hand)) < 5e-3
    # The unrounded model is much further away, so this is not just a loose tolerance.
    assert apart(logits(plain), logits(by_hand)) > 2e-2


@needs_torchao
def test_int4_logits_are_those_of_its_levels_on_plain_layers(folder, rounded4, widened4):
    whole = load_backend(parameters(folder, dtype='bfloat16'))
    assert apart(logits(rounded4), logits(widened4)) < 0.03
    assert apart(logits(whole), logits(widened4)) > 0.15


@needs_torchao
def test_rounding_moves_the_logits_by_percents_at_most(plain, rounded):
    assert 1e-4 < apart(logits(rounded), logits(plain)) < 0.05


@needs_torchao
@pytest.mark.parametrize('kind', ['rounded', 'rounded4'])
def test_a_budget_of_all_is_the_unpruned_rounded_model_to_the_bit(kind, request):
    backend = request.getfixturevalue(kind)
    unpruned = steps(backend, pruner='none', token_budget=0)
    whole = steps(backend, pruner='vla_pruner', token_budget=256)
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
@pytest.mark.parametrize('kind, dtype, limit', [('int8', 'float32', 0.05),
                                                ('int4', 'bfloat16', 0.3)])
def test_oft_runs_pruned_with_rounded_weights(tmp_path, kind, dtype, limit):
    checkpoint = write_checkpoint(tmp_path / 'c', Sizes(vocab=30080), oft=Oft())
    options = {'backend': 'openvla_oft', 'checkpoint': str(checkpoint), 'policy_images': 2}
    chunks = []
    for one in ('none', kind):
        backend = load_backend(Parameters().changed({**options, 'quantization': one,
                                                     'dtype': dtype}))
        selector = TokenSelector(KeepThese([list(range(64))] * 2, prune_layer=2), 64, 256)
        seen = observation(roles=('primary', 'wrist'), state=8)
        chunks.append(backend.predict_action_chunk(seen, selector).actions)
    assert 0 < np.abs(chunks[1] - chunks[0]).max() < limit * np.abs(chunks[0]).max()


@needs_torchao
@pytest.mark.parametrize('kind, dtype', [('int8', 'float32'), ('int8', 'bfloat16'),
                                         ('int4', 'bfloat16')])
def test_the_planned_weights_are_the_weights_held(folder, kind, dtype):
    loaded = checkpoint_module.load_model(
        checkpoint_module.read_checkpoint(folder), True, CPU,
        Parameters(dtype=dtype, quantization=kind))
    found = held((loaded.model,), kind)
    # 4 layers: four 64 x 64, two 96 x 64 and one 64 x 96.  int8: a byte each; per row a float32
    # scale and the byte of an offset.  int4: half a byte each; per 32 values two of two bytes.
    values, rows = 4 * 64 * 64 + 3 * 96 * 64, 5 * 64 + 2 * 96
    assert found[kind] == 4 * (values + 5 * rows if kind == 'int8' else
                               values // 2 + values // 32 * 4)
    assert sum(found.values()) == loaded.need.weights
    assert f'in {kind}' in loaded.memory() and f'in {dtype}' in loaded.memory()


@needs_torchao
@pytest.mark.parametrize('inner, group', [(96, 32), (192, 64), (256, 128)])
def test_the_group_of_int4_fits_every_layer(tmp_path, inner, group):
    sizes = Sizes(llm_width=128, llm_inner=inner, llm_layers=2, vocab=32064)
    folder = write_checkpoint(tmp_path / 'c', sizes)
    backend = load_backend(parameters(folder, quantization='int4', dtype='bfloat16'))
    # (groups in a row, rows, scale and offset)
    down = backend.model.decoder.layers[0].mlp.down_proj.weight
    assert down.scale_and_zero.shape == (inner // group, 128, 2)


@needs_torchao
def test_a_layer_that_the_library_leaves_alone_is_an_error(folder, monkeypatch):
    monkeypatch.setattr(quantize, 'group_of', lambda config: 128)  # fits no layer here
    with pytest.raises(BackendError, match=r'layers\.0\..* was not rounded to int4'):
        load_backend(parameters(folder, quantization='int4', dtype='bfloat16'))


@needs_torchao
@pytest.mark.parametrize('kind, dtype', [('int8', 'float32'), ('int4', 'bfloat16')])
def test_never_more_than_one_layer_of_the_decoder_is_held_unrounded(folder, monkeypatch, kind,
                                                                    dtype):
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
    load_backend(parameters(folder, quantization=kind, dtype=dtype))
    assert max(seen) == 1 and seen.count(1) == 4 * 7


def test_int4_of_a_7b_language_model_takes_half_a_byte_per_weight_and_scales():
    # Rows of 11008 are padded to 11264; groups of 128 have a scale and an offset of two bytes.
    attention, up, down = 4096 * 4096, 11008 * 4096, 4096 * 11264
    values = 32 * (4 * attention + 2 * up + down)
    assert quantize.rounded_bytes(SEVEN_B, 'int4', 'cuda') == values // 2 + values // 128 * 4
    values = 32 * (4 * attention + 3 * up)  # on a CPU nothing is padded
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
    ({'quantization': 'int4', 'dtype': 'float32'}, 'dtype is float32; set dtype to bfloat16'),
    ({'quantization': 'int4', 'dtype': 'float16'}, 'dtype is float16; set dtype to bfloat16'),
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
def test_a_library_without_the_prototype_says_which_one_has_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchao.prototype.quantization.int4', None)
    with pytest.raises(MissingDependencyError, match=r"int4 on cpu .*'torchao==0\.18\.\*'"):
        load_backend(parameters(folder, quantization='int4', dtype='bfloat16'))


@needs_torchao
def test_importing_the_library_prints_nothing(folder):
    script = ('import sys; from vla_pruner_ros.backends import load_backend\n'
              'from vla_pruner_ros.core.parameter_declarations import Parameters\n'
              'load_backend(Parameters(backend="openvla", checkpoint=sys.argv[1], '
              'quantization="int4", dtype="bfloat16"))')
    done = subprocess.run([sys.executable, '-c', script, str(folder)], capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@needs_torchao
def test_int4_asks_the_library_for_the_layout_of_its_gpu_kernel(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: (8, 7))
    asked = quantize.WeightQuantizer('int4', SEVEN_B, GPU, torch.bfloat16)._config
    assert asked.group_size == 128 and str(asked.int4_packing_format) == 'tile_packed_to_4d'


@pytest.mark.parametrize('capability, dtype, hidden, said', [
    ((7, 5), torch.bfloat16, 64, 'capability 8.0 or newer, cuda has 7.5'),
    ((8, 7), torch.float32, 64, 'dtype is float32; set dtype to bfloat16'),
    ((8, 7), torch.bfloat16, 48, 'multiples of 32, this model has 48;')])
def test_int4_refuses_gpus_precisions_and_sizes_that_its_kernel_does_not_know(
        monkeypatch, capability, dtype, hidden, said):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: capability)
    config = DecoderConfig(hidden, 96, 4, 4, 4, hidden // 4)
    with pytest.raises(ConfigError, match=said):
        quantize.WeightQuantizer('int4', config, GPU, dtype)


@pytest.mark.parametrize('config, device, said', [
    (DecoderConfig(64, 96, 4, 4, 4, 14), CPU, 'multiples of 32, this model has 56;'),
    (DecoderConfig(64, 80, 4, 4, 4, 16), CPU, 'multiples of 32, this model has 80;'),
    (DecoderConfig(64, 96, 4, 4, 1, 24), CPU, 'a multiple of 16 rows, this model has 24;'),
    (SMALL, torch.device('meta'), "cpu and cuda, device is 'meta'")])
def test_int4_on_a_cpu_refuses_layers_that_its_kernel_cannot_hold(config, device, said):
    with pytest.raises(ConfigError, match=said):
        quantize.WeightQuantizer('int4', config, device, torch.bfloat16)


@needs_torchao
def test_the_benchmark_compares_precisions_and_says_what_does_not_run(folder, capsys):
    assert main(['bench', 'quantization', str(folder), '--frames', '5', '--set',
                 'temporal_window=2', '--precisions',
                 'float32,float32,bfloat16,float32+int8,bfloat16+int4,float32+int4']) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    reference, same, half, int8, int4, refused = json.loads(lines[-1])['rows']
    assert same['output_relative'] == {'mean': 0.0, 'max': 0.0} and same['kept_overlap'] == 1.0
    assert same['action_max'] == 0.0 and same['actions_compared'] == 5
    for one in (half, int8):
        assert 0 < one['output_relative']['mean'] < 0.05 and one['kept_overlap'] > 0.5
    assert 0.05 < int4['output_relative']['mean'] < 0.6 and int4['kept_overlap'] > 0.35
    layers = 4 * (4 * 64 * 64 + 3 * 96 * 64)
    assert reference['weights_bytes']['float32'] - int8['weights_bytes']['float32'] == 4 * layers
    assert half['weights_bytes']['bfloat16'] - int4['weights_bytes']['bfloat16'] == 2 * layers
    assert int4['weights_bytes']['int4'] == layers // 2 + layers // 32 * 4
    assert 'set dtype to bfloat16' in refused['refused'] and len(lines) == 2 + 6 + 1


def test_the_benchmark_needs_a_reference(folder, capsys):
    assert main(['bench', 'quantization', str(folder), '--precisions', 'float16+int8']) == 2
    assert main(['bench', 'quantization', str(folder), '--frames', '0']) == 2
    assert '--frames is 0' in capsys.readouterr().err


def test_inspect_shows_the_memory_of_rounded_weights(folder, capsys):
    assert main(['inspect', str(folder), '--json']) == 0
    memory = json.loads(capsys.readouterr().out)['memory']
    assert list(memory) == ['float32', 'bfloat16', 'float16', 'int8', 'int4']
    layers = 4 * (4 * 64 * 64 + 3 * 96 * 64)
    saved = memory['bfloat16']['weights'] - memory['int8']['weights']
    assert saved == layers - 4 * 5 * (5 * 64 + 2 * 96)
