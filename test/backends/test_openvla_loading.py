# SPDX-License-Identifier: Apache-2.0
"""Published layouts into our modules: what fits loads value by value, what does not is named."""
import json
import weakref

from openvla_checkpoint import (
    default_rule,
    Oft,
    Sizes,
    statistics,
    tensor_shapes,
    write_checkpoint,
)
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
import torch

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends.openvla import checkpoint_loading as checkpoint_module
from vla_pruner_ros.backends.openvla import memory_estimate as memory
from vla_pruner_ros.backends.openvla import weight_mapping as weights
from vla_pruner_ros.backends.openvla.checkpoint_loading import load_model, read_checkpoint
from vla_pruner_ros.backends.shared.decoder import Decoder
from vla_pruner_ros.core.errors import BackendError, ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters

CPU = torch.device('cpu')
SIZES = Sizes(vocab=320)  # nothing here decodes tokens


@pytest.fixture
def folder(tmp_path):
    return write_checkpoint(tmp_path / 'small', SIZES)


def parameters(folder, backend='openvla', **changes):
    return Parameters().changed({'backend': backend, 'checkpoint': str(folder), **changes})


def edit(folder, change):
    """Change the tensors; they come to lie in one file."""
    tensors = {}
    for path in sorted(folder.glob('model-*.safetensors')):
        tensors.update(load_file(path))
        path.unlink()
    (folder / 'model.safetensors.index.json').unlink()
    change(tensors)
    save_file(tensors, str(folder / 'model.safetensors'), metadata={'format': 'pt'})


def load(folder, dtype='auto'):
    parameters = Parameters().changed({'dtype': dtype})
    return load_model(read_checkpoint(folder), True, CPU, parameters).model


def test_every_used_tensor_arrives_and_nothing_stays_without_memory(folder):
    model = load(folder)
    shapes = tensor_shapes(SIZES)
    state = model.state_dict()
    for name, value in state.items():
        assert value.device.type == 'cpu'
        torch.testing.assert_close(value, default_rule(name, shapes[name]), rtol=0, atol=0)
    unused = sorted(set(shapes) - set(state))
    assert all(any(part in name for part in ('blocks.3.', 'blocks.2.', '.norm.', 'attn_pool'))
               for name in unused), unused
    plain = Decoder(model.decoder.config)
    torch.testing.assert_close(model.decoder.inv_freq, plain.inv_freq, rtol=0, atol=0)


def test_one_file_without_an_index_loads_the_same(folder, tmp_path):
    single = write_checkpoint(tmp_path / 'single', SIZES, shards=1)
    assert not (single / 'model.safetensors.index.json').exists()
    one, many = load(single).state_dict(), load(folder).state_dict()
    assert all(torch.equal(one[name], many[name]) for name in many)


@pytest.mark.parametrize('asked, stored, got', [
    ('auto', torch.bfloat16, torch.bfloat16), ('float32', torch.bfloat16, torch.float32),
    ('float16', torch.float32, torch.float16)])
def test_precision_is_that_of_the_checkpoint_or_the_one_asked_for(tmp_path, asked, stored, got):
    model = load(write_checkpoint(tmp_path / 'c', SIZES, dtype=stored), asked)
    assert {one.dtype for one in model.parameters()} == {got}
    assert model.decoder.inv_freq.dtype == torch.float32


def test_never_more_than_one_stored_tensor_is_held_beside_the_weights(folder, monkeypatch):
    alive, most = [], []
    read = weights._Shards.read

    def counted(self, source):
        value = read(self, source)
        alive.append(weakref.ref(value))
        most.append(sum(one() is not None for one in alive))
        return value

    monkeypatch.setattr(weights._Shards, 'read', counted)
    load(folder)
    assert len(most) > 50
    assert max(most) <= 2  # the one just read, and the one before it until its name is rebound


