# SPDX-License-Identifier: Apache-2.0
"""The node ``sim_robot``: a simulated robot arm that knows nothing of the policy but its topics.

Lock step: publish an observation, wait for the chunk that answers exactly its stamp, execute it,
publish the next one.  Stamps advance by simulated time, so the same seed and policy give the same
episode.  Real time: a modelled controller follows what is sent, 250 times a second, and the robot
follows the controller (``real_time_drive``); every 1 / rate seconds publish, stamped with the
node's clock.

A new episode begins with its instruction; then the policy is asked to forget, and the first image
follows its answer: whoever has answered has also read the instruction.

All callbacks run on one thread, which also owns the OpenGL context.
"""
from collections.abc import Callable
import json
import sys
from typing import Any

from geometry_msgs.msg import TwistStamped
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from vla_pruner_ros.core.errors import ConfigError, InputError, VlaPrunerError
from vla_pruner_ros.robots import chunk_execution_in_simulation as chunks
from vla_pruner_ros.robots.controlled_robot import CYCLE_NS
from vla_pruner_ros.robots.episode_world import World
from vla_pruner_ros.robots.node import robot_parameters as sim_parameters
from vla_pruner_ros.robots.node.real_time_drive import RealTimeDrive
from vla_pruner_ros.robots.node.robot_messages import LATCHED, SensorPublishers
from vla_pruner_ros.robots.tasks import CONTROL_DT, get_task
from vla_pruner_ros.ros.ros_process import ros_process

STEP_NS = round(CONTROL_DT * chunks.SECOND)
FORGET_PATIENCE = 2.0  # seconds until a policy that does not answer is no longer waited for
RESENDS = 6  # unanswered copies of an observation until it is published as a new one


