# SPDX-License-Identifier: Apache-2.0
"""joint_trajectory_controller of ros2_controllers, as its topic ``~/joint_trajectory`` is served.

Modelled after JointTrajectoryController::update and topic_callback of the branches named in
``jtc_options``.  What a version does and another does not:
* Humble commands what is due NOW; Jazzy and later what is due one period later.
* Humble ``open_loop_control`` starts from the last command at the time of arrival; Jazzy and
  later (``interpolate_from_desired_state``) start from it at the time of the last cycle.
* ``6.9`` keeps the old trajectory until the new stamp, ``rolling`` blends (``plan_splicing``).
Left out: actions, goal tolerances, velocity and effort interfaces with their PID.
A hand (MultiDOFJointTrajectory) is our extension: the real controller moves joints only.
"""
from typing import Any

import numpy as np

from vla_pruner_ros.core.errors import InputError
from vla_pruner_ros.robots.chunk_execution_in_simulation import SECOND
from vla_pruner_ros.robots.controllers.controller_interface import Controller, Receipt, Setpoint
from vla_pruner_ros.robots.controllers.jtc_options import check_plan, JtcOptions, KEPT
from vla_pruner_ros.robots.controllers.plan_sampling import PlanSampler, Sample
from vla_pruner_ros.robots.controllers.plan_splicing import blend, fill_partial, in_order
from vla_pruner_ros.robots.controllers.spline_upsampling import upsample
from vla_pruner_ros.robots.controllers.timed_plan import Plan, read_joints, read_poses, Waypoint
from vla_pruner_ros.robots.controllers.value_spaces import PoseSpace, Space


