# SPDX-License-Identifier: Apache-2.0
"""Rotation vectors and roll-pitch-yaw of a pose: numbers by hand."""
import math

import pytest

from vla_pruner_ros.runtime.pose_fields import pose_field, POSE_FIELDS
from vla_pruner_ros.runtime.rotations import quaternion, roll_pitch_yaw, rotation_vector

HALF = math.sqrt(0.5)


@pytest.mark.parametrize('turn, vector', [
    ((0.0, 0.0, 0.0, 1.0), (0, 0, 0)),
    ((HALF, 0.0, 0.0, HALF), (math.pi / 2, 0, 0)),
    ((0.0, 1.0, 0.0, 0.0), (0, math.pi, 0)),
    # The same rotation as 0.2 rad about z, with the other sign: the long way round, as published.
    ((0.0, 0.0, -math.sin(0.1), -math.cos(0.1)), (0, 0, -(2 * math.pi - 0.2))),
    ((1e-9, 0.0, 0.0, 1.0), (2e-9, 0, 0))])
def test_rotation_vector_is_axis_times_angle(turn, vector):
    assert rotation_vector(turn, shorter=False) == pytest.approx(vector, rel=1e-9, abs=1e-15)


def test_the_shorter_way_round_does_not_depend_on_the_sign_of_the_quaternion():
    for sign in (1, -1):
        turn = (0.0, 0.0, sign * math.sin(0.1), sign * math.cos(0.1))
        assert rotation_vector(turn) == pytest.approx((0, 0, 0.2))
    assert quaternion(rotation_vector((0.0, 0.0, -0.6, -0.8))) == pytest.approx((0, 0, 0.6, 0.8))


@pytest.mark.parametrize('turn, wanted', [
    ((HALF, 0.0, 0.0, HALF), (math.pi / 2, 0, 0)),
    ((0.0, math.sin(0.2), 0.0, math.cos(0.2)), (0, 0.4, 0)),
    ((0.0, 0.0, -math.sin(0.3), math.cos(0.3)), (0, 0, -0.6)),
    # Roll by 90 degrees, then yaw by 90 degrees about the fixed z: q = qz * qx.
    ((0.5, 0.5, 0.5, 0.5), (math.pi / 2, 0, math.pi / 2))])
def test_roll_pitch_yaw_turn_about_fixed_axes(turn, wanted):
    assert roll_pitch_yaw(turn) == pytest.approx(wanted, abs=1e-7)


def test_every_field_has_its_number():
    pose = ((1.0, 2.0, 3.0), (0.0, 0.0, math.sin(0.25), math.cos(0.25)))
    got = [pose_field(pose, field) for field in POSE_FIELDS]
    assert got == pytest.approx([1, 2, 3, 0, 0, math.sin(0.25), math.cos(0.25), 0, 0, 0.5,
                                 0, 0, 0.5])
