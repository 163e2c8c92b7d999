# SPDX-License-Identifier: Apache-2.0
"""The action reuse gate: when it repeats, and each reason why not, with its negative control."""
import math

from core_support import make_spec
import numpy as np
import pytest

from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.reuse_instead_of_model import (
    image_change,
    overlap,
    ReuseGate,
    steady,
    thumbnail,
)

KEPT = (np.arange(10),)
GREY = {'corner': np.full((32, 32), 100.0, dtype=np.float32)}


def parameters(**changes):
    return Parameters().changed({'reuse': True, 'execution_horizon': 2, **changes})


def chunk(x=0.02, y=0.0, gripper=1.0, rows=8):
    """Rows move by (x, y, 0); z holds the row number in nanometres, to recognise rows."""
    actions = np.tile([x, y, 0.0, gripper], (rows, 1))
    actions[:, 2] = np.arange(rows) * 1e-9
    return actions


class Loop:
    """A gate that is driven as the engine drives it: decide, then take or record."""

    def __init__(self, spec=None, start=None, **changes):
        self.gate = ReuseGate(spec or make_spec())
        self.parameters = parameters(**changes)
        self.start = start

    def run(self, actions=None, kept=KEPT, grey=GREY):
        """One model run, whatever the gate says."""
        self.gate.record(chunk() if actions is None else actions, kept,
                         self.parameters.execution_horizon, grey, self.start)

    def ask(self, grey=GREY, executed=2):
        return self.gate.decide(self.parameters, grey, executed)

    def step(self, grey=GREY):
        reason = self.ask(grey)
        if reason == 'reused':
            return self.gate.take(2)
        self.run(grey=grey)
        return reason


def test_off_says_off():
    loop = Loop(reuse=False)
    loop.run()
    loop.run()
    assert loop.ask() == 'off'


def test_two_model_runs_are_needed():
    loop = Loop()
    assert loop.ask() == 'no_history'
    loop.run()
    assert loop.ask() == 'no_history'
    loop.run()
    assert loop.ask() == 'reused'


def test_a_stable_robot_alternates_between_thinking_and_reusing():
    loop = Loop()
    answers = [loop.step() for _ in range(7)]
    pattern = [one if isinstance(one, str) else 'R' for one in answers]
    assert pattern == ['no_history', 'no_history', 'R', 'cap', 'R', 'cap', 'R']


@pytest.mark.parametrize('reason, named', [
    ('instruction', 'instruction'), ('reset', 'reset'), ('gap', 'reset')])
def test_the_first_step_after_clearing_says_why(reason, named):
    loop = Loop()
    loop.run()
    loop.run()
    loop.gate.clear(reason)
    assert loop.ask() == named
    loop.run()
    assert loop.ask() == 'no_history'


def test_reuse_continues_behind_the_executed_rows():
    loop = Loop(max_consecutive_reuses=5)
    loop.run()
    loop.run()
    assert loop.ask() == 'reused'
    assert loop.gate.take(2)[:, 2].tolist() == pytest.approx([2e-9, 3e-9, 4e-9, 5e-9, 6e-9, 7e-9])
    assert loop.ask(executed=4) == 'reused'
    assert loop.gate.take(4)[:, 2].tolist() == pytest.approx([4e-9, 5e-9, 6e-9, 7e-9])
    assert loop.ask(executed=6) == 'reused'
    assert loop.gate.take(6)[:, 2].tolist() == pytest.approx([6e-9, 7e-9])
    assert loop.ask(executed=8) == 'chunk_exhausted'


def test_rows_that_a_late_step_has_already_executed_are_skipped():
    loop = Loop()
    loop.run()
    loop.run()
    assert loop.ask(executed=5) == 'reused'
    assert loop.gate.take(5)[:, 2].tolist() == pytest.approx([5e-9, 6e-9, 7e-9])
    loop.run()
    assert loop.ask(executed=7) == 'chunk_exhausted'


def test_a_chunk_that_is_executed_whole_leaves_nothing_to_reuse():
    loop = Loop(execution_horizon=8)
    loop.run()
    loop.run()
    assert loop.ask(executed=8) == 'chunk_exhausted'


def test_a_policy_without_chunks_repeats_its_action():
    loop = Loop(make_spec(action_horizon=1), max_consecutive_reuses=3)
    for _ in range(2):
        loop.run(chunk(rows=1))
    for _ in range(3):
        assert loop.ask(executed=1) == 'reused'
        assert loop.gate.take(1).tolist() == chunk(rows=1).tolist()
    assert loop.ask(executed=1) == 'cap'


