# SPDX-License-Identifier: Apache-2.0
"""The managed node: transitions, failures, what is published when."""
from lifecycle_msgs.srv import ChangeState, GetState
import pytest
import ros_helpers
from ros_helpers import FakeBackend, is_hold, place

from vla_pruner_ros.core.errors import BackendError

make_rig = ros_helpers.make_rig

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4


def change(rig, transition):
    request = ChangeState.Request()
    request.transition.id = transition
    return rig.call(ChangeState, 'change_state', request).success


def state(rig):
    return rig.call(GetState, 'get_state', GetState.Request()).current_state.label


def command_topics(rig):
    return {one.topic_name for one in rig.node.publishers if 'ee_trajectory' in one.topic_name}


def test_walks_through_all_states_over_services_and_back(make_rig):
    rig = make_rig(start=False)
    assert state(rig) == 'unconfigured' and not command_topics(rig)
    for transition, after in ((CONFIGURE, 'inactive'), (ACTIVATE, 'active'),
                              (DEACTIVATE, 'inactive'), (CLEANUP, 'unconfigured'),
                              (CONFIGURE, 'inactive'), (ACTIVATE, 'active')):
        assert change(rig, transition)
        assert state(rig) == after
        rig.until(lambda after=after: rig.status().get('state') == after)
    rig.connect()
    assert rig.flow().points


def test_failed_configuration_leaves_nothing_behind_and_can_be_repeated(make_rig):
    def load(parameters):
        if parameters.checkpoint == '/missing':
            raise BackendError('checkpoint /missing lacks tensor layers.0.q_proj.weight')
        return FakeBackend()

    rig = make_rig(load=load, start=False, checkpoint='/missing')
    assert not change(rig, CONFIGURE)
    assert state(rig) == 'unconfigured'
    assert not command_topics(rig)
    rig.until(lambda: 'lacks tensor' in rig.diagnostics().get('message', ''))
    assert rig.diagnostics()['level'] == '2'
    assert rig.set(checkpoint='/good').successful  # not read-only while unconfigured
    assert change(rig, CONFIGURE) and change(rig, ACTIVATE)
    rig.connect()
    assert rig.flow().points
    assert rig.status()['failure'] == ''


@pytest.mark.parametrize('error', [ValueError('no such device'), MemoryError('full')])
def test_unexpected_error_while_loading_is_a_failure_not_a_crash(make_rig, error):
    def load(parameters):
        raise error

    rig = make_rig(load=load, start=False)
    assert not change(rig, CONFIGURE)
    assert state(rig) == 'unconfigured'
    rig.until(lambda: str(error) in rig.diagnostics().get('message', ''))


def test_wrong_camera_role_fails_configuration_and_names_the_right_one(make_rig):
    rig = make_rig(start=False, camera_topics=['front=camera/image_raw'])
    assert not change(rig, CONFIGURE)
    rig.until(lambda: "'corner'" in rig.diagnostics().get('message', ''))
    assert not command_topics(rig)


def test_policy_that_cannot_run_fails_configuration(make_rig):
    backend = FakeBackend()
    backend.fail = RuntimeError('CUDA out of memory')
    rig = make_rig(backend, start=False)
    assert not change(rig, CONFIGURE)
    rig.until(lambda: 'out of memory' in rig.diagnostics().get('message', ''))
    assert change(rig, CONFIGURE)  # the fake fails once


def test_deactivation_holds_the_pose_and_then_nothing_more_comes(make_rig):
    rig = make_rig()
    rig.flow()
    rig.until(lambda: rig.got['twist'])
    assert change(rig, DEACTIVATE)
    rig.until(lambda: is_hold(rig.got['ee_trajectory'][-1]))
    assert place(rig.got['ee_trajectory'][-1]) == pytest.approx((0.1, 0.2, 0.3), abs=0.03)
    rig.until(lambda: rig.got['twist'] and rig.got['twist'][-1].twist.linear.x == 0.0)

    before, calls = rig.commands(), len(rig.backend.calls)
    session = rig.node.session
    rig.until(lambda: session.runner.measured(session.now()) is not None, rig.robot.send)
    assert len(rig.backend.calls) == calls  # inactive: inputs arrive, no model runs
    assert change(rig, ACTIVATE)
    rig.flow()
    # The topic keeps order: had anything been sent in between, it would have come before.
    assert len(rig.got['ee_trajectory'][before].points) > 2


def test_activation_clears_the_policys_memory(make_rig):
    rig = make_rig()
    rig.flow()
    assert change(rig, DEACTIVATE) and change(rig, ACTIVATE)
    rig.flow()
    rig.until(lambda: rig.status().get('resets', {}).get('activation') == 2)


def test_cleanup_closes_the_backend(make_rig):
    class Closing(FakeBackend):
        closed = 0

        def close(self):
            self.closed += 1

    backend = Closing()
    rig = make_rig(backend)
    rig.flow()
    assert change(rig, DEACTIVATE) and change(rig, CLEANUP)
    assert backend.closed == 1
    assert not command_topics(rig)
