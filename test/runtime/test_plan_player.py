# SPDX-License-Identifier: Apache-2.0
"""The plan by time: continuous whatever the clock does, and always ended."""
from fakes import FakeBackend, make_parameters, make_spec
import numpy as np
import pytest
from real_time_rig import RealTime

from vla_pruner_ros.runtime.measured_state import Measured
from vla_pruner_ros.runtime.motion.chunks_to_timed_targets import MotionQueue
from vla_pruner_ros.runtime.motion.proposal import Proposal
from vla_pruner_ros.runtime.motion.timed_path import TimedPath
from vla_pruner_ros.runtime.motion.velocity_stream import CLOSING_NS
from vla_pruner_ros.runtime.plan_player import PlanPlayer

MS = 10**6
STEP = 4 * MS
T0 = 10**12
SPEC = make_spec(action_kind='joint_position', action_names=('a',), gripper_index=None,
                 state_names=('a',))


class Stream:
    """A player, a plan and two clocks; every call is one cycle of 4 ms."""

    def __init__(self, **parameters):
        self.motion = MotionQueue(SPEC, make_parameters(**parameters))
        self.measured = None
        self.player = PlanPlayer(self.motion, STEP, lambda now: self.measured)
        self.now, self.steady = T0, 77

    def plan(self, *points, gap=100 * MS):
        """A motion through these points, one every ``gap``, from now on."""
        times = self.now + gap * np.arange(len(points))
        path = TimedPath.through(self.motion.space, times, np.array(points, float)[:, None],
                                 np.zeros(1))
        self.motion.commit(Proposal(None, path, path.end_ns, {}, None, None, self.now))
        self.player.follow()

    def run(self, cycles, missed=0, clock=STEP):
        """Samples of some cycles, the first one after ``missed`` others; the node's clock moves
        by ``clock`` in each."""
        out = []
        for _ in range(cycles):
            self.now += clock * (missed + 1)
            self.steady += STEP * (missed + 1)
            missed = 0
            sample = self.player.sample(self.now, self.steady)
            out.append(sample)
        return out


def points(samples):
    return np.array([one.point[0] for one in samples if one is not None])