def test_missing_misshaped_and_extra_tensors_are_all_named(folder):
    gone = 'language_model.model.layers.1.self_attn.q_proj.weight'

    def change(tensors):
        del tensors[gone]
        tensors['projector.fc3.bias'] = torch.zeros(3)
        tensors['language_model.model.layers.9.surprise'] = torch.zeros(2)

    edit(folder, change)
    with pytest.raises(BackendError) as caught:
        load(folder)
    text = str(caught.value)
    assert f'missing: {gone}' in text
    assert 'projector.fc3.bias is (3,) instead of (64,)' in text
    assert 'unexpected: language_model.model.layers.9.surprise' in text


def test_published_but_unused_tensors_may_be_absent(folder):
    def change(tensors):
        unused = [one for one in tensors if 'attn_pool' in one]
        assert len(unused) == 13
        for name in unused:
            del tensors[name]

    edit(folder, change)
    load(folder)


def test_a_shard_that_is_missing_is_named(folder):
    (folder / 'model-00002-of-00003.safetensors').unlink()
    with pytest.raises(ConfigError, match=r'lacks 1 of 3 .* model-00002-of-00003.safetensors'):
        read_checkpoint(folder)


def test_a_shard_without_what_the_index_promises_is_named(folder):
    path = folder / 'model-00003-of-00003.safetensors'
    tensors = load_file(path)
    name = sorted(tensors)[0]
    del tensors[name]
    save_file(tensors, str(path))
    with pytest.raises(BackendError, match=name.replace('.', r'\.')):
        read_checkpoint(folder)


def test_a_truncated_shard_is_refused(folder):
    path = folder / 'model-00003-of-00003.safetensors'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BackendError, match='model-00003-of-00003.safetensors is not a readable'):
        read_checkpoint(folder)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_values_that_are_not_finite_are_named(folder, value):
    def change(tensors):
        tensors['projector.fc2.weight'][3, 4] = value
        tensors['language_model.model.norm.weight'][5] = value

    edit(folder, change)
    with pytest.raises(BackendError, match=r'language_model.model.norm.weight, projector.fc2'):
        load(folder)


def test_values_that_do_not_fit_the_precision_are_named(folder):
    def change(tensors):
        tensors['projector.fc3.bias'][:] = 1e6  # fits float32, not float16

    edit(folder, change)
    load(folder)
    with pytest.raises(BackendError, match=r'not finite in torch.float16: projector.fc3.bias'):
        load(folder, 'float16')


def test_several_data_sets_need_a_key_and_the_message_lists_them(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', SIZES, norm_stats={
        'bridge_orig': statistics(), 'fractal20220817_data': statistics(shift=0.1)})
    with pytest.raises(ConfigError, match=r'unnorm_key .*bridge_orig, fractal20220817_data'):
        load_backend(parameters(folder))
    with pytest.raises(ConfigError, match=r"'bridge'; the checkpoint has: bridge_orig, fractal"):
        load_backend(parameters(folder, unnorm_key='bridge'))
    backend = load_backend(parameters(folder, unnorm_key='fractal20220817_data'))
    assert backend.spec.control_dt == pytest.approx(1 / 3)


def test_dataset_statistics_replace_those_of_the_configuration(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', SIZES, norm_stats={'bridge_orig': statistics()},
                              dataset_statistics={'libero_spatial': statistics()})
    assert load_backend(parameters(folder)).data.key == 'libero_spatial'


def test_too_little_memory_is_refused_before_a_tensor_is_read(folder, monkeypatch):
    monkeypatch.setattr(checkpoint_module, 'available', lambda device: 2 ** 20)
    monkeypatch.setattr(checkpoint_module, 'fill', lambda *_: pytest.fail('tensors were read'))
    with pytest.raises(memory.NotEnoughMemoryError,
                       match=r'needs \d\.\d MiB on cpu in float32 .* 1\.0 MiB are available'):
        load(folder)


