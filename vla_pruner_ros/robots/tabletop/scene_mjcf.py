# SPDX-License-Identifier: Apache-2.0
"""The tabletop scene as MuJoCo XML, made of primitives only.

Three families of scenes share the table, the arm and the cameras: ``touch`` (up to four objects
that the simulation places and moves, and a wall), ``pick`` (three loose cubes) and ``place`` (one
loose cube and three bowls).  Colours, poses and which shape of a slot is visible are set at reset;
the text depends only on the family, so one renderer serves all episodes of a task.
"""

import numpy as np

from vla_pruner_ros.core.errors import ConfigError
from vla_pruner_ros.robots.tabletop import arm_kinematics as arm
from vla_pruner_ros.robots.tabletop.tabletop_objects import (
    BALL,
    BOWL,
    BOWL_WALL,
    CUBE,
    HALF_HEIGHT,
    HALF_WIDTH,
    POST,
    WALL_HALF_SIZE,
)

TIMESTEP = 0.0025  # seconds
SLOTS: dict[str, int] = {'touch': 4, 'pick': 3, 'place': 4}  # objects of each family
FRONT_POSITION = (1.0, 0.0, 0.65)  # metres
FRONT_PITCH = np.deg2rad(41.5)  # downwards
FRONT_FOVY = 33.5  # degrees
WRIST_FOVY = 85.0  # degrees
WRIST_OFFSET = (-0.06, 0.0, -0.04)  # metres from the wrist; not drawn

SERVO_RATE = 120.0  # rad/s of the arm joints' position servos, critically damped
ARMATURE = 0.1  # kg m^2; larger than the links' inertia, so all joints behave alike
FINGER_RATE = 60.0  # rad/s
FINGER_ARMATURE = 0.25  # kg
FINGER_FORCE = 10.0  # newtons

_SOLID = 'contype="2" conaffinity="3"'  # touches fingers and other solid things
_HAND = 'contype="1" conaffinity="2"'  # touches solid things, never itself
_FREE_CUBE = 'mass="0.05" friction="1.2 0.01 0.0005" condim="4"'


def scene_xml(family: str) -> str:
    """The scene's XML.

    Raises:
        ConfigError: the family is not one of ``SLOTS``.
    """
    if family not in SLOTS:
        raise ConfigError(f'scene family must be one of {", ".join(SLOTS)}, got {family!r}')
    objects = {'touch': _touch_objects, 'pick': _pick_objects, 'place': _place_objects}[family]()
    sine, cosine = np.sin(FRONT_PITCH), np.cos(FRONT_PITCH)
    front = ' '.join(str(value) for value in FRONT_POSITION)
    return f"""
<mujoco model="tabletop">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.35 0.35 0.35" specular="0 0 0"/>
    <quality shadowsize="0" offsamples="0" numslices="16" numstacks="10"/>
    <map znear="0.005" zfar="10"/>
    <global offwidth="2048" offheight="2048"/>
  </visual>
  <asset>
    <material name="matte" specular="0" shininess="0" reflectance="0"/>
  </asset>
  <default>
    <geom material="matte" contype="0" conaffinity="0"/>
  </default>
  <worldbody>
    <light directional="true" pos="0.5 0.3 1.5" dir="-0.2 -0.35 -1" diffuse="0.4 0.4 0.4"
      specular="0 0 0" castshadow="false"/>
    <camera name="front" pos="{front}" fovy="{FRONT_FOVY}"
      xyaxes="0 1 0 {-sine} 0 {cosine}"/>
    <geom name="floor" type="box" pos="0 0 -0.6" size="4 4 0.01" rgba="0.30 0.32 0.36 1"/>
    <geom name="table" type="box" pos="0.32 0 -0.02" size="0.46 0.42 0.02"
      rgba="0.62 0.58 0.52 1" {_SOLID}/>
{_arm()}
{objects}
  </worldbody>
{_actuators()}
</mujoco>
"""


