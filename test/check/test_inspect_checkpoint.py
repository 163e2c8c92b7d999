# SPDX-License-Identifier: Apache-2.0
"""`vla-pruner inspect`, repository ids, and the real size from headers alone."""
import json
import sys
from types import SimpleNamespace

from openvla_checkpoint import (
    Oft,
    Sizes,
    statistics,
    tensor_shapes,
    write_checkpoint,
    write_hollow_weights,
)
import pytest
from skipped import shared_file

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.backends.openvla.hub_download import resolve_checkpoint
from vla_pruner_ros.backends.openvla.memory_estimate import NotEnoughMemoryError
from vla_pruner_ros.cli.main import main
from vla_pruner_ros.core.errors import ConfigError, MissingDependencyError
from vla_pruner_ros.core.parameter_declarations import Parameters

SMALL = Sizes(vocab=320)
#: OpenVLA-7B.
REAL = Sizes(dino_width=1024, dino_depth=24, dino_inner=4096, siglip_width=1152, siglip_depth=27,
             siglip_inner=4304, llm_width=4096, llm_inner=11008, llm_layers=32, llm_heads=32)


@pytest.fixture(scope='module')
def real_size(tmp_path_factory):
    """The layout of OpenVLA-7B in a file full of holes."""
    folder = write_checkpoint(tmp_path_factory.mktemp('seven'), SMALL)
    for one in folder.glob('model*'):
        one.unlink()
    write_hollow_weights(folder / 'model.safetensors', tensor_shapes(REAL))
    path = folder / 'config.json'
    config = json.loads(path.read_text())
    config['torch_dtype'] = 'bfloat16'
    config['text_config'] = {'model_type': 'llama', 'pad_token_id': 32000, 'vocab_size': 32064}
    path.write_text(json.dumps(config))
    return folder


def inspected(capsys, *arguments):
    assert main(['inspect', *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_real_size_is_described_from_headers(real_size, capsys):
    found = json.loads(inspected(capsys, real_size, '--json'))
    # 7,541,237,184 weights are published; the last block of each tower, two norms and SigLIP's
    # pooling head are never used.
    dino_block = 4 * 1024 ** 2 + 2 * 1024 * 4096 + 4096 + 1024 * (3 + 1 + 1 + 4 + 2)
    siglip_block = 4 * 1152 ** 2 + 2 * 1152 * 4304 + 4304 + 1152 * (3 + 1 + 1 + 4)
    pooling = 4 * 1152 ** 2 + 1152 * 4 + 2 * 1152 * 4304 + 4304 + 1152 + 3 * 1152
    assert found['weights']['never_used'] == (
        dino_block + siglip_block + pooling + 2 * 1024 + 2 * 1152)
    assert sum(found['weights'].values()) == 7_541_237_184
    assert [one['blocks'] for one in found['towers']] == [23, 26]
    assert found['language_model'] == {'layers': 32, 'width': 4096, 'vocabulary': 32064}
    assert found['memory']['bfloat16']['weights'] == 2 * found['weights']['used']
    assert 13.9 < found['memory']['bfloat16']['total'] / 2 ** 30 < 15


def test_the_real_size_is_refused_by_name_where_memory_is_short(real_size, monkeypatch):
    monkeypatch.setattr('vla_pruner_ros.backends.openvla.checkpoint_loading.available',
                        lambda device: 8 * 2 ** 30)
    with pytest.raises(NotEnoughMemoryError, match=r'needs 14\.\d+ GiB .* 8\.00 GiB are'):
        load_backend(Parameters().changed({'backend': 'openvla', 'checkpoint': str(real_size)}))


def test_a_tower_that_lost_its_last_block_is_not_taken_for_a_smaller_one(real_size, tmp_path):
    folder = tmp_path / 'cut'
    folder.mkdir()
    for name in ('config.json', 'preprocessor_config.json', 'tokenizer.json'):
        (folder / name).write_bytes((real_size / name).read_bytes())
    write_hollow_weights(folder / 'model.safetensors', {
        name: shape for name, shape in tensor_shapes(REAL).items()
        if '.blocks.23.' not in name or 'fused' in name})
    assert main(['inspect', str(folder)]) == 2


def test_people_read_cameras_actions_units_and_data_sets(tmp_path, capsys):
    folder = write_checkpoint(tmp_path / 'c', SMALL, oft=Oft(), norm_stats={
        'libero_goal': statistics(), 'my_robot': statistics()})
    out = inspected(capsys, folder, '--unnorm-key', 'libero_goal')
    for said in ('openvla_oft', 'primary, wrist', 'finger_left', '0.05 m and 0.5 rad', '20 Hz',
                 'my_robot', 'rate unknown (set control_rate)', 'action_head--150000',
                 'action.q01'):
        assert said in out


def test_an_unknown_data_set_is_an_error_that_lists_the_known_ones(tmp_path, capsys):
    folder = write_checkpoint(tmp_path / 'c', SMALL)
    assert main(['inspect', str(folder), '--unnorm-key', 'mars']) == 2
    assert "'mars'; the checkpoint has: bridge_orig" in capsys.readouterr().err


@pytest.mark.parametrize('what', ['empty', 'nothing'])
def test_what_is_no_checkpoint_is_an_error(tmp_path, what, capsys):
    if what == 'empty':
        (tmp_path / 'empty').mkdir()
    assert main(['inspect', str(tmp_path / what)]) == 2
    assert 'Traceback' not in capsys.readouterr().err


def test_the_configuration_of_a_released_checkpoint_lists_its_25_data_sets(tmp_path, capsys):
    folder = write_checkpoint(tmp_path / 'c', SMALL)
    released = json.loads(
        shared_file('stats/openvla_oft_libero10_config_with_norm_stats.json').read_text())
    path = folder / 'config.json'
    small = json.loads(path.read_text())
    assert {key for key in released if key not in small} <= {'transformers_version'}
    path.write_text(json.dumps({**released, 'text_config': small['text_config']}))
    found = json.loads(inspected(capsys, folder, '--json'))['statistics']
    assert len(found) == 25 and found['bridge_orig']['rate'] == 5.0
    assert not [key for key, one in found.items() if 'problem' in one]


def test_a_repository_id_is_downloaded_at_its_revision(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(name, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, 'huggingface_hub',
                        SimpleNamespace(snapshot_download=snapshot_download))
    assert resolve_checkpoint('openvla/openvla-7b', 'abc') == tmp_path
    assert resolve_checkpoint('openvla/openvla-7b') == tmp_path
    assert [one[1] for one in asked] == ['abc', None]
    assert not any(pattern.endswith('.py') for pattern in asked[0][2])


def test_a_repository_id_without_the_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(MissingDependencyError, match=r'pip install -e "\.\[hub\]"'):
        resolve_checkpoint('openvla/openvla-7b')


def test_a_download_that_fails_is_worded(monkeypatch):
    def refuse(*_, **__):
        raise OSError('no route to host')

    monkeypatch.setitem(sys.modules, 'huggingface_hub', SimpleNamespace(snapshot_download=refuse))
    with pytest.raises(ConfigError, match="'a/b' .*no route to host"):
        resolve_checkpoint('a/b')


@pytest.mark.parametrize('name, revision, said', [
    ('', '', 'set checkpoint'), ('/no/such/place', '', 'neither a directory'),
    ('one_word', '', 'neither a directory'), ('.', 'main', 'revisions belong to')])
def test_other_names_are_refused(name, revision, said):
    with pytest.raises(ConfigError, match=said):
        resolve_checkpoint(name, revision)