class JointTrajectoryController(Controller):
    """Follows the newest trajectory.

    Args:
        space: joints, or the pose of a hand.
        names: joint names of the controller, or the one name that a hand's message has.
        options: parameters of the controller.
        period_ns: nominal length of a control cycle.

    Attributes:
        options: as given.
        holds: how often it went over to holding the measured position: ``timeout``, ``tolerance``.
    """

    def __init__(self, space: Space, names: tuple[str, ...], options: JtcOptions, period_ns: int):
        super().__init__()
        self.options = options
        self.holds = {'timeout': 0, 'tolerance': 0}
        self._space, self._names, self._period = space, names, period_ns
        self._read = read_poses if isinstance(space, PoseSpace) else read_joints
        self._measured: Waypoint | None = None
        self._incoming: Plan | None = None   # arrived, used in the next cycle
        self._deferred: Plan | None = None   # waits for its stamp (6.9)
        self._sampler: PlanSampler | None = None
        self._holding = True
        self._commanded: Waypoint | None = None
        self._commanded_ns: int | None = None
        self._setpoint: Setpoint | None = None
        self._arrived_ns = 0                 # of the newest accepted message
        self._played = self._cycle_ns = 0    # time in the trajectory; time of the last cycle

    def receive(self, message: Any, now_ns: int) -> Receipt:
        """Check a trajectory; the next cycle uses it, whatever else arrived before that."""
        try:
            plan = self._read(message)
            if self.options.positions_upsampling:
                upsample(plan, self._space, self.options.policy_frequency,
                         self._first_velocity(plan))
            check_plan(plan, self._names, self.options, now_ns)
        except InputError as error:
            return self._refuse(error)
        self._incoming, self._holding, self._arrived_ns = plan, False, now_ns
        return Receipt()

    def feedback(self, position: np.ndarray, now_ns: int,
                 velocity: np.ndarray | None = None) -> None:
        """Take the measured state; the first one activates the controller, which holds it."""
        self._measured = Waypoint(0, np.array(position, np.float64),
                                  None if velocity is None else np.array(velocity, np.float64))
        if self._sampler is None:
            self._commanded = self._measured
            self._install(self._hold())

    def command(self, now_ns: int) -> Setpoint:
        """What the position interfaces of the joints are set to in this cycle."""
        if self._measured is None or self._commanded is None or self._sampler is None:
            raise InputError('no_feedback', 'the controller was asked for a command before the '
                                            'robot told where it is')
        self._take_new(now_ns)
        sampler = self._sampler
        first = not sampler.sampled
        if first:
            self._begin(sampler, now_ns)
            self._played = now_ns
        else:
            self._played += int((now_ns - self._cycle_ns) * self.options.speed_scaling)
        self._cycle_ns = now_ns
        wanted = sampled = sampler.sample(self._played)
        if self.options.looks_ahead:
            sampled = sampler.sample(self._played + self._period, advance=False)
        if sampled is not None and self._may_move(wanted, sampled, first):
            state = sampled.state
            zeros = np.zeros(self._space.tangent_size)
            self._setpoint = Setpoint(state.position,
                                      zeros if state.velocity is None else state.velocity)
            # Sampling always gives all derivatives, so the next plan starts with them.
            self._commanded = Waypoint(0, state.position, self._setpoint.velocity, zeros
                                       if state.acceleration is None else state.acceleration)
            self._commanded_ns = now_ns
        if self._setpoint is None:  # nothing was ever written: the robot stays
            return Setpoint(self._measured.position, np.zeros(self._space.tangent_size))
        return self._setpoint

    @property
    def covered_until_ns(self) -> int | None:
        """Time of the last waypoint of the newest accepted trajectory, None while holding."""
        if self._holding or self._sampler is None:
            return None
        for plan in (self._incoming, self._deferred):
            if plan is not None:
                return (plan.start_ns or self._arrived_ns) + plan.end_ns
        return self._sampler.start_ns + self._sampler.plan.end_ns

    def _take_new(self, now_ns: int) -> None:
        new, self._incoming = self._incoming, None
        kept = KEPT.get(self.options.version)
        if new is not None and kept == 'until the stamp' and new.start_ns > now_ns \
                and not self._holding:
            self._deferred, new = new, None
        elif new is not None and not self._holding:
            self._deferred = None
        if self._deferred is not None and now_ns >= self._deferred.start_ns:
            new, self._deferred = self._deferred, None
        if new is None:
            return
        old = self._sampler
        if kept == 'blended' and not self._holding and len(old.plan.points) > 1 and old.sampled:
            blended = blend(old, new, self._names, self._played, now_ns,
                            self.options.speed_scaling)
            if blended is not None:
                self._install(blended)
                return
        self._install(in_order(fill_partial(new, self._names, self._commanded.position),
                               self._names))

    def _install(self, plan: Plan) -> None:
        self._sampler = PlanSampler(plan, self._space,
                                    self.options.interpolation_method == 'splines',
                                    recover_end=self.options.version != 'humble',
                                    end_stays=self.options.version != 'rolling')

    def _begin(self, sampler: PlanSampler, now_ns: int) -> None:
        if not self.options.from_command:
            sampler.begin_at(now_ns, self._measured)
        elif self.options.looks_ahead and self._commanded_ns is not None:
            # The command of the last cycle was meant for now, yet counts from the last cycle on.
            sampler.begin_at(self._commanded_ns, self._commanded)
        else:
            sampler.begin_at(now_ns, self._commanded)

    def _may_move(self, wanted: Sample | None, sampled: Sample, first: bool) -> bool:
        """Watch over timeout and tolerance; either holds from the next cycle on."""
        past_end = (self._played - sampled.reached_ns) / SECOND
        if sampled.ended and not self._holding and 0 < self.options.cmd_timeout < past_end:
            self._fall_back('timeout')
        tolerance = self.options.path_tolerance
        if not tolerance or wanted is None or self._holding or (sampled.ended and not first):
            return True
        error = self._space.difference(self._measured.position, wanted.state.position)
        if (np.abs(error) > tolerance).any():
            self._fall_back('tolerance')
            return False
        return True

    def _fall_back(self, why: str) -> None:
        self.holds[why] += 1
        self._incoming, self._holding = self._hold(), True

    def _hold(self) -> Plan:
        return Plan(self._names, 0, [Waypoint(0, self._measured.position)],
                    isinstance(self._space, PoseSpace))

    def _first_velocity(self, plan: Plan) -> np.ndarray | None:
        """Velocity of the last command in the order of a message, where it counts."""
        if self.options.positions_upsampling != 'continuous' or self._setpoint is None:
            return None
        if plan.hand:
            return self._setpoint.velocity
        if set(plan.names) - set(self._names):
            return None  # refused soon
        return self._setpoint.velocity[[self._names.index(one) for one in plan.names]]
