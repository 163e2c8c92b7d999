# SPDX-License-Identifier: Apache-2.0
"""Motion with a policy that takes time: what breaks when rows are published as they come."""
from fakes import FakeBackend, make_spec
import numpy as np
import pytest
from real_time_rig import RealTime

from vla_pruner_ros.runtime.motion.velocity_stream import CLOSING_NS

STEADY = 0.01 / 0.05  # metres per second that a white image asks for


def slow(seed):
    """Random delays of 50 to 150 ms."""
    rng = np.random.default_rng(seed)
    return lambda number: int(rng.integers(50, 150))


@pytest.mark.parametrize('delay', [30, 90, 190, 290])
def test_a_velocity_limit_holds_from_rest_whatever_the_delay(delay):
    backend = FakeBackend()
    backend.value = 0.05  # 1 m/s
    log = RealTime(backend, delay, max_velocity=[0.2], chunk_timing='observation').run(2.0)
    assert log.x[-1] > 0.2  # it does move
    assert np.abs(log.speed).max() <= 0.2 + 1e-6


@pytest.mark.parametrize('delay', [30, 90, 190])
@pytest.mark.parametrize('join', ['replace', 'linear', 'ensemble'])
def test_velocity_and_acceleration_limits_hold_for_every_way_of_joining(delay, join):
    backend = FakeBackend()
    backend.value = 0.05
    log = RealTime(backend, delay, max_velocity=[0.2], max_acceleration=[1.0],
                   chunk_join=join).run(2.0)
    assert log.x[-1] > 0.2
    assert np.abs(log.speed).max() <= 0.2 + 1e-6
    assert np.abs(np.diff(log.speed)).max() * 250 <= 1.0 * 1.05  # of samples 4 ms apart


@pytest.mark.parametrize('by_twist', [False, True])
def test_the_box_holds_on_poses_and_on_velocities(by_twist):
    """Rows that go back first and out later; those that are skipped must not open the box."""
    backend = FakeBackend(make_spec())
    rows = np.zeros((8, 4))
    rows[:4, 0], rows[4:, 0] = -0.01, 0.02
    answer = backend.predict_action_chunk

    def predict(observation, selector):
        found = answer(observation, selector)
        return type(found)(rows, found.kept, found.stages_ms, found.flops)
    backend.predict_action_chunk = predict
    rig = RealTime(backend, 200, by_twist, position_low=[-1, -1, -1], position_high=[0.105, 1, 1],
                   chunk_timing='observation')
    log = rig.run(4.0)
    assert max(log.x) <= 0.105 + 1e-6 and max(log.x) > 0.1


@pytest.mark.parametrize('delay', [150, 190, 300, 400])
def test_one_row_of_a_fifth_of_a_second_drives_at_the_planned_speed(delay):
    """OpenVLA: observe, act, wait; at 190 ms it never moved, at 150 ms it moved too fast."""
    backend = FakeBackend(make_spec(action_horizon=1, control_dt=0.2))
    log = RealTime(backend, delay, execution_horizon=1).run(8.0)
    answers = len(log.arrivals)
    assert answers >= 8.0 / (0.2 + delay / 1000 + 0.2) - 2
    assert log.x[-1] - 0.1 == pytest.approx(0.01 * answers, abs=0.012)
    assert np.abs(log.speed).max() <= 1.6 * 0.01 / 0.2  # smooth start and stop, never squeezed


@pytest.mark.parametrize('delay', [60, 120])
def test_a_long_enough_chunk_never_leaves_the_robot_without_a_command(delay):
    """8 of 8 rows cannot be executed before the next answer is due: fewer are."""
    backend = FakeBackend()
    log = RealTime(backend, delay, execution_horizon=8).run(5.0)
    assert log.gaps(1.0) == 0.0
    assert np.mean(log.speed[375:]) == pytest.approx(STEADY, rel=0.05)


