# SPDX-License-Identifier: Apache-2.0
"""Scripted experts of the tabletop: privileged state -> action, without memory.

Every expert reads its stage from the state (hand, gripper, objects), never from a counter, so its
answer is a right label at any state that noise may lead to.  All are proportional: a share of the
error per control step, at most ``MAX_SPEED``, and they come from above.
"""
import numpy as np

from vla_pruner_ros.robots.robot_interface import ACTION_SCALE, Privileged

GAIN = 0.3  # share of the error that one control step removes
FOLLOW_GAIN = 0.5  # staying with a ball under noise needs a firmer hand
MAX_SPEED = 0.5  # of ACTION_SCALE, length of the movement part of an action
HOVER = 0.11  # metres above the target while farther than a few centimetres
SLOPE = 1.6  # metres of height per metre of distance when coming down
ABOVE_BOWL = 0.062  # metres, height of the finger tips when a cube is let go
CARRY_HEIGHT = 0.14  # metres
LIFTED_HEIGHT = 0.13  # metres
GRASP_ERROR = 0.020  # metres between finger tips and cube at which the fingers close, while the
# hand still comes nearer: an imitator that stops a little short of the cube closes as well


def _towards(hand: np.ndarray, target: np.ndarray, hover: float, tolerance: float,
             grip: float, gain: float = GAIN) -> np.ndarray:
    """Move to ``target``, at most ``hover`` above it, down only where the distance is small."""
    away = target[:2] - hand[:2]
    distance = float(np.linalg.norm(away))
    height = float(target[2] + np.clip(SLOPE * (distance - tolerance), 0.0, hover))
    too_low = max(0.0, height - float(hand[2]) - 0.03)  # rise before moving sideways
    error = np.append(away / (1.0 + 20.0 * too_low), height - hand[2])
    action = gain / ACTION_SCALE * error
    speed = max(float(np.linalg.norm(action)), 1e-9)
    return np.append(action * min(1.0, MAX_SPEED / speed), grip)


def _pick(hand: np.ndarray, cube: np.ndarray, held: bool) -> np.ndarray:
    if held:
        return _towards(hand, np.array([hand[0], hand[1], LIFTED_HEIGHT]), 0.0, 0.0, 1.0)
    close = np.linalg.norm(hand - cube) < GRASP_ERROR
    return _towards(hand, cube, HOVER, 0.008, 1.0 if close else -1.0)


def _place(hand: np.ndarray, seen: Privileged) -> np.ndarray:
    if not seen.held:
        bowls = seen.objects[1:, :2] - seen.targets[0, :2]
        inside = np.linalg.norm(bowls, axis=1).min() < 0.035 and seen.targets[0, 2] < 0.045
        if inside:  # done, right or wrong: let go and leave
            return _towards(hand, np.array([hand[0], hand[1], CARRY_HEIGHT]), 0.0, 0.0, -1.0)
        return _pick(hand, seen.targets[0], False)
    bowl = np.append(seen.targets[1, :2], ABOVE_BOWL)
    above = np.linalg.norm(hand[:2] - bowl[:2]) < 0.015 and hand[2] < ABOVE_BOWL + 0.02
    return _towards(hand, bowl, CARRY_HEIGHT - ABOVE_BOWL, 0.008, -1.0 if above else 1.0)


def expert_action(task: str, hand: np.ndarray, seen: Privileged) -> np.ndarray:
    """The expert's action (4,) in [-1, 1].

    Args:
        task: a tabletop task.
        hand: the point between the finger tips (3,), metres.
        seen: what the policy does not see; ``held`` sums up the gripper.
    """
    if task == 'pick-colour':
        action = _pick(hand, seen.targets[0], seen.held)
    elif task == 'place-bowl':
        action = _place(hand, seen)
    else:
        gain = FOLLOW_GAIN if task == 'follow-moving' else GAIN
        action = _towards(hand, seen.targets[0], HOVER, 0.012, -1.0, gain)
    clipped: np.ndarray = np.clip(action, -1.0, 1.0)
    return clipped