class SimNode(Node):
    """Simulated robot on its topics.

    Args:
        world: (image_size, viewer) -> World.
        options: of ``rclpy.node.Node``.

    Raises:
        ConfigError: unknown task, or a viewer without a screen.
        MissingDependencyError: the simulator or OpenGL is missing.
    """

    def __init__(self, world: Callable[[int, bool], World] = World, **options: Any):
        super().__init__('sim_robot', **options)
        sim_parameters.declare(self)
        get_task(self._value('task'))
        self._next_seed: int = self._value('seed')
        self.add_on_set_parameters_callback(self._on_parameters)
        self._lock_step: bool = self._value('lock_step')
        self.world = world(self._value('image_size'), self._value('viewer'))
        self._drive = RealTimeDrive(self.world, self._value('controller'))
        self._answers: dict[str, chunks.Track] = {}
        self._observation: Any = None  # the published one, kept for resending
        self._stamp_ns = 0
        self._silent_s = 0.0
        self._resends = 0
        self._begin_ns = 0  # stamp of the first observation of the episode
        self._forgetting: Any = None  # the policy's answer to the last reset, while it is awaited
        self._waited_s = 0.0
        # Before any episode: readers of images need time to find their topics.
        self.world.prepare(self._value('task'), self._next_seed)
        self._sensors = SensorPublishers(self, self.world.cameras)
        self._episode = self.create_publisher(String, '~/episode', LATCHED)
        self._has_gripper = bool(self._value('gripper_topic'))
        self._listen_to_policy()
        self.create_service(Trigger, '~/reset', self._on_reset)
        service = self._value('policy_reset_service')
        self._policy_reset = self.create_client(Trigger, service) if service else None
        self._period = 1.0 / self._value('rate')
        self._next_picture_ns = 0
        self.create_timer(self._period if self._lock_step else CYCLE_NS / chunks.SECOND,
                          self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if self._value('autostart'):
            self._start()
        else:
            self._publish_episode()

    def close(self) -> None:
        """Free the simulator and the node."""
        self.world.close()
        self.destroy_node()

    # ---- episodes

    def _start(self) -> None:
        """Begin an episode with the next seed; its first image follows once the policy knows."""
        self.world.start(self._value('task'), self._next_seed)
        self._next_seed = (self._next_seed + 1) % 2**31
        self._drive.stop()
        self._answers.clear()
        self._observation = None
        status = self.world.status()
        self._sensors.show(self.world.cameras)
        self._sensors.instruct(status['instruction'])
        self._ask_to_forget()
        self._publish_episode()
        self.get_logger().info(f'episode {status["episode"]}: {status["task"]}, seed '
                               f'{status["seed"]}, "{status["instruction"]}"')

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self._start()
            response.success, response.message = True, json.dumps(self.world.status())
        except VlaPrunerError as error:
            response.success, response.message = False, str(error)
        return response

    def _ended(self) -> None:
        """Say how the episode ended; begin the next one if that is wanted."""
        self._publish_episode()
        status = self.world.status()
        self.get_logger().info(f'episode {status["episode"]} '
                               f'{"solved" if status["success"] else "not solved"} after '
                               f'{status["steps"]} steps')
        if self._value('auto_reset'):
            self._start()

    def _ask_to_forget(self) -> None:
        """Call the policy's reset, if there is one.

        After the instruction: an executor reads topics before it answers services.
        """
        self._forgetting, self._waited_s = None, 0.0
        if self._policy_reset is not None and self._policy_reset.service_is_ready():
            self._forgetting = self._policy_reset.call_async(Trigger.Request())

    def _forgotten(self) -> bool:
        """Whether the first image may follow."""
        if self._forgetting is None or self._forgetting.done():
            return True
        self._waited_s += self._period
        if self._waited_s < FORGET_PATIENCE:
            return False
        self.get_logger().warning(f"no answer to the policy's reset after {FORGET_PATIENCE:g} s "
                                  '(is it loading?); the episode begins without')
        self._policy_reset.remove_pending_request(self._forgetting)
        self._forgetting = None
        return True

    # ---- time

    def _tick(self) -> None:
        if not self.world.started or (self.world.done and self._lock_step):
            return
        if not self._forgotten():
            return
        if self._sensors.new_listener():
            self._sensors.instruct(self.world.status()['instruction'])
        if self._lock_step:
            self._lock_step_tick()
        else:
            self._real_time_tick()

    def _real_time_tick(self) -> None:
        """Make the control cycles that are due; publish when it is time for a picture."""
        now = int(self.get_clock().now().nanoseconds)
        running = not self.world.done
        if self._observation is None:
            self._drive.begin(now)
            self._next_picture_ns = now
        self._drive.catch_up(now)
        period = round(self._period * chunks.SECOND)
        if now >= self._next_picture_ns or now < self._next_picture_ns - 2 * period:
            late = now - self._next_picture_ns
            self._next_picture_ns = now + (period - late if 0 <= late < period else period)
            self._observe(now)
        if running and self.world.done:
            self._ended()

    def _lock_step_tick(self) -> None:
        if self._observation is None:
            now = int(self.get_clock().now().nanoseconds)
            self._observe(max(now, self._stamp_ns + STEP_NS))
            return
        self._silent_s += self._period
        if self._silent_s < self._value('resend_period'):
            return
        # Something got lost, or nobody listens yet.  A copy with the same stamp is harmless for a
        # policy that has seen it; later a new stamp wakes one that gave no answer at all.
        self._silent_s = 0.0
        self._resends += 1
        if self._resends % RESENDS == 0:
            self.get_logger().warning(
                'nobody answers the observation: is the policy active, and its lock_step true?')
            self._stamp_ns = max(self._stamp_ns + 1, int(self.get_clock().now().nanoseconds))
        self._sensors.publish(*self._observation, self._stamp_ns)

    def _observe(self, stamp: int) -> None:
        if self._observation is None:
            self._begin_ns = stamp
        self._observation = self.world.observe()
        self._stamp_ns = stamp
        self._silent_s, self._resends = 0.0, 0
        self._sensors.publish(*self._observation, stamp)

    # ---- chunks

    def _listen_to_policy(self) -> None:
        """Subscribe to what drives the robot in this mode."""
        if self._lock_step:
            self._listen(MultiDOFJointTrajectory, 'trajectory_topic', chunks.read_poses, 'poses')
            if self._has_gripper:
                self._listen(JointTrajectory, 'gripper_topic', chunks.read_gripper, 'gripper')
            return
        servo = self._value('controller') == 'servo'
        self.create_subscription(TwistStamped if servo else MultiDOFJointTrajectory,
                                 self._value('twist_topic' if servo else 'trajectory_topic'),
                                 self._on_motion, 10)
        if self._has_gripper:
            self.create_subscription(JointTrajectory, self._value('gripper_topic'),
                                     self._on_gripper, 10)

    def _on_motion(self, message: Any) -> None:
        """Real time: a trajectory or a twist."""
        try:
            running = not self.world.done
            now = int(self.get_clock().now().nanoseconds)
            self.world.accepted += self._drive.receive(message, now)
            if running and self.world.done:
                self._ended()
        except InputError as error:
            self._refuse(error)

    def _on_gripper(self, message: Any) -> None:
        """Real time: openings."""
        try:
            self._drive.receive_gripper(message)
        except InputError as error:
            self._refuse(error)

    def _listen(self, kind: Any, topic: str, read: Callable[[Any], chunks.Track],
                name: str) -> None:
        def on_message(message: Any) -> None:
            try:
                self._take(name, read(message))
            except InputError as error:
                self._refuse(error)

        self.create_subscription(kind, self._value(topic), on_message, 1)

    def _refuse(self, error: InputError) -> None:
        self.world.refused[error.reason] += 1
        self.get_logger().warning(f'chunk refused: {error}', throttle_duration_sec=5.0)
        self._publish_episode()

    def _take(self, name: str, track: chunks.Track) -> None:
        if self.world.done or self._observation is None:
            return
        if track.stamp_ns != self._stamp_ns:
            raise InputError('other_stamp', f'it answers an observation '
                             f'{(track.stamp_ns - self._stamp_ns) / 1e9:+.3f} s from the last one')
        self._answers[name] = track
        if 'poses' in self._answers and ('gripper' in self._answers or not self._has_gripper):
            answers, self._answers = self._answers, {}
            self._execute(chunks.actions(answers['poses'], answers.get('gripper'),
                                         self._value('execution_horizon')))

    def _execute(self, actions: Any) -> None:
        """Lock step: run the first actions of a chunk and publish what came of them."""
        self.world.accepted += 1
        steps = 0
        for row in actions:
            self.world.execute(row[:3], row[3])
            steps += 1
            if self.world.done:
                self._ended()
                return
        self._publish_episode()
        self._observe(self._stamp_ns + steps * STEP_NS)

    # ---- parameters and status

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for one in parameters:
            if one.name == 'task':
                try:
                    get_task(one.value)
                except ConfigError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        for one in parameters:
            if one.name == 'seed':
                self._next_seed = one.value
        return SetParametersResult(successful=True)

    def _publish_episode(self) -> None:
        self._episode.publish(String(data=json.dumps(
            {**self.world.status(), 'lock_step': self._lock_step,
             'controller': self._value('controller'),
             'first_stamp_ns': self._begin_ns}, sort_keys=True)))


def main(args: list[str] | None = None) -> int:
    """Run the simulated robot until SIGINT, SIGTERM or SIGHUP.

    Returns:
        0, or 2 when it cannot start.

    Raises:
        ConfigError: ROS refuses its arguments or cannot start.
    """
    node: SimNode | None = None
    with ros_process(args) as stop:
        try:
            node = SimNode()
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            while not stop.is_set():
                executor.spin_once(timeout_sec=0.1)
            executor.shutdown()
            return 0
        except (VlaPrunerError, ParameterException) as error:
            rclpy.logging.get_logger('sim_robot').fatal(str(error))
            return 2
        finally:
            if node is not None:
                node.close()


if __name__ == '__main__':
    sys.exit(main())