@pytest.mark.parametrize('delay', [200, 300])
def test_a_chunk_too_short_for_its_delay_runs_at_the_planned_speed_in_turns(delay):
    backend = FakeBackend()
    log = RealTime(backend, delay, execution_horizon=8).run(6.0)
    moving = log.speed[np.abs(log.speed) > 0.05]
    assert np.median(moving) == pytest.approx(STEADY, rel=0.1)
    assert moving.max() < 1.6 * STEADY
    assert log.x[-1] - 0.1 == pytest.approx(0.08 * len(log.arrivals), abs=0.09)


@pytest.mark.parametrize('delay', [20, 60, 100, 150])
def test_a_reused_step_leaves_no_gap(delay):
    backend = FakeBackend()
    log = RealTime(backend, delay, reuse=True, reuse_image_change=0.0).run(5.0)
    reused = sum(tick.stats.reused for tick in log.ticks)
    assert log.gaps(1.0) == 0.0
    assert reused > 0 or delay > 100
    assert np.mean(log.speed[375:]) == pytest.approx(STEADY, rel=0.05)


@pytest.mark.parametrize('delay', [0, 100, 190])
def test_a_robot_that_hangs_behind_its_target_does_not_sink_with_every_chunk(delay):
    """Differences count from where the robot was sent; what gravity takes is not a new target."""
    backend = FakeBackend()
    backend.value = 0.0  # stay
    log = RealTime(backend, delay, sag=0.004).run(4.0)
    assert len(log.arrivals) > 8
    assert log.x[-1] == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize('delay', [0, 100])
def test_a_robot_that_hangs_behind_its_target_is_driven_as_fast_as_the_policy_says(delay):
    log = RealTime(FakeBackend(), delay, sag=0.02).run(4.0)
    assert np.mean(log.speed[375:]) == pytest.approx(STEADY, rel=0.05)


def test_a_robot_that_was_pushed_away_goes_on_from_where_it_is():
    backend = FakeBackend()
    backend.value = 0.0
    rig = RealTime(backend, 50)
    rig.run(2.0)
    rig.sag = 0.3  # further than its tolerance
    log = rig.run(2.0)
    assert log.x[-1] < 0.1 - 0.25


class Wavering(FakeBackend):
    """Changes its mind about the speed with every answer."""

    def predict_action_chunk(self, observation, selector):
        self.value = 0.01 + 0.005 * (-1) ** len(self.calls)
        return super().predict_action_chunk(observation, selector)


def test_a_random_delay_leaves_no_gap_and_no_jump():
    at_once, joined = (RealTime(Wavering(), slow(0), chunk_join=join).run(5.0)
                       for join in ('replace', 'linear'))
    assert joined.gaps(1.0) == 0.0
    steps = [np.abs(np.diff(log.speed[250:])).max() for log in (at_once, joined)]
    assert steps[1] <= steps[0] / 5


def test_stamps_ahead_of_the_clock_do_not_silence_the_velocities():
    rig = RealTime(FakeBackend(), 30, by_twist=True, stamp_ahead=200)
    log = rig.run(3.0)
    assert max(speed for _, speed in log.twists) > 0.1
    assert log.x[-1] > 0.3


def test_velocities_follow_the_plan_and_end_with_zeros():
    backend = FakeBackend()
    rig = RealTime(backend, 40, by_twist=True)
    rig.run(2.0)
    moved = rig.log.x[-1] - rig.log.x[0]
    assert moved == pytest.approx(2.0 * STEADY, rel=0.12)
    motion, answers = rig.runner.motion, []
    for _ in range(40):  # no further chunk comes
        rig.now += 32_000_000
        answers.append(motion.velocity(rig.now, 32_000_000, None))
    zeros = [one for one in answers if one is not None and not one.any()]
    assert abs(len(zeros) - CLOSING_NS / 32_000_000) <= 1 and answers[-1] is None


def test_a_robot_that_was_moved_by_hand_starts_from_where_it_is():
    rig = RealTime(FakeBackend(), 50, max_velocity=[0.3])
    rig.run(1.0)
    rig.here = rig.here + np.array([0.0, 0.4, 0, 0, 0, 0, 0])
    rig._path = None
    begin = len(rig.log.x)
    rig.run(1.0)
    assert rig.runner.diagnostics()['motion_restarts'] >= 1
    assert np.abs(np.diff(rig.log.x[begin:])).max() * 250 <= 0.3 + 1e-6
    assert rig.here[1] == pytest.approx(0.6, abs=0.02)  # nobody asked to go back