def _arm() -> str:
    joint = f'armature="{ARMATURE}"'
    grey, dark = 'rgba="0.78 0.78 0.80 1"', 'rgba="0.16 0.16 0.18 1"'
    light = 'density="200"'
    fingers = ''.join(f"""
              <body name="{name}" pos="0 {side * 0.006} -0.1325" gravcomp="1">
                <joint name="{name}" type="slide" axis="0 {side} 0" armature="{FINGER_ARMATURE}"
                  range="0 {arm.FINGER_TRAVEL}"/>
                <geom type="box" size="0.007 0.006 0.0325" mass="0.03" {dark}
                  friction="2 0.02 0.001" condim="4" {_HAND}/>
              </body>""" for name, side in zip(arm.FINGERS, (1, -1)))
    wrist = ' '.join(str(value) for value in WRIST_OFFSET)
    return f"""    <geom type="cylinder" pos="0 0 0.1" size="0.05 0.1" {grey}/>
    <body name="base" pos="0 0 {arm.SHOULDER_HEIGHT}" gravcomp="1">
      <joint name="base_yaw" axis="0 0 1" {joint}/>
      <geom type="cylinder" size="0.035 0.05" {light} {grey}/>
      <body name="upper_arm" gravcomp="1">
        <joint name="shoulder_pitch" axis="0 1 0" {joint}/>
        <geom type="capsule" fromto="0 0 0 {arm.UPPER_ARM} 0 0" size="0.017" {light} {grey}/>
        <body name="forearm" pos="{arm.UPPER_ARM} 0 0" gravcomp="1">
          <joint name="elbow_pitch" axis="0 1 0" {joint}/>
          <geom type="capsule" fromto="0 0 0 {arm.FOREARM} 0 0" size="0.014" {light} {grey}/>
          <body name="wrist" pos="{arm.FOREARM} 0 0" gravcomp="1">
            <joint name="wrist_pitch" axis="0 1 0" {joint}/>
            <geom type="sphere" size="0.017" {light} {grey}/>
            <body name="hand" gravcomp="1">
              <joint name="wrist_yaw" axis="0 0 1" {joint}/>
              <camera name="wrist" pos="{wrist}" fovy="{WRIST_FOVY}" xyaxes="0 1 0 -1 0 0"/>
              <site name="tip" pos="0 0 {-arm.HAND_LENGTH}" rgba="0 0 0 0"/>
              <geom type="capsule" fromto="0 0 0 0 0 -0.085" size="0.009" {light} {grey}/>
              <geom type="box" pos="0 0 -0.093" size="0.010 0.055 0.007" {light} {dark}
                {_HAND}/>{fingers}
            </body>
          </body>
        </body>
      </body>
    </body>"""


def _actuators() -> str:
    stiffness, damping = ARMATURE * SERVO_RATE**2, 2 * ARMATURE * SERVO_RATE
    rows = [f'    <position name="{name}" joint="{name}" kp="{stiffness}" kv="{damping}"/>'
            for name in arm.JOINTS]
    stiffness, damping = FINGER_ARMATURE * FINGER_RATE**2, 2 * FINGER_ARMATURE * FINGER_RATE
    rows += [f'    <position name="{name}" joint="{name}" kp="{stiffness}" kv="{damping}" '
             f'forcerange="{-FINGER_FORCE} {FINGER_FORCE}"/>' for name in arm.FINGERS]
    return '  <actuator>\n' + '\n'.join(rows) + '\n  </actuator>'


def _box(shape: int) -> str:
    width = HALF_WIDTH[shape]
    return f'type="box" size="{width} {width} {HALF_HEIGHT[shape]}"'


def _touch_objects() -> str:
    rows = []
    for slot in range(SLOTS['touch']):
        rows.append(f'    <body name="item{slot}" mocap="true" pos="0 0 -1">')
        rows.append(f'      <geom name="item{slot}_{CUBE}" {_box(CUBE)}/>')
        rows.append(f'      <geom name="item{slot}_{BALL}" type="sphere" '
                    f'size="{HALF_WIDTH[BALL]}"/>')
        rows.append(f'      <geom name="item{slot}_{POST}" {_box(POST)}/>')
        rows.append('    </body>')
    size = ' '.join(str(value) for value in WALL_HALF_SIZE)
    rows.append('    <body name="wall" mocap="true" pos="0 0 -1">')
    rows.append(f'      <geom type="box" size="{size}" rgba="0.35 0.25 0.20 1" {_SOLID}/>')
    rows.append('    </body>')
    return '\n'.join(rows)


def _free_cube(slot: int) -> str:
    return (f'    <body name="item{slot}" pos="{0.3 + 0.1 * slot} 0 0.1">\n'
            f'      <joint name="item{slot}" type="free" damping="0.001"/>\n'
            f'      <geom name="item{slot}_{CUBE}" {_box(CUBE)} {_FREE_CUBE} {_SOLID}/>\n'
            '    </body>')


def _pick_objects() -> str:
    return '\n'.join(_free_cube(slot) for slot in range(SLOTS['pick']))


def _place_objects() -> str:
    rows = [_free_cube(0)]
    width, height, wall = HALF_WIDTH[BOWL], HALF_HEIGHT[BOWL], BOWL_WALL
    parts = [((0.0, 0.0, wall - height), (width, width, wall))]
    for side in (-1, 1):
        parts.append(((side * (width - wall), 0.0, 0.0), (wall, width, height)))
        parts.append(((0.0, side * (width - wall), 0.0), (width, wall, height)))
    for slot in range(1, SLOTS['place']):
        rows.append(f'    <body name="item{slot}" mocap="true" pos="0 0 -1">')
        for number, (position, size) in enumerate(parts):
            rows.append(f'      <geom name="item{slot}_{BOWL}_{number}" type="box" '
                        f'pos="{position[0]} {position[1]} {position[2]}" '
                        f'size="{size[0]} {size[1]} {size[2]}" {_SOLID}/>')
        rows.append('    </body>')
    return '\n'.join(rows)
