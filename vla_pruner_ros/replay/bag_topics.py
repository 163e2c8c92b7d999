# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag feed which input of a policy: what subscriptions are for a node."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.core.parameter_declarations import Parameters
from vla_pruner_ros.core.types import PolicySpec
from vla_pruner_ros.replay.bag_reader import Bag
from vla_pruner_ros.runtime.input_mapping import parse_camera_topics, state_sources
from vla_pruner_ros.runtime.observation_cache import ObservationCache

IMAGES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


@dataclass(frozen=True)
class Wiring:
    """Topics of a bag by what they feed.

    Attributes:
        cameras: topic -> role.
        joints: joint state topic, or ``''``.
        pose: pose topic, or ``''``.
        instruction: instruction topic, or ``''``.
    """

    cameras: dict[str, str]
    joints: str = ''
    pose: str = ''
    instruction: str = ''

    @property
    def topics(self) -> tuple[str, ...]:
        """Everything to read."""
        others = (self.joints, self.pose, self.instruction)
        return (*self.cameras, *(one for one in others if one))

    def put(self, cache: ObservationCache, topic: str, message: Any, now_ns: int) -> None:
        """Hand one message over as the node's callbacks would."""
        if topic in self.cameras:
            cache.put_image(self.cameras[topic], message, now_ns)
        elif topic == self.joints:
            cache.put_joint_state(message, now_ns)
        elif topic == self.pose:
            cache.put_pose(message, now_ns)
        else:
            cache.put_instruction(message.data)


def wire(bag: Bag, parameters: Parameters, spec: PolicySpec,
         instruction: str | None) -> Wiring:
    """Match the configured topics with those of the bag.

    Args:
        bag: the recording.
        parameters: topics and state sources.
        spec: what the policy needs.
        instruction: given by hand: then the topic is not read.

    Raises:
        ConfigError: a topic that is needed is missing or has the wrong type; the message lists
            the topics of the bag.
    """
    cameras: dict[str, str] = {}
    for camera in parse_camera_topics(parameters.camera_topics, spec):
        _need(bag, camera.topic, IMAGES, f'camera {camera.role!r} (parameter camera_topics)')
        if camera.topic in cameras:
            raise ConfigError(f'camera_topics uses {camera.topic} for two cameras')
        cameras[camera.topic] = camera.role
    kinds = {source.kind for source in state_sources(parameters, spec)}
    joints = pose = ''
    if 'joint' in kinds:
        joints = parameters.joint_state_topic
        _need(bag, joints, ('sensor_msgs/msg/JointState',),
              'state values from joints (parameters joint_state_topic, state_sources)')
    if 'pose' in kinds or (parameters.pose_topic and spec.action_kind == 'ee_delta'):
        pose = parameters.pose_topic
        _need(bag, pose, ('geometry_msgs/msg/PoseStamped',),
              "the end-effector pose (parameter pose_topic; '' = the bag has none)")
    topic = ''
    if not instruction and parameters.instruction_topic in bag.topics:
        topic = parameters.instruction_topic
        _need(bag, topic, ('std_msgs/msg/String',), 'the instruction')
    elif not instruction and not parameters.instruction:
        raise ConfigError(f'{bag.path} has no topic {parameters.instruction_topic!r} with an '
                          'instruction; give one with --instruction')
    return Wiring(cameras, joints, pose, topic)


def _need(bag: Bag, topic: str, types: Sequence[str], purpose: str) -> None:
    found = bag.topics.get(topic)
    if found is None:
        raise ConfigError(f'{bag.path} has no topic {topic!r} for {purpose}; it has: '
                          f'{bag.listing()}')
    if found.type_name not in types:
        raise ConfigError(f'topic {topic!r} for {purpose} is a {found.type_name}; accepted: '
                          f'{" or ".join(types)}')
    if not found.count:
        raise ConfigError(f'topic {topic!r} for {purpose} has no messages in {bag.path}')