def test_the_cap_counts_reuses_in_a_row():
    loop = Loop(max_consecutive_reuses=2)
    answers = [loop.step() for _ in range(8)]
    assert [isinstance(one, np.ndarray) for one in answers] == [
        False, False, True, True, False, True, True, False]


def test_what_was_handed_out_cannot_be_changed_through_it():
    loop = Loop(make_spec(action_horizon=1))
    for _ in range(2):
        loop.run(chunk(rows=1))
    loop.ask(executed=1)
    loop.gate.take(1)[:] = 99.0
    loop.gate._consecutive = 0
    assert loop.gate.take(1).max() == 1.0


# Angle ------------------------------------------------------------------------------------------

@pytest.mark.parametrize('degrees, reason', [(5.0, 'reused'), (6.5, 'angle'), (180.0, 'angle')])
def test_a_turn_of_the_motion_vetoes(degrees, reason):
    loop = Loop(reuse_angle=0.1)  # 5.73 degrees
    turned = math.radians(degrees)
    loop.run()
    loop.run(chunk(0.02 * math.cos(turned), 0.02 * math.sin(turned)))
    assert loop.ask() == reason


def test_the_gripper_is_no_part_of_the_angle():
    before, last = chunk(x=0.01, y=0.0), chunk(x=0.0, y=0.01)
    # With the gripper's 1.0 beside motions of 0.01 a right angle looks like 0.8 degrees.
    assert steady(before, last, 0.1, 0.0)
    loop = Loop(reuse_min_norm=0.0)
    loop.run(before)
    loop.run(last)
    assert loop.ask() == 'angle'


def test_only_executed_rows_count():
    last = chunk()
    last[2:, 0] *= -1  # turns round behind the execution horizon
    loop = Loop()
    loop.run()
    loop.run(last)
    assert loop.ask() == 'reused'


def test_a_robot_that_stands_still_has_no_angle_and_is_stable():
    loop = Loop(reuse_min_norm=1e-3)
    loop.run(chunk(x=5e-4))
    loop.run(chunk(x=-5e-4))
    assert loop.ask() == 'reused'


def test_the_norm_is_per_row_whatever_the_execution_horizon():
    loop = Loop(reuse_min_norm=1e-3, execution_horizon=4)  # the norm over all rows is 1.8e-3
    loop.run(chunk(x=9e-4))
    loop.run(chunk(x=-9e-4))
    assert loop.ask(executed=4) == 'reused'


def test_starting_to_move_is_not_stable():
    loop = Loop()
    loop.run(chunk(x=1e-5))
    loop.run(chunk(x=0.02))
    assert loop.ask() == 'angle'


def test_steady_by_hand():
    row = np.array([[1.0, 0.0]])
    assert steady(row, 3 * row, 0.1, 1e-3)
    assert not steady(row, 3 * row, 0.0, 1e-3)  # eps1 is a strict bound
    assert not steady(0 * row, 0 * row, 0.1, 0.0)
    assert steady(0 * row, 0 * row, 0.1, 1e-3)
    assert not steady(row, np.ones((2, 2)), 0.1, 1e-3)
    assert not steady(np.empty((0, 2)), np.empty((0, 2)), 0.1, 1e-3)


def joint_loop(**changes):
    names = ('j1', 'j2', 'gripper')
    spec = make_spec(action_kind='joint_position', action_names=names, state_names=names,
                     gripper_index=2)
    return Loop(spec, **changes)


def test_joint_targets_are_compared_as_motions():
    first, second = np.tile([1.02, 1.0, 1.0], (8, 1)), np.tile([1.0, 1.02, 1.0], (8, 1))
    # As postures the two are 1.1 degrees apart, as motions from (1, 1) they are 90.
    assert steady(first[:, :2], second[:, :2], 0.1, 1e-3)
    loop = joint_loop(start=np.array([1.0, 1.0]))
    loop.run(first)
    loop.run(second)
    assert loop.ask() == 'angle'


def test_joint_targets_without_known_start_use_the_differences_of_rows():
    path = np.array([[1.0 + 0.01 * i, 1.0, 1.0] for i in range(8)])
    loop = joint_loop(execution_horizon=3)
    loop.run(path)
    loop.run(path)
    assert loop.ask(executed=3) == 'reused'
    single = joint_loop(execution_horizon=1)
    single.run(path)
    single.run(path)
    assert single.ask(executed=1) == 'angle'  # one row alone says nothing about motion


# Gripper, tokens, images ------------------------------------------------------------------------

@pytest.mark.parametrize('before, last', [(1.0, -1.0), (-1.0, 1.0), (0.3, -0.3)])
def test_a_gripper_change_between_the_steps_vetoes(before, last):
    loop = Loop()
    loop.run(chunk(gripper=before))
    loop.run(chunk(gripper=last))
    assert loop.ask() == 'gripper'