def test_the_planned_memory_counts_every_weight_once(folder):
    model = load(folder)
    need = checkpoint_module.memory_need(model, torch.float32, images=1)
    assert need.weights == 4 * sum(one.numel() for one in model.parameters())
    # Keys and values of 4 layers, 4 heads of 16, for 256 visual and 512 planned other rows.
    assert need.cache == 4 * 2 * 4 * 64 * (256 + 512)


@pytest.mark.parametrize('key, value, said', [
    ('model_type', 'llava', "model_type = 'llava'"),
    ('use_fused_vision_backbone', False, 'use_fused_vision_backbone'),
    ('image_resize_strategy', 'letterbox', "'resize-naive'"),
    ('timm_model_ids', ['vit_tiny', 'vit_so400m_patch14_siglip_224'], "'vit_tiny'"),
    ('timm_override_act_layers', ['quick_gelu', None], 'quick_gelu')])
def test_a_configuration_that_would_be_computed_wrongly_is_refused(folder, key, value, said):
    path = folder / 'config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ConfigError, match=said):
        load(folder)


@pytest.mark.parametrize('name', ['config.json', 'preprocessor_config.json', 'tokenizer.json'])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=name):
        load_backend(parameters(folder))


@pytest.mark.parametrize('content', ['[1]', '{', ''])
def test_a_broken_configuration_is_named(folder, content):
    (folder / 'config.json').write_text(content)
    with pytest.raises(ConfigError, match='config.json'):
        read_checkpoint(folder)


def test_an_oft_checkpoint_says_which_backend_it_needs(tmp_path):
    folder = write_checkpoint(tmp_path / 'c', SIZES, oft=Oft())
    with pytest.raises(ConfigError, match="backend to 'openvla_oft'"):
        load_backend(parameters(folder))


def test_an_adapter_that_was_not_merged_says_what_to_do(folder):
    for one in folder.glob('model*'):
        one.unlink()
    (folder / 'lora_adapter').mkdir()
    with pytest.raises(ConfigError, match='merge it'):
        read_checkpoint(folder)


def test_reading_the_layout_opens_no_tensor(folder, monkeypatch):
    class Headers:
        def __init__(self, *arguments, **options):
            self._opened = safe_open(*arguments, **options)

        def __enter__(self):
            self._opened = self._opened.__enter__()
            return self

        def __exit__(self, *exception):
            return self._opened.__exit__(*exception)

        def keys(self):
            return self._opened.keys()

        def get_slice(self, name):
            return self._opened.get_slice(name)

        def get_tensor(self, name):
            pytest.fail(f'{name} was read')

    monkeypatch.setattr('safetensors.safe_open', Headers)
    checkpoint = read_checkpoint(folder)
    model, _ = checkpoint_module.build(checkpoint, lm_head=True, shapes_only=True)
    assert all(one.is_meta for one in model.parameters())
    with pytest.raises(pytest.fail.Exception):  # the guard works: loading does read
        load(folder)


@pytest.mark.parametrize('junk', [None, 'x', -1, 0, [], {}, [None, None], ['a'], 1e9])
def test_junk_anywhere_in_the_configuration_is_worded_never_a_crash(folder, junk):
    path = folder / 'config.json'
    good = json.loads(path.read_text())
    texts = [{**good, key: junk} for key in good]
    texts += [{**good, 'text_config': {**good['text_config'], key: junk}}
              for key in good['text_config']]
    texts += [{**good, 'norm_stats': {'bridge_orig': junk}},
              {**good, 'norm_stats': {'bridge_orig': {'action': junk}}},
              {**good, 'norm_stats': {'bridge_orig': {'action': {
                  **statistics()['action'], 'q01': junk}}}}]
    refused = 0
    for one in texts:
        path.write_text(json.dumps(one))
        try:
            load_backend(parameters(folder))
        except (ConfigError, BackendError) as error:
            assert str(error)
            refused += 1
    assert refused >= 8
