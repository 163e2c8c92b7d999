# SPDX-License-Identifier: Apache-2.0
"""Writes small bags for the replay tests, with the ``rosbags`` package only."""
import numpy as np
import pytest

SECOND = 10**9
T0 = 1000 * SECOND
PERIOD = 50_000_000

TYPES = {'/camera/image_raw': 'sensor_msgs/msg/Image',
         '/joint_states': 'sensor_msgs/msg/JointState',
         '/ee_pose': 'geometry_msgs/msg/PoseStamped', '/instruction': 'std_msgs/msg/String'}


class Scene:
    """A robot that stands still while the picture gets brighter: (topic, stamp, message)."""

    types = TYPES

    def __init__(self, frames=20, instruction='reach', without=(), slow=1):
        """``slow``: log times run so many times as fast as stamps, and start 5 s later."""
        typesys = pytest.importorskip('rosbags.typesys', reason='bags need the package rosbags')
        self.store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
        self.frames = frames
        self.instruction = instruction
        self.without = without
        self.slow = slow

    def make(self, kind, /, **fields):
        return self.store.types[kind](**fields)

    def header(self, stamp):
        time = self.make('builtin_interfaces/msg/Time', sec=stamp // SECOND,
                         nanosec=stamp % SECOND)
        return self.make('std_msgs/msg/Header', stamp=time, frame_id='')

    def image(self, stamp, number):
        data = (np.arange(8 * 8 * 3) % 50 + 5 * number).astype(np.uint8)
        return self.make('sensor_msgs/msg/Image', header=self.header(stamp), height=8, width=8,
                         encoding='rgb8', is_bigendian=0, step=24, data=data)

    def joints(self, stamp):
        return self.make('sensor_msgs/msg/JointState', header=self.header(stamp),
                         name=['gripper'], position=np.array([0.5]), velocity=np.array([]),
                         effort=np.array([]))

    def pose(self, stamp):
        point = self.make('geometry_msgs/msg/Point', x=0.1, y=0.2, z=0.3)
        turn = self.make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
        pose = self.make('geometry_msgs/msg/Pose', position=point, orientation=turn)
        return self.make('geometry_msgs/msg/PoseStamped', header=self.header(stamp), pose=pose)

    def messages(self):
        if self.instruction is not None:
            yield '/instruction', T0, self.make('std_msgs/msg/String', data=self.instruction)
        for number in range(self.frames):
            stamp = T0 + number * PERIOD
            yield '/joint_states', stamp, self.joints(stamp)
            yield '/ee_pose', stamp, self.pose(stamp)
            yield '/camera/image_raw', stamp, self.image(stamp, number)

    def serialized(self):
        for topic, stamp, message in self.messages():
            if topic not in self.without:
                data = self.store.serialize_cdr(message, self.types[topic])
                late = 0 if self.slow == 1 else 5 * SECOND
                log = T0 + (stamp - T0) * self.slow + late
                yield topic, self.types[topic], bytes(data), log

    def write(self, path, **writer_options):
        """Write a bag with ``rosbags``' own writer; ``compression`` = ``(mode, format)``."""
        from rosbags.rosbag2 import Writer
        compression = writer_options.pop('compression', None)
        writer = Writer(path, version=9, **writer_options)
        if compression:
            writer.set_compression(*compression)
        connections = {}
        with writer:
            for topic, kind, data, stamp in self.serialized():
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=self.store)
                writer.write(connections[topic], stamp, data)
        return path
