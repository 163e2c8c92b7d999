# SPDX-License-Identifier: Apache-2.0
"""The node with an OpenVLA checkpoint: camera message in, end-effector command out, pruned."""
from openvla_checkpoint import statistics, write_checkpoint
import pytest
import ros_helpers

from vla_pruner_ros.backends import load_backend

make_rig = ros_helpers.make_rig


def loader(folder, **changes):
    values = {'backend': 'openvla', 'checkpoint': str(folder), **changes}
    return lambda snapshot: load_backend(snapshot.changed(values))


def test_a_camera_becomes_pruned_end_effector_commands_at_the_rate_of_the_data_set(
        make_rig, tmp_path):
    folder = write_checkpoint(tmp_path / 'c', norm_stats={
        'bridge_orig': statistics(), 'fractal20220817_data': statistics()})
    rig = make_rig(load=loader(folder, unnorm_key='bridge_orig'), lock_step=True,
                   camera_topics=['primary=camera/image_raw'], joint_state_topic='',
                   instruction='put the pot on it', pruner='vla_pruner', token_budget=64,
                   temporal_window=2)
    for _ in range(3):  # two unpruned steps fill the window
        message = rig.flow()
    first, second = (one.time_from_start for one in message.points)
    assert (first.sec, first.nanosec) == (0, 0)
    assert (second.sec, second.nanosec) == (0, 200_000_000)  # 5 Hz
    start = message.points[0].transforms[0].translation
    assert (start.x, start.y, start.z) == pytest.approx((0.1, 0.2, 0.3))
    rig.until(lambda: rig.status()['last_step'].get('pruned'))
    assert rig.status()['last_step']['kept'] == [64]
    assert rig.got['gripper_command']

    assert rig.set(token_budget=32).successful
    rig.until(lambda: rig.status()['last_step'].get('kept') == [32], rig.robot.send)


def test_the_log_says_what_memory_was_needed_there_and_taken(make_rig, tmp_path, capfd):
    folder = write_checkpoint(tmp_path / 'c')
    make_rig(load=loader(folder), lock_step=True, camera_topics=['primary=camera/image_raw'],
             joint_state_topic='', instruction='put the pot on it')
    said = [line for line in capfd.readouterr().err.splitlines() if 'weights loaded' in line]
    assert len(said) == 1
    for words in ('the model needs', 'on cpu in float32', 'were available', 'MiB in float32'):
        assert words in said[0]


def test_a_data_set_that_was_not_chosen_is_asked_for_and_can_then_be_given(make_rig, tmp_path):
    folder = write_checkpoint(tmp_path / 'c', norm_stats={
        'bridge_orig': statistics(), 'fractal20220817_data': statistics()})
    rig = make_rig(start=False, load=loader(folder), joint_state_topic='',
                   camera_topics=['primary=camera/image_raw'], instruction='put the pot on it',
                   lock_step=True)
    rig.node.trigger_configure()
    rig.until(lambda: 'bridge_orig, fractal20220817_data' in rig.diagnostics()['message'])
    assert rig.set(unnorm_key='fractal20220817_data').successful
    rig.start()
    first = rig.flow().points[1].time_from_start
    assert (first.sec, first.nanosec) == (0, 333_333_333)  # 3 Hz
