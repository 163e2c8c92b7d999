# SPDX-License-Identifier: Apache-2.0
"""The actions of control_msgs and a controller behind them, where the package cannot be installed.

Goals, handles and futures have the fields and methods that rclpy's have; answers are given when
the test asks for them (``Server.answer``), on its own thread, as an executor would.
"""
import sys
from types import ModuleType, SimpleNamespace

from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

SUCCEEDED, CANCELED, ABORTED = 4, 5, 6


class FollowJointTrajectory:
    class Goal:
        def __init__(self):
            self.trajectory = JointTrajectory()


class GripperCommand:
    class Goal:
        def __init__(self):
            self.command = SimpleNamespace(position=0.0, max_effort=0.0)


class ParallelGripperCommand:
    class Goal:
        def __init__(self):
            self.command = JointState()


class Future:
    def __init__(self):
        self._value, self._done, self._cancelled, self._callbacks = None, False, False, []

    def add_done_callback(self, callback):
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def result(self):
        return self._value

    def cancelled(self):
        return self._cancelled

    def cancel(self):
        self._cancelled = True
        self._end()

    def set_result(self, value):
        self._value = value
        self._end()

    def _end(self):
        if not self._done:
            self._done = True
            for callback in self._callbacks:
                callback(self)


class Handle:
    def __init__(self, server, accepted):
        self.accepted, self.ended = accepted, Future()
        self._server = server

    def get_result_async(self):
        return self.ended

    def cancel_goal_async(self):
        self._server.cancelled += 1

    def end(self, status, words=''):
        self.ended.set_result(SimpleNamespace(status=status,
                                              result=SimpleNamespace(error_string=words)))


class Server:
    """A controller: what it was asked for, and what it makes of it."""

    def __init__(self):
        self.up, self.silent, self.rejects = True, False, False
        self.goals, self.handles, self.cancelled, self._waiting = [], [], 0, []

    def ask(self, goal):
        future = Future()
        self.goals.append(goal)
        self._waiting.append(future)
        return future

    def answer(self):
        """Accept or reject what came; a new goal takes the place of the one before."""
        while self._waiting and not self.silent:
            handle = Handle(self, not self.rejects)
            if handle.accepted:
                if self.handles:
                    self.handles[-1].end(CANCELED)
                self.handles.append(handle)
            self._waiting.pop(0).set_result(handle)


class Servers(dict):
    """Servers by full name of their action; made when first asked for."""

    def __missing__(self, name):
        self[name] = Server()
        return self[name]


def install(monkeypatch):
    """Put the module and the client in place; returns the servers."""
    servers = Servers()

    class Client:
        def __init__(self, node, action, name):
            assert isinstance(action, type)
            self._action, self._server = action, servers[name]

        def server_is_ready(self):
            return self._server.up

        def send_goal_async(self, goal):
            assert isinstance(goal, self._action.Goal)
            return self._server.ask(goal)

        def destroy(self):
            pass

    package, actions = ModuleType('control_msgs'), ModuleType('control_msgs.action')
    for one in (FollowJointTrajectory, GripperCommand, ParallelGripperCommand):
        setattr(actions, one.__name__, one)
    package.action = actions
    monkeypatch.setitem(sys.modules, 'control_msgs', package)
    monkeypatch.setitem(sys.modules, 'control_msgs.action', actions)
    monkeypatch.setattr('vla_pruner_ros.ros.outputs.action_sender.OrderlyClient', Client)
    return servers