def test_a_gripper_change_in_what_would_be_executed_vetoes():
    closing = chunk()
    closing[3:, 3] = -1.0
    loop = Loop()
    loop.run()
    loop.run(closing)
    assert loop.ask() == 'gripper'


def test_a_gripper_change_behind_what_would_be_executed_does_not_matter_yet():
    closing = chunk()
    closing[4:, 3] = -1.0
    loop = Loop(max_consecutive_reuses=2)
    loop.run()
    loop.run(closing)
    assert loop.ask() == 'reused'
    loop.gate.take(2)
    assert loop.ask(executed=4) == 'gripper'


def test_a_policy_without_gripper_has_no_gripper_veto():
    loop = Loop(make_spec(gripper_index=None))
    loop.run(chunk(x=0.5, gripper=0.01))
    loop.run(chunk(x=0.5, gripper=-0.01))
    assert loop.ask() == 'reused'


def test_overlap_is_the_share_of_the_last_tokens():
    assert overlap([np.array([1, 2, 3, 4])], [np.array([3, 4, 5])]) == pytest.approx(2 / 3)
    assert overlap([np.arange(4), np.arange(2)], [np.arange(2), np.arange(2, 8)]) == 0.25
    assert overlap([np.arange(4)], [np.arange(4), np.arange(4)]) == 0.0
    assert overlap([], []) == 0.0


@pytest.mark.parametrize('last, reason', [(np.arange(4, 14), 'reused'),
                                          (np.arange(5, 15), 'overlap')])
def test_moving_attention_vetoes(last, reason):
    loop = Loop(reuse_overlap=0.6)
    loop.run()
    loop.run(kept=(last,))
    assert loop.ask() == reason  # 6 of 10 shared is enough, 5 is not


def test_a_changed_image_vetoes_and_the_memory_stays_that_of_the_model_run():
    loop = Loop(reuse_image_change=4.0, max_consecutive_reuses=5)
    loop.run()
    loop.run()
    drift = [{'corner': GREY['corner'] + change} for change in (3.0, 6.0)]
    assert loop.ask(drift[0]) == 'reused'
    loop.gate.take(2)
    # Each image is within 3 of the one before, but the model last saw one that is 6 away.
    assert loop.ask(drift[1]) == 'image_change'


def test_the_image_gate_can_be_switched_off():
    loop = Loop(reuse_image_change=0.0)
    loop.run(grey={})
    loop.run(grey={})
    assert loop.ask({}) == 'reused'


@pytest.mark.parametrize('now', [{}, {'wrist': GREY['corner']},
                                 {'corner': np.zeros((16, 16), dtype=np.float32)}])
def test_images_that_cannot_be_compared_veto(now):
    loop = Loop()
    loop.run()
    loop.run()
    assert loop.ask(now) == 'no_image'


def test_one_changed_camera_is_enough():
    still = np.zeros((4, 4), dtype=np.float32)
    assert image_change({'a': still, 'b': still}, {'a': still, 'b': still + 8}) == 8.0


def test_thumbnail_by_hand():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2, :2] = 200
    image[2:, 2:, 1] = 100  # green weighs 0.587
    wanted = np.array([[200.0, 0.0], [0.0, 58.7]])
    assert thumbnail(image, size=2) == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize('height, width', [(224, 224), (480, 640), (1080, 1920), (33, 50), (8, 9)])
def test_thumbnail_of_any_size_keeps_the_mean(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = thumbnail(image)
    assert small.shape == (min(32, height), min(32, width)) and small.dtype == np.float32
    assert abs(float(small.mean()) - float(image.mean())) < 5.0


def test_a_reuse_that_would_leave_the_robot_without_a_command_is_vetoed():
    loop = Loop()  # 8 rows, 2 of them executed per answer
    loop.run()
    loop.run()
    decide = loop.gate.decide
    assert decide(loop.parameters, GREY, 2, lead_rows=5) == 'reused'  # 6 left, 5 to the answer
    assert decide(loop.parameters, GREY, 2, lead_rows=6) == 'coverage'


def test_metres_and_radians_are_compared_apart():
    """A translation that reverses beside a rotation that does not."""
    spec = make_spec(action_names=('dx', 'dy', 'dz', 'rx', 'ry', 'rz', 'gripper'), gripper_index=6)
    forth = np.tile([0.025, 0, 0, 0, 0, 0.1, 1.0], (8, 1))
    back = np.tile([-0.025, 0, 0, 0, 0, 0.1, 1.0], (8, 1))
    loop = Loop(spec)
    loop.run(forth)
    loop.run(back)
    assert loop.ask() == 'angle'
    loop.run(back)
    assert loop.ask() == 'reused'
