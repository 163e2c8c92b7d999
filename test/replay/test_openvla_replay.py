# SPDX-License-Identifier: Apache-2.0
"""The robot's way in and out: the shipped parameter files, and a real bag end to end."""
import json

from openvla_checkpoint import Oft, Sizes, statistics, write_checkpoint
from paths import ROOT
import pytest
from skipped import shared_file
import yaml

from vla_pruner_ros.backends import load_backend
from vla_pruner_ros.cli.main import main
from vla_pruner_ros.core.control_step import PolicyEngine
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.runtime.input_mapping import parse_camera_topics, state_sources

CONFIG = ROOT / 'config'


def shipped(name, folder):
    values = yaml.safe_load((CONFIG / name).read_text())['/**']['ros__parameters']
    return Parameters().changed({**values, 'checkpoint': str(folder), 'dtype': 'float32'})


def test_the_bridge_file_fits_its_policy(tmp_path):
    parameters = shipped('openvla_bridge.yaml', write_checkpoint(tmp_path / 'c', norm_stats={
        'bridge_orig': statistics(), 'fractal20220817_data': statistics()}))
    backend = load_backend(parameters)
    engine = PolicyEngine(backend, parameters)
    assert [one.role for one in parse_camera_topics(parameters.camera_topics, engine.spec)] == [
        'primary']
    assert engine.spec.control_dt == pytest.approx(parameters.target_period)
    engine.warm_up()


def test_the_libero_file_fits_its_policy(tmp_path):
    parameters = shipped('openvla_oft_libero.yaml', write_checkpoint(
        tmp_path / 'c', Sizes(vocab=30080), oft=Oft(),
        norm_stats={'libero_10_no_noops': statistics()}))
    backend = load_backend(parameters)
    engine = PolicyEngine(backend, parameters)
    assert len(parse_camera_topics(parameters.camera_topics, engine.spec)) == 2
    assert [one.kind for one in state_sources(parameters, engine.spec)] == (
        ['pose'] * 6 + ['joint'] * 2)
    assert engine.spec.action_horizon == parameters.execution_horizon
    engine.warm_up()


def test_a_real_bag_is_replayed_unpruned_and_pruned(tmp_path):
    bag = shared_file('rosbag2/droid_00000000_rosbag2_mcap')
    pytest.importorskip('rosbags')
    checkpoint = write_checkpoint(tmp_path / 'c')
    status = main([
        'replay', str(bag), '--out', str(tmp_path / 'out'), '--no-pictures', '--limit', '2',
        '--config', str(CONFIG / 'openvla_bridge.yaml'), '--budgets', 'all,64',
        '--set', f'checkpoint={checkpoint}', '--set', 'dtype=float32', '--set', 'pose_topic=',
        '--set', 'camera_topics=["primary=/droid/exterior_image_1_left/image_raw/compressed"]'])
    assert status == 0
    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    unpruned, pruned = report['runs']
    assert unpruned['steps'] == pruned['steps'] >= 8
    assert unpruned['chunks_sha256'] != pruned['chunks_sha256']