def test_a_plan_is_played_to_its_end_and_a_moment_longer():
    stream = Stream()
    assert stream.run(3) == [None] * 3
    stream.plan(0.0, 0.05, 0.1)
    said = stream.run(125)
    places = points(said)
    assert places[-1] == pytest.approx(0.1) and np.abs(np.diff(places)).max() < 0.004
    spoken = [one is not None for one in said]
    assert spoken.index(False) == -(-(200 * MS + CLOSING_NS) // STEP) - 1
    assert not any(spoken[spoken.index(False):])
    assert said[60].velocity[0] == 0.0


def test_velocities_lead_exactly_along_the_plan():
    stream = Stream()
    stream.plan(0.0, 0.05, 0.1)
    said = stream.run(70)
    moved = sum(one.velocity[0] for one in said) * STEP / 1e9
    assert said[0].point[0] + moved == pytest.approx(0.1, abs=1e-12)


def test_a_stop_brakes_from_what_was_said_and_stays():
    stream = Stream(max_acceleration=[4.0])
    stream.plan(0.0, 0.05, 0.1, 0.15, 0.2)
    places = points(stream.run(50))
    stream.player.stop()
    assert stream.player.stopping and not stream.player.rested
    places = np.concatenate([places, points(stream.run(50))])
    speeds = np.diff(places) / 0.004
    assert np.abs(np.diff(speeds[48:])).max() <= 4.0 * 0.004 + 1e-9
    assert places[-1] == pytest.approx(places[49] + 0.5**2 / 8, abs=0.004)
    assert stream.player.rested and stream.run(100)[-1] is None and not stream.player.stopping


@pytest.mark.parametrize('jump', [-3600 * 1000 * MS, -30 * MS, 3600 * 1000 * MS])
def test_a_clock_that_is_set_does_not_move_the_robot(jump):
    stream = Stream()
    stream.plan(0.0, 0.05, 0.1, 0.15)
    before = stream.run(30)
    stream.now += jump
    places = points(before + stream.run(200))
    assert np.abs(np.diff(places)).max() <= 0.7 * 0.004
    assert places[-1] == pytest.approx(0.15)


def test_a_stop_ends_also_while_the_clock_stands_still():
    stream = Stream()
    stream.plan(0.0, 0.05, 0.1, 0.15)
    stream.run(30)
    assert len(set(points(stream.run(5, clock=0)))) == 1
    stream.player.stop()
    said = stream.run(60, clock=0)
    assert [one.velocity[0] for one in said if one is not None][-1] == 0.0


def test_a_plan_that_is_forgotten_under_way_is_braked():
    stream = Stream()
    stream.plan(0.0, 0.1, 0.2)
    moving = stream.run(20)
    stream.motion.clear()
    places = points(moving + stream.run(60))
    assert np.abs(np.diff(places)).max() < 0.007 and places[-1] < 0.19
    assert stream.run(60)[-1] is None


def test_cycles_that_were_missed_are_made_good_at_the_velocity_limit():
    stream = Stream(max_velocity=[0.5])
    stream.plan(0.0, 0.04, 0.08, 0.12, 0.16)
    places = points(stream.run(30) + stream.run(90, missed=12))
    assert np.diff(places).max() == pytest.approx(0.5 * 0.004)
    assert places[-1] == pytest.approx(0.16)


def test_a_new_plan_takes_over_where_the_old_one_is():
    stream = Stream()
    stream.plan(0.0, 0.05, 0.1)
    first = stream.run(25)
    here, speed = stream.motion.path.at(stream.now)
    path = TimedPath.through(stream.motion.space, stream.now + 100 * MS * np.arange(3),
                             np.array([here, here + 0.05, here + 0.06]), speed)
    stream.motion.commit(Proposal(None, path, path.end_ns, {}, None, None, stream.now))
    speeds = np.diff(points(first + stream.run(40))) / 0.004
    assert np.abs(np.diff(speeds[20:32])).max() < 0.04


def test_velocities_do_not_leave_the_box_that_the_robot_is_in():
    stream = Stream(position_low=[0.0], position_high=[0.1])
    stream.measured = Measured(np.array([0.1]))
    stream.plan(0.0, 0.05, 0.1)
    assert all(one.velocity[0] <= 0.0 for one in stream.run(40))


def test_where_nothing_is_known_zeros_are_said_for_a_moment():
    stream = Stream()
    stream.run(1)
    stream.player.stop()
    said = stream.run(60)
    spoken = [one for one in said if one is not None]
    assert len(spoken) == CLOSING_NS // STEP and said[-1] is None
    assert all(one.point is None and not one.velocity.any() for one in spoken)
    stream.player.stop()
    stream.player.silence()
    assert stream.run(1) == [None]


class Tracking(RealTime):
    """The robot is, in every cycle, where a stream of 250 Hz tells it to be."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.player = PlanPlayer(self.runner.motion, STEP, self.runner.measured)

    def _receive(self, tick):
        self.player.follow()

    def _move(self):
        sample = self.player.sample(self.now, self.now)
        if sample is not None:
            self.here = sample.point
        self.log.x.append(float(self.here[0]))


class Wavering(FakeBackend):
    """Asks for more than is allowed, now more, now less."""

    def predict_action_chunk(self, observation, selector):
        self.value = 0.02 + 0.04 * (-1) ** len(self.calls)
        return super().predict_action_chunk(observation, selector)


@pytest.mark.parametrize('join', ['replace', 'linear', 'ensemble'])
@pytest.mark.parametrize('delay', [0, 400])
def test_what_a_stream_says_keeps_the_limits_at_any_delay(join, delay):
    rig = Tracking(Wavering(), lambda run: delay + 40 * (run % 3), chunk_join=join,
                   max_velocity=[0.5], max_acceleration=[3.0], position_low=[-1.0, -1.0, -1.0],
                   position_high=[0.6, 1.0, 1.0])
    rig.run(3.0)
    speed = rig.log.speed
    assert np.abs(speed).max() <= 0.5 + 1e-6
    assert np.abs(np.diff(speed)).max() <= 3.0 * STEP / 1e9 * 1.001 + 1e-6
    assert 0.2 < max(rig.log.x) <= 0.6 + 1e-6


def test_the_first_sample_is_within_reach_of_where_the_plan_begins():
    stream = Stream(max_velocity=[0.5])
    stream.plan(0.0, 0.05, 0.1)
    places = points(stream.run(70, missed=20))  # the thread comes late
    assert places[0] <= 0.5 * 0.004 + 1e-12 and places[-1] == pytest.approx(0.1)