def test_a_tightened_limit_acts_on_the_motion_under_way():
    backend = FakeBackend()
    backend.value = 0.04  # 0.8 m/s
    rig = RealTime(backend, 50, max_velocity=[1.0])
    rig.run(1.0)
    motion = rig.runner.motion
    motion.update(rig.runner.parameters.changed({'max_velocity': [0.1]}))
    proposal = motion.relimit(rig.now, rig.runner.measured(rig.now))
    assert np.abs(proposal.path.velocities[1:]).max() <= 0.1 + 1e-9
    motion.commit(proposal)
    assert abs(motion.velocity(rig.now + 30_000_000, 10_000_000, None)[0]) <= 0.1 + 1e-9


def test_a_stop_brakes_and_ends_where_the_robot_comes_to_rest():
    rig = RealTime(FakeBackend(), 50, max_acceleration=[2.0])
    rig.run(2.0)
    assert rig.speed == pytest.approx(STEADY, rel=0.2)
    stop = rig.runner.motion.stop(rig.now, rig.runner.measured(rig.now))
    ahead = stop.command.poses[-1, 0] - rig.here[0]
    assert ahead == pytest.approx(STEADY**2 / 4.0, abs=0.004)  # v^2 / 2a, never backwards
    assert not stop.command.velocities[-1].any()


def test_an_old_measurement_pulls_no_moving_arm_back():
    """A pose 0.44 s old, arm at 0.2 m/s: a hold at that pose was 84 mm back in 50 ms."""
    rig = RealTime(FakeBackend(), 50)
    rig.run(2.0)
    behind = np.array([*(rig.here[:3] - [0.088, 0, 0]), 0, 0, 0, 1.0])
    rig.runner.cache._intake.measured._pose = (rig.now - 440_000_000, behind)
    stop = rig.runner.motion.stop(rig.now, rig.runner.measured(rig.now))
    assert stop.command.poses[:, 0].min() >= rig.here[0] - 0.002


def test_the_gripper_is_decided_once_and_only_by_what_was_sent():
    backend = FakeBackend()
    rig = RealTime(backend, 50)
    rig.run(0.5)
    motion, gripper = rig.runner.motion, rig.runner.motion._gripper
    before = gripper._open
    tick = rig.log.ticks[-1]
    closing = tick.chunk.actions.copy()
    closing[:, 3] = -1.0
    chunk = type(tick.chunk)(closing, rig.now, tick.chunk.control_dt)
    proposal, _ = motion.propose(chunk, tick.observation, rig.now, None)
    assert set(proposal.command.gripper.tolist()) <= {0.0, 1.0}
    assert gripper._open == before  # it was not sent
    motion.commit(proposal)
    assert gripper._open is False


def test_a_joint_policy_is_joined_and_limited_like_a_hand():
    spec = make_spec(action_kind='joint_position', action_names=('a', 'b'), gripper_index=None,
                     state_names=('a', 'b'))
    from fakes import make_parameters

    from vla_pruner_ros.core.types import ActionChunk, Observation
    from vla_pruner_ros.runtime.measured_state import Measured
    from vla_pruner_ros.runtime.motion.chunks_to_timed_targets import MotionQueue
    queue = MotionQueue(spec, make_parameters(max_velocity=[1.0], max_acceleration=[5.0]))
    rows = np.column_stack([np.linspace(0.1, 0.8, 8), np.zeros(8)])
    observation = Observation({}, np.zeros(2), 'reach', 0)
    proposal, reason = queue.propose(ActionChunk(rows, 0, 0.05), observation, 100_000_000,
                                     Measured(np.zeros(2)))
    assert reason == '' and proposal.command.names == ('a', 'b')
    seconds = proposal.command.times_ns / 1e9
    speed = np.diff(np.concatenate([[0], proposal.command.positions[:, 0]])) / np.diff(
        np.concatenate([[0.1], seconds]))
    assert np.abs(speed).max() <= 1.0 + 1e-9
    assert proposal.command.positions[-1, 0] == pytest.approx(0.8, abs=1e-3)
